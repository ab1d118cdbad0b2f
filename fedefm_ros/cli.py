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
The command line: `fedefm COMMAND ...`, the same as `./run COMMAND ...`.

Commands are the modules of fedefm_ros.commands; only the one that is called gets imported, so
that help and errors come at once.
"""

import importlib
import sys
from typing import Annotated

from fedefm_ros import __version__
from fedefm_ros.commands import summaries
from fedefm_ros.errors import FedefmError
from fedefm_ros.threads import keep_numpy_on_one_core

import typer
from typer.core import TyperCommand
from typer.core import TyperGroup


class _Commands(TyperGroup):
    """Lists commands by their summaries and imports one when it is called."""

    def __init__(self, **attributes):
        super().__init__(**attributes)
        for name, summary in summaries().items():
            self.add_command(TyperCommand(name, callback=None, help=summary))

    def resolve_command(self, ctx, args):
        name, _, rest = super().resolve_command(ctx, args)
        module = importlib.import_module(f'fedefm_ros.commands.{name}')
        command_app = getattr(module, 'app', None)
        if command_app is None:
            command_app = typer.Typer(add_completion=False)
            command_app.command()(getattr(module, name))
        return name, typer.main.get_command(command_app), rest

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except FedefmError as error:
            print(f'error: {error}', file=sys.stderr)
            raise typer.Exit(1)
        except ModuleNotFoundError as error:
            print(f'error: {_what_is_missing(error)}', file=sys.stderr)
            raise typer.Exit(1)
        except KeyboardInterrupt:
            raise typer.Exit(130)


def _what_is_missing(error: ModuleNotFoundError) -> str:
    """Return what to do about a package that is not here; a module of ours is a defect."""
    full = error.name or ''
    name = full.partition('.')[0]
    if name == 'rclpy' or name.endswith(('_msgs', '_srvs')) or \
            full in ('fedefm_ros.msg', 'fedefm_ros.srv'):
        return (f'this command needs ROS 2 (there is no {name} here): use ./run of a checkout, or '
                "source a distribution's and the built package's setup.bash")
    if name in ('', 'fedefm_ros'):
        raise error
    return (f'this command needs the Python package {name}, which is not installed: '
            "pip install 'fedefm_ros[all]' brings all of them")


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={'help_option_names': ['-h', '--help']})


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f'fedefm_ros {__version__}')
        raise typer.Exit


@app.callback()
def fedefm(
    version: Annotated[bool, typer.Option(
        '--version', callback=_print_version, is_eager=True,
        help='Print the version and exit.')] = False,
) -> None:
    """Segment catheters and guidewires in fluoroscopy, live, and learn together."""


def main() -> None:
    """Run the command line; exits 0 on success, 1 on an error, 2 on wrong usage."""
    keep_numpy_on_one_core()
    app(prog_name='fedefm')


if __name__ == '__main__':
    main()
