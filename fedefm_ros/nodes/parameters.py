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
The parameters of every node, once: what they are called, mean and may be.

Nodes declare from this table (``declaration.py``); ``python -m fedefm_ros.nodes.parameters``
writes ``config/*.yaml`` and ``docs/parameters.md`` from it, and a test keeps them equal.
"""

from dataclasses import dataclass
import math
from pathlib import Path
import sys

from fedefm_ros.federation.station.plan import OVERLAYS
from fedefm_ros.federation.station.plan import TASKS as FEDERATED_TASKS
from fedefm_ros.segmentation.runtimes.runtime import NAMES as RUNTIMES
from fedefm_ros.segmentation.runtimes.runtime import PRECISIONS

Value = bool | int | float | str

CONFIGURE = 'configure'
"""A change is accepted at any time and used from the next configure on."""
ACTIVATE = 'activate'
"""A change is accepted at any time and used from the next activate on."""
LIVE = 'at once'
"""A change is used from the next frame on."""
START = 'start'
"""Read-only: fixed once the node runs."""


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of its default (an integer will do for a float)."""

    name: str
    default: Value
    description: str
    applies: str = CONFIGURE
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def problem_with(self, value: object) -> str | None:
        """Return why a value cannot be used; None where it can."""
        kind = type(self.default)
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            return f'{self.name} is {value!r}, expected {_EXPECTED[kind]}'
        if self.choices and value not in self.choices:
            return f'{self.name} is {value!r}, expected one of {", ".join(self.choices)}'
        if self.minimum is not None and not self.minimum <= value <= self.maximum:
            return f'{self.name} is {value}, expected {self.minimum:g} to {self.maximum:g}'
        if kind is float and not math.isfinite(value):
            return f'{self.name} is {value}, expected a finite number'
        return None

    @property
    def range_text(self) -> str:
        """Return what values there may be, for people."""
        if self.choices:
            return ', '.join(self.choices)
        return '' if self.minimum is None else f'{self.minimum:g} to {self.maximum:g}'


_TYPES = {bool: 'boolean', int: 'integer', float: 'number', str: 'text'}
_EXPECTED = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'text'}

FLUOROSCOPY = (
    Parameter('source', 'simulator',
              'Where frames come from: a DICOM file or folder, an image, a video, a folder of '
              'images, a bag, a device (0, /dev/video0, rtsp://...), simulator or simulator:KIND '
              '(human, animal, phantom, simulation, or a file as in config/simulation).'),
    Parameter('rate', 0.0, "Frames per second; 0 is the sequence's own rate.", CONFIGURE,
              0.0, 240.0),
    Parameter('loop', False, 'Start anew at the end of the sequence.'),
    Parameter('size', 512, 'Width and height of simulated frames in pixels.', CONFIGURE,
              64, 4096),
    Parameter('seed', 0, 'Of the simulator; equal seeds give equal frames.', CONFIGURE,
              0, 2**31 - 1),
    Parameter('frame_id', 'fluoroscopy_optical',
              'Goes into the header of every message; a coordinate frame does not change its name '
              'while others look at it.', START),
    Parameter('encoding', 'passthrough',
              'Of image_raw; passthrough is mono8 for 8-bit and mono16 for deeper sources.',
              LIVE, choices=('passthrough', 'mono8', 'mono16')),
    Parameter('publish_compressed', True,
              'Also publish image_raw/compressed (PNG) while somebody subscribes to it.', LIVE),
    Parameter('publish_ground_truth', True,
              'Publish ground_truth/mask and ground_truth/instruments where the truth is known.',
              LIVE),
    Parameter('start_paused', False, 'Publish nothing until service fluoroscopy/pause says so.',
              ACTIVATE),
    Parameter('read_ahead', 8,
              'How many frames are decoded or rendered before they are due, so that a slow one '
              'does not come late.', CONFIGURE, 1, 64),
    Parameter('retry_period', 1.0,
              'Seconds to wait before a source that failed is tried again.', LIVE, 0.05, 60.0),
    Parameter('stall_time', 1.0,
              'Seconds without a frame after which procedure_active becomes false.', LIVE,
              0.1, 60.0),
)

SEGMENTATION = (
    Parameter('image_topic', 'fluoroscopy/image_raw', 'Images to segment.', ACTIVATE),
    Parameter('compressed', False,
              'Subscribe to image_topic/compressed (CompressedImage) instead; PNG keeps thin '
              'wires, JPEG does not.', ACTIVATE),
    Parameter('camera_info_topic', 'fluoroscopy/camera_info',
              'Focal length for the pixel spacing; empty: do not subscribe.', ACTIVATE),
    Parameter('model', 'realtime',
              'A .safetensors file or the name of a shipped model; service '
              'segmentation/load_model changes it while the node runs.'),
    Parameter('runtime', 'auto',
              'What computes the network; auto measures and takes the fastest that agrees.',
              CONFIGURE, choices=('auto', *RUNTIMES)),
    Parameter('precision', 'auto',
              'Of the network; auto keeps 99.9 % of the labels. int8 is faster, and is made '
              'from the model once, in some ten seconds.',
              CONFIGURE, choices=PRECISIONS),
    Parameter('min_confidence', 0.0,
              'How sure the judge, or without one the network, must be of a piece of foreground '
              'for it to stay; higher: fewer false instruments, more missed ones. 0: as the judge '
              'or the model says. With a judge it is that of pieces of 80 px of the network: for '
              'longer ones less is enough, shorter ones need more, and half of it is enough for '
              'what stayed in the frame before.',
              CONFIGURE, 0.0, 0.999),
    Parameter('judge', 'auto',
              'Looks at each piece that the network finds once more: takes out what is no '
              'instrument, tells catheter from guidewire, looks where walls are, to which the '
              'edge of the mask goes, and where tips are: centrelines end there. A .safetensors '
              'file, none, or auto: the shipped one where it is made for the architecture of the '
              'model.', CONFIGURE),
    Parameter('threads', 2, 'Processor cores that one inference may use.', CONFIGURE, 1, 256),
    Parameter('steady_tips', False,
              'Follow tips from frame to frame: they tremble by a quarter less and are as near to '
              'the truth to 0.03 px. The mask stays that of the frame alone.'),
    Parameter('pixel_spacing_mm', 0.0,
              'Pixel pitch at the patient; 0: from camera_info and source_isocenter_mm.', LIVE,
              0.0, 10.0),
    Parameter('source_isocenter_mm', 0.0,
              'Distance from the X-ray source to the patient (isocentre), which camera_info does '
              'not tell; 0: unknown, lengths in millimetres are NaN.', LIVE, 0.0, 5000.0),
    Parameter('max_age', 0.0,
              'Seconds; older frames are refused as stale. 0: off. Needs one clock for both.',
              LIVE, 0.0, 60.0),
    Parameter('max_side', 2048, 'Pixels; images wider or higher are refused.', LIVE, 32, 16384),
    Parameter('deadline', 0.2,
              'Seconds that mask and instruments promise to a subscriber as QoS deadline, about '
              'three frames; 0: no promise.', CONFIGURE, 0.0, 60.0),
    Parameter('overlay_rate', 30.0,
              'At most so many overlays a second, to spare the processor.', LIVE, 0.1, 240.0),
    Parameter('overlay_opacity', 0.4, "Of the mask's colours in the overlay.", LIVE, 0.0, 1.0),
    Parameter('overlay_text', True, 'Write time and model into the overlay.', LIVE),
    Parameter('overlay_quality', 90, 'JPEG quality of overlay/compressed.', LIVE, 1, 100),
)

FEDERATION = (
    Parameter('stations', '',
              'Names of all stations by comma, this one among them, in the order that all agreed '
              'on; a name is a namespace.'),
    Parameter('keys', '~/.fedefm/keys',
              "Folder with this station's key and its peers' public ones; ./run keys makes it."),
    Parameter('state', '', 'Folder for rounds and models; empty: ~/.fedefm/STATION.'),
    Parameter('task', 'segmentation',
              'segmentation: what the station itself uses; foundation: which kind of data an '
              'image is.', CONFIGURE, choices=FEDERATED_TASKS),
    Parameter('data', 'simulator:human',
              'Own training data: simulator:KIND (several by comma), or for segmentation a folder '
              'in the layout below. They never leave the station.'),
    Parameter('layout', 'folder', 'Of the data folder.', CONFIGURE,
              choices=('aioz', 'cathaction', 'folder', 'guide3d')),
    Parameter('model', 'realtime',
              'Segmentation: model that all stations start from; empty: random weights.'),
    Parameter('images', 200, 'Simulated images to train on (foundation: of each class).',
              CONFIGURE, 1, 100_000),
    Parameter('held_out', 40,
              'Simulated images held out for the gate (foundation: of each class); of a folder, a '
              'quarter of its patients or sequences always is.', CONFIGURE, 1, 100_000),
    Parameter('image_size', 256,
              'Side in pixels of the images it trains on, a multiple of 32.', CONFIGURE, 32, 1024),
    Parameter('batch', 8, 'Images a gradient step.', CONFIGURE, 1, 1024),
    Parameter('seed', 0, 'Of data and batches.', CONFIGURE, 0, 2**31 - 1),
    Parameter('topology', 'ring', 'Who mixes with whom.', CONFIGURE, choices=OVERLAYS),
    Parameter('rounds', 0, 'Rounds after which it only trains visitors; 0: no end.', CONFIGURE,
              0, 2**31 - 1),
    Parameter('interval', 60.0, 'Seconds of rest between two rounds.', CONFIGURE, 0.0, 1e7),
    Parameter('local_steps', 200, 'Gradient steps before the first round.', CONFIGURE, 0, 10**7),
    Parameter('stop_steps', 20, "Gradient steps on a visitor's weights.", CONFIGURE, 0, 10**7),
    Parameter('home_steps', 40, 'Gradient steps of the distillation at home.', CONFIGURE,
              0, 10**7),
    Parameter('stops', 0, 'Stations that a trip visits; 0: all others.', CONFIGURE, 0, 1000),
    Parameter('laps', 1,
              'Times that a trip goes around its stops, past its own station in between: few '
              'steps at each stop, often, forget least and send most. A trip has at most 256 '
              'stops: laps times the number of stations (of stops + 1, where that is set) is at '
              'most 257.', CONFIGURE, 1, 100),
    Parameter('learning_rate', 0.02, 'Of the gradient steps.', CONFIGURE, 0.0, 10.0),
    Parameter('momentum', 0.95,
              'Of the gradient steps; above 0 it travels with the weights, which doubles what is '
              'sent, and a step no longer undoes what the stop before has taught. Above 0 at all '
              'stations or at none; to change that needs a new state folder.', CONFIGURE, 0.0,
              0.999),
    Parameter('deadline', 900.0,
              'Seconds of idle time that a round waits for its own model to come home, and then '
              'for the neighbours.', CONFIGURE, 0.1, 1e7),
    Parameter('staleness', 2, "Rounds that a neighbour's model may be behind.", CONFIGURE, 0, 100),
    Parameter('silence', 20.0, 'Seconds after which a station that is not heard gets no models.',
              CONFIGURE, 1.0, 1e6),
    Parameter('peer_margin', 0.3,
              "How much lower a peer's model may score on this station's held-out data to teach; "
              '1 leaves it to the gate: where stations share no kind of data, a model that was '
              'trained elsewhere last may have forgotten all of this one.', CONFIGURE, 0.0, 1.0),
    Parameter('gate_margin', 0.02,
              'How much lower a new model may score than the old one to replace it.', CONFIGURE,
              0.0, 1.0),
    Parameter('gate_slowdown', 1.5,
              'How many times as long as with the old model an inference may take with a new one '
              'to replace it.', CONFIGURE, 1.0, 100.0),
    Parameter('shadow_frames', 0,
              'Frames of the last procedure, one a second, on which a new model is compared with '
              'the old one before it replaces it (task segmentation). They stay in memory. 0: '
              'none.', CONFIGURE, 0, 100),
    Parameter('shadow_agreement', 0.5,
              'How far the two must agree on them to be replaced: Dice of what they mark.',
              CONFIGURE, 0.0, 1.0),
    Parameter('send_clip', 0.0,
              'Greatest length of the change that one message can carry of what this station has '
              'learned; the rest follows in later ones. 0: no limit. Needs a momentum of 0. What '
              'it does not promise: docs/security.md.', CONFIGURE, 0.0, 1e9),
    Parameter('send_noise', 0.0,
              'Standard deviation of Gaussian noise on each weight that is sent, as a multiple of '
              'send_clip.', CONFIGURE, 0.0, 1e6),
    Parameter('codec', 'safetensors+zstd', 'How weights are sent.'),
    Parameter('encrypt', True, 'Encrypt what is sent for its receivers.'),
    Parameter('chunk_size', 1 << 20,
              'Bytes of one piece of a model that this station sends; 65536 for lines below about '
              '100 Mbit/s.', CONFIGURE, 1 << 16, 4 << 20),
    Parameter('bandwidth', 0, 'Bytes a second that are asked of peers; 0: no limit.', CONFIGURE,
              0, 2**31 - 1),
    Parameter('chunk_timeout', 5.0, 'Seconds after which a piece is asked for again.', CONFIGURE,
              0.1, 1000.0),
    Parameter('image_topic', 'fluoroscopy/image_raw',
              'Any image on it means that a procedure runs.', ACTIVATE),
    Parameter('idle_after', 30.0,
              'Seconds without an image, and with procedure_active not true, after which the '
              'station is idle.', LIVE, 0.0, 1e6),
    Parameter('threads', 1, 'Processor cores that the training may use.', CONFIGURE, 1, 256),
    Parameter('niceness', 15, 'Of the training process; 19 is the most modest.', CONFIGURE, 0, 19),
    Parameter('offer_model', True,
              'Give a model that passed the gate to service segmentation/load_model (task '
              'segmentation).', LIVE),
)

CONSOLE = (
    Parameter('host', '127.0.0.1',
              'Address to serve on. Anything but loopback needs a token (token_file, or the '
              'variable FEDEFM_CONSOLE_TOKEN).', START),
    Parameter('port', 8080, 'TCP port to serve on.', START, 1, 65535),
    Parameter('token_file', '',
              'File of the owner alone whose first line every browser has to bring; a token as a '
              'parameter would be open to every node.', START),
    Parameter('tls_certificate', '', 'PEM file; with tls_key, the console is served as https.',
              START),
    Parameter('tls_key', '', 'PEM file of the private key.', START),
    Parameter('deadline', 0.2,
              'Seconds without a mask, while frames come, after which an alarm is raised; as '
              'parameter deadline of the segmentation.', LIVE, 0.02, 60.0),
    Parameter('models_folder', '',
              "Model files to choose from beside the shipped ones, on the segmentation's machine; "
              'empty: none.', START),
    Parameter('sources_folder', '',
              "Files and folders to choose from as fluoroscopy source, on the source's machine; "
              'empty: the simulator only.', START),
    Parameter('record_folder', 'recordings', 'Gets a bag per recording.', START),
    Parameter('picture_rate', 30.0, 'At most so many pictures a second are drawn.', LIVE,
              0.1, 240.0),
    Parameter('picture_side', 1024, 'Pixels; larger frames are drawn smaller.', LIVE, 128, 4096),
    Parameter('picture_quality', 80, 'JPEG quality of the pictures.', LIVE, 1, 100),
    Parameter('trace_seconds', 5.0, 'Length of the trace behind the tip.', LIVE, 0.0, 60.0),
    Parameter('niceness', 10,
              'Of the process, 0 to 19: drawing gives way to the segmentation on a busy machine.',
              START, 0, 19),
)

ROBOT = (
    Parameter('seed', 0, 'Of phantom, wire and X-ray chain; equal seeds give equal ones.',
              CONFIGURE, 0, 2**31 - 1),
    Parameter('target', 'LSA', 'The artery that counts as reached.', CONFIGURE,
              choices=('LSA', 'LCCA', 'RCCA')),
    Parameter('size', 512, 'Width and height of the images in pixels.', CONFIGURE, 64, 2048),
    Parameter('rate', 15.0, 'Images a second; the robot moves in steps of one period.', CONFIGURE,
              2.0, 60.0),
    Parameter('frame_id', 'fluoroscopy_optical', 'Goes into the header of every message.', START),
    Parameter('master', 'cmd_drive',
              'Who drives: robot/cmd_drive and robot/cmd_catheter (TwistStamped), or robot/joy '
              '(Joy: axes 1 and 0 drive the wire while button 0 is held, the catheter while '
              'button 1 is held).', ACTIVATE, choices=('cmd_drive', 'joy')),
    Parameter('command_timeout', 0.0,
              'Seconds after its stamp for which a command counts; 0: one and a half frame '
              'periods, so that the drive stands within two.', ACTIVATE, 0.0, 1.0),
    Parameter('force_limit', 0.5,
              'Contact force in N above which log and diagnostics warn; the drive goes on.', LIVE,
              0.01, 10.0),
    Parameter('publish_ground_truth', True,
              'Publish ground_truth/mask and ground_truth/instruments.', LIVE),
    Parameter('record_folder', '',
              "Keep images and masks in this data set (AIOZ's layout); empty: do not."),
    Parameter('record_every', 5, 'Keep every n-th image.', CONFIGURE, 1, 1000),
)

NAVIGATION = (
    Parameter('way', '',
              'Way points in pixels, from where the wire comes in to the target: "x,y x,y ..."; '
              'one point: straight there. Topic navigation/way changes it.', ACTIVATE),
    Parameter('frame_rate', 15.0,
              'Images a second; two periods of silence zero the drive.', ACTIVATE, 1.0, 240.0),
    Parameter('insertion_speed', 0.015, 'm/s.', ACTIVATE, 0.0, 0.05),
    Parameter('rotation_speed', 2.0, 'rad/s.', ACTIVATE, 0.0, 10.0),
    Parameter('look_ahead_px', 45.0, 'How far ahead on the way the tip is aimed.', ACTIVATE,
              5.0, 500.0),
    Parameter('goal_px', 14.0, "How near to the way's last point is there.", ACTIVATE,
              2.0, 200.0),
    Parameter('max_age', 0.25, 'Seconds; older pictures are not acted on.', ACTIVATE, 0.01, 5.0),
    Parameter('min_confidence', 0.6, 'Of the wire, below which it is not acted on.', ACTIVATE,
              0.0, 1.0),
    Parameter('max_jump_px', 60.0, 'Farther from one picture to the next is another tip.',
              ACTIVATE, 1.0, 1000.0),
    Parameter('force_limit', 0.5, 'Contact force in N that stops at once.', ACTIVATE, 0.01, 10.0),
    Parameter('patience', 0.0,
              'Seconds that a fault may last before it becomes a stop; the drive is at zero from '
              'its beginning on. 0: every fault is a stop at once, until navigation/resume.',
              ACTIVATE, 0.0, 10.0),
)

TABLES = {
    'fluoroscopy': FLUOROSCOPY,
    'segmentation': SEGMENTATION,
    'federation': FEDERATION,
    'console': CONSOLE, 'robot': ROBOT, 'navigation': NAVIGATION,
}
"""By the node's default name, which also names its file in config/."""

_INTRODUCTIONS = {
    'fluoroscopy': 'Executable `fluoroscopy_source`: any frame source as a ROS topic.',
    'segmentation': 'Executable `segmentation`: catheter and guidewire in every frame.',
    'federation': 'Executable `federation`: learns with other stations while this one is idle.',
    'console': "Executable `console`: the operator's page in a browser.",
    'robot': 'Executable `endovascular_robot_sim`: a simulated robot with fluoroscopy of its own.',
    'navigation': 'Executable `navigation_example`: drives a wire to a target; to be copied.',
}

_QOS = """## QoS

The segmentation's publishers of `segmentation/mask`, `instruments`, `tip`, `centerline`,
`overlay` and `overlay/compressed`, its subscription to the images, and the source's publisher of
`fluoroscopy/image_raw` take the `qos_overrides` parameters of rclpy, which can only be set at the
start:

```
ros2 run fedefm_ros segmentation --ros-args \\
  -p qos_overrides./segmentation/mask.publisher.depth:=5 \\
  -p qos_overrides./fluoroscopy/image_raw.subscription.reliability:=reliable
```
"""


def yaml_text(node: str) -> str:
    """Return the parameter file of a node with every default."""
    lines = [f'# Parameters of {node}; docs/parameters.md tells more. Made by '
             'python -m fedefm_ros.nodes.parameters', '/**:', '  ros__parameters:']
    for parameter in TABLES[node]:
        lines += _wrapped(parameter.description, '    # ')
        lines.append(f'    {parameter.name}: {_yaml_value(parameter.default)}')
    return '\n'.join(lines) + '\n'


def markdown_text() -> str:
    """Return docs/parameters.md."""
    parts = ['# Parameters\n\nMade from `fedefm_ros/nodes/parameters.py` by '
             '`python -m fedefm_ros.nodes.parameters`. A change is accepted at any time where it '
             'is in range; *used from* says when it takes effect. Those used from *start* are '
             'read-only. A source that is activated again, and a way that is set again, take the '
             'present values of their nodes.\n']
    for node, table in TABLES.items():
        parts.append(f'## {node}\n\n{_INTRODUCTIONS[node]}\n\n'
                     '| name | type | default | range | used from | meaning |\n'
                     '|---|---|---|---|---|---|')
        parts[-1] += ''.join(
            f'\n| `{p.name}` | {_TYPES[type(p.default)]} | `{_yaml_value(p.default)}` | '
            f'{p.range_text} | {p.applies} | {p.description} |' for p in table) + '\n'
    return '\n'.join([*parts, _QOS])


def _yaml_value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


def _wrapped(text: str, start: str, width: int = 99) -> list[str]:
    lines, line = [], start
    for word in text.split():
        if len(line) + len(word) > width:
            lines.append(line.rstrip())
            line = start
        line += word + ' '
    return [*lines, line.rstrip()]


def main() -> int:
    """Write the files that follow from the table into the checkout."""
    root = Path(__file__).resolve().parents[2]
    for node in TABLES:
        (root / 'config' / f'{node}.yaml').write_text(yaml_text(node), encoding='utf-8')
    (root / 'docs' / 'parameters.md').write_text(markdown_text(), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
