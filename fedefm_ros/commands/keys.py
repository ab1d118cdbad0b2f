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

"""Make this station's key and say whose keys it trusts."""

import os
from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.identity import PUBLIC_SUFFIX
from fedefm_ros.federation.trust.identity import SECRET
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.peers import read_public

import typer

FolderOption = Annotated[Path, typer.Option(
    envvar='FEDEFM_KEYS', metavar='DIR', show_default='~/.fedefm/keys',
    help='Of the own key and the .pub files of the peers.')]
FOLDER = Path('~/.fedefm/keys')

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command()
def new(
    name: Annotated[str, typer.Argument(
        help='Of the station: small letters, digits and underscores, as its ROS namespace.')],
    folder: FolderOption = FOLDER,
    json_file: output.JsonOption = None,
):
    """Make this station's key. The .pub file is for its peers; the other never leaves."""
    folder = folder.expanduser()
    identity = Identity.create(folder, name)
    _print(identity, folder)
    output.write_json(_figures(identity.public, folder), json_file)


@app.command()
def show(folder: FolderOption = FOLDER, json_file: output.JsonOption = None):
    """Show this station's name and fingerprint, and write its .pub file if that is gone."""
    folder = folder.expanduser()
    identity = Identity.load(folder)
    if not (folder / f'{identity.name}{PUBLIC_SUFFIX}').is_file():
        identity.write_public(folder)
    _print(identity, folder)
    output.write_json(_figures(identity.public, folder), json_file)


@app.command()
def trust(
    file: Annotated[Path, typer.Argument(metavar='FILE.pub', help='That a peer gave out.')],
    yes: Annotated[bool, typer.Option('--yes', help='The fingerprint is compared.')] = False,
    folder: FolderOption = FOLDER,
):
    """Put a peer on the allow-list, once its fingerprint has been compared with it."""
    folder = folder.expanduser()
    public = read_public(file)
    own = _own(folder)
    if own is not None and (own.name == public.name or own.key == public.key):
        raise FedefmError(f'{file} has the {"key" if own.key == public.key else "name"} of this '
                          f'station itself, {own.name}; a peer needs its own')
    peers = Peers.read(folder)
    if public.name in peers.names and peers.get(public.name) == public:
        output.say(f'{public.name} is on the allow-list already')
        return
    typer.echo(f'{public.name}  {public.fingerprint}')
    if not yes:
        try:
            typer.confirm(f'Does {public.name} read out the same on the phone?', abort=True)
        except typer.Abort:
            raise FedefmError(f'{public.name} is not added: compare the fingerprint and say yes '
                              '(--yes)') from None
    peers.add(file)
    output.say(f'{public.name} is on the allow-list now')


@app.command('list')
def list_peers(folder: FolderOption = FOLDER, json_file: output.JsonOption = None):
    """List the peers on the allow-list."""
    folder = folder.expanduser()
    peers = Peers.read(folder)
    own = _own(folder)
    found = [peers.get(name) for name in peers.names if own is None or name != own.name]
    if found:
        output.table(str(folder), ['station', 'fingerprint'],
                     [[peer.name, peer.fingerprint] for peer in found])
    else:
        output.say(f'nobody is on the allow-list yet ({folder}); ./run keys trust FILE.pub')
    output.write_json({'peers': [_figures(peer, folder) for peer in found]}, json_file)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help='Of the peer.')],
    folder: FolderOption = FOLDER,
):
    """Strike a peer from the allow-list: nothing of it is accepted from then on."""
    folder = folder.expanduser()
    own = _own(folder)
    if own is not None and own.name == name:
        raise FedefmError(f'{name} is this station itself')
    Peers.read(folder).remove(name)
    output.say(f'{name} is no longer on the allow-list; restart the federation node')


def _own(folder):
    """Return this station's public identity, None where it has none yet."""
    return Identity.load(folder).public if (folder / SECRET).exists() else None


def _print(identity, folder):
    output.table(f'{folder}', ['station', 'fingerprint', 'for the peers'], [
        [identity.name, identity.fingerprint,
         os.path.join(folder, f'{identity.name}{PUBLIC_SUFFIX}')]])


def _figures(public, folder):
    return {'name': public.name, 'fingerprint': public.fingerprint, 'key': public.key.hex(),
            'file': os.path.join(folder, f'{public.name}{PUBLIC_SUFFIX}')}
