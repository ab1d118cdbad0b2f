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
One module a command: train.py here is `fedefm train` and `./run train`.

A command's module defines a function of its own name (for typer: annotated parameters, help in
the docstring) or, where there are sub-commands, `app`, a typer.Typer. It is imported only when the
command is called. Other modules here are helpers, and those with an underscore in their name are
sub-commands (bench_emd.py belongs to bench.py). Nothing is registered anywhere else.
"""

import ast
from pathlib import Path


def summaries(folder: Path = Path(__file__).parent) -> dict[str, str]:
    """
    Return command -> one line about it, sorted by name, without importing any command.

    This module works on its own, too (no imports from the package), so that `./run --help` can
    list the commands before anything is installed.
    """
    found = {}
    for path in sorted(folder.glob('[!_]*.py')):
        if '_' in path.stem:
            continue
        module = ast.parse(path.read_text(encoding='utf-8'))
        for node in module.body:
            function = isinstance(node, ast.FunctionDef) and node.name == path.stem
            application = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'app'
            if function or application:
                docstring = ast.get_docstring(node if function else module) or ''
                found[path.stem] = docstring.partition('\n')[0]
    return found
