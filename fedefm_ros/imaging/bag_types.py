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

"""Message types in bags: those of a ROS 2 distribution, of this package, and of others here."""

from functools import lru_cache
import os
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import PACKAGE, share_dir

from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
INSTRUMENTS = f'{PACKAGE}/msg/InstrumentArray'


@lru_cache
def typestore() -> Typestore:
    """Return the types of a distribution and those of this package."""
    store = get_typestore(Stores.ROS2_KILTED)
    found = {}
    for path in sorted((share_dir() / 'msg').glob('*.msg')):
        found.update(get_types_from_msg(
            path.read_text(encoding='utf-8'), f'{PACKAGE}/msg/{path.stem}'))
    store.register(found)
    return store


def definition(msgtype: str) -> tuple[str, str]:
    """
    Return the full text of a message type with all it is made of, and its RIHS01 hash.

    :param msgtype: such as ``sensor_msgs/msg/Image``; a type that no distribution has is read
        from the installed packages (AMENT_PREFIX_PATH).
    :raises FedefmError: nobody here knows it.
    """
    store = typestore()
    _learn(store, msgtype)
    text, _ = store.generate_msgdef(msgtype, ros_version=2)
    return text, store.hash_rihs01(msgtype)


def _learn(store: Typestore, msgtype: str) -> None:
    """Register a type and what it is made of, unless they are known."""
    if msgtype in store.fielddefs:
        return
    package, _, name = msgtype.split('/')
    prefixes = [Path(each) for each in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)]
    files = [prefix / 'share' / package / 'msg' / f'{name}.msg' for prefix in prefixes]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise FedefmError(f'message type {msgtype} is not known here: source the workspace that '
                          'has it')
    types = get_types_from_msg(file.read_text(encoding='utf-8'), msgtype)
    for _, fields in types.values():
        for _, kind in fields:
            inner = kind[1][0] if kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE) else kind
            if inner[0] == Nodetype.NAME:
                _learn(store, inner[1])
    store.register(types)
