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

"""What a station refuses, with a reason that can be counted."""

from fedefm_ros.errors import FedefmError

#: reason -> what it means. Counters and the audit log use the reasons, people read the messages.
REASONS = {
    'ahead': 'of a round that no station can be in yet',
    'bad_chunk': 'a chunk came damaged again and again',
    'bad_codec': 'coded in a way that is not known',
    'bad_hash': 'not the bytes that were announced',
    'bad_seal': 'encrypted for somebody else, or changed after it was encrypted',
    'bad_signature': 'not signed by the station it names',
    'disk': 'no room for it on the disk',
    'failed': 'the work on it failed',
    'held_out': 'worse than the own model on the own held-out data',
    'late': 'home when its round no longer waits for it',
    'malformed': 'not what the protocol says',
    'no_base': 'a difference to weights that are not here',
    'norm': 'too far from the own weights, or all zero',
    'not_finite': 'numbers that are NaN or infinite',
    'replayed': 'announced before, and already taken',
    'stale': 'of a round that is long over',
    'too_large': 'larger than the limit',
    'too_many': 'more models at a time than are taken',
    'unknown_key': 'from a station that is not on the allow-list',
    'unknown_owner': 'said to be of a station that does not take part',
    'unknown_payload': 'a payload or a chunk that is not offered here',
    'unreachable': 'a chunk could not be had',
    'wrong_architecture': 'weights of another network',
    'wrong_route': "not where its trip leads, or another station's",
    'wrong_shape': 'names, shapes or types that do not fit',
    'wrong_version': 'of another version of the protocol',
}


class Refused(FedefmError):
    """Something of a peer is not used: `reason` is a slug to count, the text is for people."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.reason, str(self))  # it may come out of a worker process
