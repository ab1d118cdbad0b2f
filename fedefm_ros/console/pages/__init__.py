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

"""The console's pages; importing this needs NiceGUI."""

from fedefm_ros.console.desk import Desk
from fedefm_ros.console.pages import federation
from fedefm_ros.console.pages import live
from fedefm_ros.console.pages import station

from nicegui import ui


def register(desk: Desk) -> None:
    """Make the addresses of the pages known; once a process."""
    for address, page in (('/', live.page), ('/station', station.page),
                          ('/federation', federation.page)):
        ui.page(address)(_bound(page, desk))


def _bound(page, desk):
    def build():
        page(desk)
    return build
