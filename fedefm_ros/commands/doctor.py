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

"""`doctor`: whether a station is fit to join its federation, and reaches every peer."""

import os
from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.keys import FOLDER
from fedefm_ros.commands.keys import FolderOption

import typer


def doctor(
    stations: Annotated[str, typer.Option(
        help='All stations by comma, as in parameter stations; empty: all on the allow-list.',
    )] = '',
    folder: FolderOption = FOLDER,
    state: Annotated[Path | None, typer.Option(
        help='Folder of the rounds; default: ~/.fedefm/STATION.', show_default=False)] = None,
    seconds: Annotated[float, typer.Option(
        min=0.0, help='Longest wait for the peers; 0: do not look for them.')] = 15.0,
    canary: Annotated[bool, typer.Option(
        '--canary', help='Then have the running node make a round, and tell who took part.',
    )] = False,
    round_seconds: Annotated[float, typer.Option(help='Longest wait for that round.')] = 1800.0,
    json_file: output.JsonOption = None,
):
    """
    Check a station before it joins: keys, disk, ROS, and its way to every peer.

    The way: the peer's node is found, answers, and what it has announced is signed by the key on
    the allow-list, of the same protocol and network; of one such model a piece is fetched. Clocks
    do not matter and are not compared. Ends with 1 where something fails.
    """
    from fedefm_ros.federation.station import checkup
    from fedefm_ros.station import dds_environment

    os.environ.update(dds_environment())
    names = tuple(name.strip() for name in stations.split(',') if name.strip())
    findings, identity, peers = checkup.check_keys(folder.expanduser(), names)
    journal = None
    if identity is not None:
        state = (state or Path('~/.fedefm') / identity.name).expanduser()
        found, journal = checkup.check_state(state)
        findings += found
    findings += checkup.check_environment(os.environ)
    if seconds and identity is not None and peers is not None:
        others = [name for name in names or peers.names if name != identity.name]
        own_hash = journal.architecture_hash if journal else ''
        findings += _peers(identity.name, others, peers, own_hash, seconds,
                           state if canary else None, round_seconds)
    output.table('', ['', 'check', 'station', 'found'], [
        [one.outcome, one.check, one.station, one.text] for one in findings])
    failed = sum(one.outcome == checkup.FAIL for one in findings)
    warned = sum(one.outcome == checkup.WARN for one in findings)
    output.write_json({'findings': [vars(one) for one in findings], 'failed': failed,
                       'warned': warned}, json_file)
    if failed:
        output.say(f'{failed} of {len(findings)} checks failed')
        raise typer.Exit(1)


def _peers(own, others, peers, own_hash, seconds, canary_state, round_seconds):
    """Return what can be seen of the peers over ROS."""
    from fedefm_ros.federation.station import checkup
    from fedefm_ros.nodes.federation_probe import FederationProbe
    from fedefm_ros.nodes.federation_probe import until
    from fedefm_ros.nodes.session import spinning

    findings = []
    with spinning(lambda context: FederationProbe(own, others, context)) as probe:
        with output.progress('looking for the stations', None):
            until(lambda: own in probe.statuses and all(
                name in probe.statuses and probe.answers(name) for name in others), seconds)
        count = probe.nodes_named(own)
        findings.append(checkup.Finding(
            'own node', *((checkup.FAIL, f'{count} nodes call themselves {own}; give each station '
                           'its own namespace') if count > 1 else
                          (checkup.OK, 'runs') if count else
                          (checkup.WARN, 'does not run (or is not configured): ros2 launch '
                           'fedefm_ros federation.launch.py'))))
        for name in others:
            findings += _peer(probe, name, peers, own_hash, seconds)
        if canary_state is not None:
            findings.append(_canary(probe, own, canary_state, seconds, round_seconds))
    return findings


def _peer(probe, name, peers, own_hash, seconds):
    from fedefm_ros.federation.station.checkup import FAIL
    from fedefm_ros.federation.station.checkup import Finding
    from fedefm_ros.federation.station.checkup import OK
    from fedefm_ros.federation.station.checkup import WARN
    from fedefm_ros.federation.trust.refusal import Refused

    if not probe.answers(name):
        heard = 'is heard, but its chunks cannot be asked for; a firewall lets one way through, ' \
            'or the node is not configured' if name in probe.statuses else \
            f'not found within {seconds:g} s: its node does not run, or its network or ' \
            'ROS_DOMAIN_ID is another'
        return [Finding('reached', FAIL, heard, name)]
    findings, offers = [], []
    if probe.nodes_named(name) > 1:
        findings.append(Finding('reached', FAIL, 'two nodes have this name', name))
    for manifest in probe.announced.get(name, []):
        try:
            manifest.verify(peers)
            if own_hash:
                manifest.check_architecture(own_hash)
            offers.append(manifest)
        except Refused as refused:
            findings.append(Finding('announcement', FAIL, f'{refused.reason}: {refused}', name))
            break
    told = probe.ask(name, '0' * 64, 0, seconds)
    if told is None:
        return [*findings, Finding('reached', FAIL, f'did not answer within {seconds:g} s', name)]
    findings.append(Finding('reached', OK, f'answers in {1000 * told.seconds:.0f} ms', name))
    if told.busy:
        return [*findings, Finding('piece', WARN, 'a procedure runs there, or it is paused: '
                                   'nothing can be fetched now', name)]
    # What it offered earlier may be gone by now: the newest are tried first.
    for manifest in reversed([one for one in offers if one.purpose != 'refused']):
        got = probe.ask(name, manifest.sha256, 0, seconds)
        if got is not None and got.sound:
            return [*findings, Finding('piece', OK, f'{got.size / 1e6:.2f} MB in '
                                       f'{1000 * got.seconds:.0f} ms', name)]
    return [*findings, Finding('piece', WARN, 'it offers nothing at the moment, so none was '
                               'fetched', name)]


def _canary(probe, own, state, seconds, round_seconds):
    """Have the own node make a round; return who took part."""
    from fedefm_ros.federation.station.checkup import FAIL
    from fedefm_ros.federation.station.checkup import Finding
    from fedefm_ros.federation.station.checkup import OK
    from fedefm_ros.federation.station.checkup import WARN
    from fedefm_ros.federation.station.journal import Journal
    from fedefm_ros.nodes.federation_probe import until

    path = state / 'journal.json'

    def newest():
        rows = [row for row in Journal.load(path).history if row['round'] >= 0]
        return rows[-1] if rows else None
    before = newest()
    if probe.start_round(seconds) is None:
        return Finding('canary', FAIL, 'the own node does not answer; start it first')
    with output.progress('a round', None):
        ended = until(lambda: newest() != before, round_seconds)
    if not ended:
        journal = Journal.load(path)
        return Finding('canary', FAIL, f'round {journal.round} did not end within '
                       f'{round_seconds:g} s; it is in phase {journal.phase}. '
                       f'{journal.last_refusal}')
    row = newest()
    text = f'round {row["round"]}: with {", ".join(row["present"]) or "nobody"}'
    if row['absent']:
        text += f'; waited in vain for {", ".join(row["absent"])}'
    return Finding('canary', FAIL if not row['present'] else WARN if row['absent'] else OK, text)
