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

"""Whether a station is fit to join a federation: what can be seen without any other station."""

from collections.abc import Mapping
from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import tempfile

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.station import transport_problem

OK, WARN, FAIL = 'ok', 'warn', 'fail'
#: Free bytes below which a station cannot take a largest model and pass it on, and below which
#: its outbox may come to its end.
LEAST_FREE, WANTED_FREE = 3 * Limits().max_bytes, 8 << 30
#: Chunks are answers of about this size.
_MESSAGE = 1 << 20


@dataclass(frozen=True)
class Finding:
    """What a check found: outcome (ok, warn, fail), and what to do where it is not ok."""

    check: str
    outcome: str
    text: str
    #: That it is about; '': this one.
    station: str = ''


def check_keys(folder: Path, stations: tuple[str, ...]
               ) -> tuple[list[Finding], Identity | None, Peers | None]:
    """
    Return findings on a station's own key and those of its peers, and what could be read.

    :param stations: all that take part; nobody: all on the allow-list.
    """
    findings, identity, peers = [], None, None
    try:
        identity = Identity.load(folder)
        findings.append(Finding('own key', OK, f'{identity.name} {identity.fingerprint}'))
    except FedefmError as error:
        findings.append(Finding('own key', FAIL, str(error)))
    try:
        peers = Peers.read(folder)
    except FedefmError as error:
        return [*findings, Finding('allow-list', FAIL, str(error))], identity, None
    own = identity.name if identity else ''
    if stations and own and own not in stations:
        findings.append(Finding('stations', FAIL, f'the key is of {own}, which is not among '
                                f'{", ".join(stations)}'))
    wanted = set(stations) - {own} if stations else set(peers.names) - {own}
    if not wanted:
        findings.append(Finding('allow-list', FAIL, 'nobody else is on it; add a peer: ./run keys '
                                'trust FILE.pub'))
    for name in sorted(wanted):
        if name in peers.names:
            findings.append(Finding('key', OK, peers.get(name).fingerprint, name))
        else:
            findings.append(Finding('key', FAIL, 'is not on the allow-list; ./run keys trust '
                                    f'{name}.pub', name))
    for name in sorted(set(peers.names) - wanted - {own}):
        findings.append(Finding('key', WARN, 'is on the allow-list but takes no part; if it shall '
                                f'not be believed: ./run keys remove {name}', name))
    return findings, identity, peers


def check_state(folder: Path) -> tuple[list[Finding], Journal | None]:
    """Return findings on the folder of a station's rounds, and its journal."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix='.doctor-') as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return [Finding('state', FAIL, f'{folder} cannot be written: {error.strerror or error}')
                ], None
    free = shutil.disk_usage(folder).free
    text = f'{folder}: {free / 1e9:.1f} GB free'
    outcome = FAIL if free < LEAST_FREE else WARN if free < WANTED_FREE else OK
    if outcome != OK:
        text += f'; {WANTED_FREE / 1e9:.0f} GB are wanted'
    findings = [Finding('state', outcome, text)]
    try:
        journal = Journal.load(folder / 'journal.json')
    except FedefmError as error:
        return [*findings, Finding('journal', FAIL, str(error))], None
    findings.append(Finding('journal', OK, f'round {journal.round}, {journal.phase}'
                            if journal.model else 'a new station'))
    if journal.refusals:
        counts = ', '.join(f'{count} x {why}' for why, count in sorted(journal.refusals.items()))
        findings.append(Finding('refusals', WARN, f'{counts}; the last: {journal.last_refusal}'))
    return findings, journal


def check_environment(environment: Mapping[str, str]) -> list[Finding]:
    """Return findings on the variables that decide how ROS reaches other stations."""
    rmw = environment.get('RMW_IMPLEMENTATION') or 'rmw_fastrtps_cpp'
    domain = environment.get('ROS_DOMAIN_ID') or '0'
    findings = [Finding('ROS', OK, f'{rmw}, domain {domain}')]
    problem = transport_problem(_MESSAGE, environment)
    if problem:
        findings.append(Finding('transport', WARN, problem))
    discovery = environment.get('ROS_DISCOVERY_SERVER', '')
    scope = environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper()
    if discovery:
        findings.append(Finding('discovery', OK, f'server {discovery}'))
    elif scope in ('LOCALHOST', 'OFF') and not environment.get('ROS_STATIC_PEERS'):
        findings.append(Finding('discovery', WARN, f'ROS_AUTOMATIC_DISCOVERY_RANGE={scope}: '
                                'stations on other machines are not found; unset it, or name '
                                'them in ROS_STATIC_PEERS'))
    else:
        findings.append(Finding('discovery', OK, scope.lower() or 'by multicast'))
    return findings
