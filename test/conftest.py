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

"""What tests of all parts share."""

import os
from pathlib import Path
import socket

import pytest


def reserve_domain() -> tuple[int, socket.socket]:
    """
    Take a ROS domain that no other test process of this machine uses.

    It is ours for as long as the socket is open; the ports are those that ROS's own
    domain_coordinator takes, so the two respect each other.
    """
    for domain in range(1, 101):
        holder = socket.socket()
        try:
            holder.bind(('', 22119 + domain))
            return domain, holder
        except OSError:
            holder.close()
    raise RuntimeError('all of the ROS domains 1 to 100 are in use on this machine')


# At import, before any test's process or context starts. Not ROS_AUTOMATIC_DISCOVERY_RANGE=
# LOCALHOST: with it, rmw_fastrtps silently leaves the transport that large images need.
DOMAIN, _DOMAIN_HOLDER = reserve_domain()
os.environ['ROS_DOMAIN_ID'] = str(DOMAIN)
os.environ.pop('ROS_AUTOMATIC_DISCOVERY_RANGE', None)
os.environ.pop('ROS_LOCALHOST_ONLY', None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Begin with the files that wait for processes: at the end one of them would run alone.

    So would the linters, which are the longest of the rest, a file each.
    """
    root = Path(__file__).parent
    items.sort(key=lambda item: ('system' not in item.path.parts, item.path.parent != root))


@pytest.fixture(scope='session')
def ros_domain() -> int:
    """Return the domain of this test process; ROS_DOMAIN_ID already says so to all children."""
    return DOMAIN


@pytest.fixture(scope='session')
def checkout() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def shared_data(checkout) -> Path:
    """Return the folder of real X-ray beside the checkout; skip where it is absent."""
    folder = checkout.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('no real X-ray data beside this checkout')
    return folder
