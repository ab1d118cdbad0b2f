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
Make requirements/python.lock and ros.lock from python.in and ros.in.

Needs uv (https://docs.astral.sh/uv/) on the PATH and Python 3.11 or later. Each supported Python
is resolved on its own and the results are merged: one line per version of a package, a marker
where Pythons differ, and the hashes of only those files that ./run may install.
"""

import argparse
from collections import defaultdict
from pathlib import Path
import re
import subprocess
import tempfile
import tomllib

FOLDER = Path(__file__).resolve().parent.parent / 'requirements'
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
PLATFORM = 'x86_64-manylinux_2_28'
# Chosen by pip at install time: torch (see torch.txt) and what only its CUDA builds need.
UNLOCKED = re.compile(r'(cuda-|nvidia-).*|torch|triton')


def resolve(source: Path, python: str, constraints: list[str]) -> dict[str, dict]:
    """Return what uv picks for one Python: name -> table of pylock.toml (PEP 751)."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / 'pylock.toml'
        command = [
            'uv', 'pip', 'compile', '--quiet', '--generate-hashes', '--format', 'pylock.toml',
            '--python-version', python, '--python-platform', PLATFORM,
            '--output-file', str(output),
            str(source), str(FOLDER / 'torch.txt')]
        for constraint in constraints:
            command += ['--constraint', constraint]
        subprocess.run(command, check=True)
        packages = tomllib.loads(output.read_text())['packages']
        return {p['name']: p for p in packages if not UNLOCKED.fullmatch(p['name'])}


def hashes(package: dict) -> set[str]:
    """Return the SHA-256 of the wheels that fit, or of the source where there is no wheel."""
    files = package.get('wheels') or [package['sdist']]
    return {file['hashes']['sha256'] for file in files}


def lock_lines(picked: dict[str, dict[str, dict]]) -> list[str]:
    """Merge name -> Python -> package into the lines of a pip requirements file."""
    lines = []
    for name, by_python in sorted(picked.items()):
        versions = defaultdict(list)
        for python, package in by_python.items():
            versions[package['version']].append(python)
        for version, pythons in versions.items():
            marker = ''
            if len(pythons) < len(PYTHONS):
                marker = ' ; ' + ' or '.join(f"python_version == '{p}'" for p in pythons)
            wanted = sorted(set.union(*(hashes(by_python[p]) for p in pythons)))
            lines.append(f'{name}=={version}{marker}'
                         + ''.join(f' \\\n    --hash=sha256:{digest}' for digest in wanted))
    return lines


def main() -> None:
    """Resolve for every Python and write both lock files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-c', '--constraint', action='append', default=[],
                        help='pip constraints file, for instance to keep what is installed')
    constraints = parser.parse_args().constraint
    locks = {'python': defaultdict(dict), 'ros': defaultdict(dict)}
    for python in PYTHONS:
        plain = resolve(FOLDER / 'python.in', python, constraints)
        for name, package in resolve(FOLDER / 'ros.in', python, constraints).items():
            locks['python' if name in plain else 'ros'][name][python] = package
    for lock, picked in locks.items():
        path = FOLDER / f'{lock}.lock'
        path.write_text(f'# Made by scripts/lock.py from {lock}.in; do not edit.\n'
                        + '\n'.join(lock_lines(picked)) + '\n')
        print(f'{path}: {len(picked)} packages')


if __name__ == '__main__':
    main()
