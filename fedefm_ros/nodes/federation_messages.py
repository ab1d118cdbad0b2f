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

"""Manifests, chunks and status of a federation as ROS messages."""

import array
import math

from fedefm_ros.federation.station import journal as phases
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.msg import FederationStatus
from fedefm_ros.msg import ModelManifest

_PLAIN = ('protocol_version', 'round', 'owner', 'sender', 'hop', 'purpose', 'architecture_hash',
          'base_sha256', 'codec', 'size', 'chunk_size', 'sha256', 'samples')
_BILLION = 1_000_000_000

_PHASES = {
    phases.REST: FederationStatus.PHASE_IDLE, phases.LOCAL: FederationStatus.PHASE_LOCAL,
    phases.AWAY: FederationStatus.PHASE_OVERSEAS, phases.HOME: FederationStatus.PHASE_DISTIL,
    phases.MIX: FederationStatus.PHASE_TRANSFER, phases.GATE: FederationStatus.PHASE_GATE,
}


def manifest_to_message(manifest: Manifest) -> ModelManifest:
    """Return a manifest as a message."""
    message = ModelManifest(**{name: getattr(manifest, name) for name in _PLAIN})
    message.recipients = list(manifest.recipients)
    message.sealed_keys = array.array('B', manifest.sealed_keys)
    message.stamp.sec, message.stamp.nanosec = divmod(manifest.stamp_ns, _BILLION)
    message.nonce, message.signature = list(manifest.nonce), list(manifest.signature)
    return message


def message_to_manifest(message: ModelManifest) -> Manifest:
    """Return a message as a manifest, not yet believed; raises Refused where it cannot be one."""
    return Manifest(
        **{name: getattr(message, name) for name in _PLAIN},
        recipients=tuple(message.recipients), sealed_keys=bytes(message.sealed_keys),
        stamp_ns=message.stamp.sec * _BILLION + message.stamp.nanosec,
        nonce=bytes(bytearray(message.nonce)), signature=bytes(bytearray(message.signature)))


def fill_status(message: FederationStatus, journal: Journal, peers: dict[str, float],
                working: bool) -> None:
    """
    Fill a status from a station's journal; header and station are left alone.

    :param peers: name -> seconds since it was last heard, infinite: never.
    :param working: False while a procedure or an operator holds the federation up.
    """
    message.round = journal.round
    message.phase = _PHASES[journal.phase] if working else FederationStatus.PHASE_PAUSED
    message.peers = list(peers)
    message.peer_age = [age if math.isfinite(age) else math.nan for age in peers.values()]
    message.emd_weight = [float(journal.emd_weights.get(name, math.nan)) for name in peers]
    message.bytes_sent, message.bytes_received = journal.bytes_sent, journal.bytes_received
    before = [row['scores'].get('score', math.nan) for row in journal.history[:-1]]
    message.score_before = before[-1] if before else math.nan
    message.score_after = journal.used_scores.get('score', math.nan)
    message.refused = sum(journal.refusals.values())
    message.last_refusal = journal.last_refusal
