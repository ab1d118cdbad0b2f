# Copyright 2026 fedefm_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
The methods of learning together that are compared, all over the same silo code.

    method = create_method('fedefm', federation)
    fedefm_ros.federation.rounds.run(method, plan, initial)

Which silos meet is the federation's topology; see overlay_of for the one a method is made for.
"""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.methods.cdl import Cdl
from fedefm_ros.federation.methods.centralised import Centralised
from fedefm_ros.federation.methods.fedavg import FedAvg
from fedefm_ros.federation.methods.fedavg import Star
from fedefm_ros.federation.methods.fedbn import FedBn
from fedefm_ros.federation.methods.fedefm import Fedefm
from fedefm_ros.federation.methods.fedefm import FedefmLiteral
from fedefm_ros.federation.methods.fedefm import FedefmOptions
from fedefm_ros.federation.methods.fedprox import FedProx
from fedefm_ros.federation.methods.gossip import Matcha
from fedefm_ros.federation.methods.gossip import Ring
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import Method
from fedefm_ros.federation.methods.moon import Moon

#: name -> class; the two of FedEFM also exist with a server, as 'fedefm-cfl' and so on.
METHODS = {made.name: made for made in (
    Centralised, FedAvg, FedProx, Moon, Star, FedBn, Matcha, Ring, Cdl, FedefmLiteral, Fedefm)}
_SERVER = '-cfl'

__all__ = ['create_method', 'Federation', 'FedefmOptions', 'Method', 'METHODS', 'method_names',
           'overlay_of']


def method_names() -> tuple[str, ...]:
    """Return the names create_method knows."""
    return (*METHODS, *(made.name + _SERVER for made in (FedefmLiteral, Fedefm)))


def overlay_of(name: str) -> str:
    """Return the topology (by its name in fedefm_ros.federation.topology) a method is made for."""
    _check(name)
    return 'star' if name.endswith(_SERVER) else METHODS[name].overlay


def create_method(name: str, federation: Federation, **options) -> Method:
    """Return a method by its name; options are its constructor's."""
    _check(name)
    if name.endswith(_SERVER):
        return METHODS[name.removesuffix(_SERVER)](federation, server=True, **options)
    return METHODS[name](federation, **options)


def _check(name: str) -> None:
    if name not in method_names():
        raise FedefmError(f'unknown method {name!r}; expected {", ".join(method_names())}')
