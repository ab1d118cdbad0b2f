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

"""Recorded sessions for the tests of `evaluate`, written by rosbags alone."""

from dataclasses import replace

from fedefm_ros.imaging.bag_types import typestore

import numpy as np

from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer

STEP = 66_000_000
START = 5_000_000_000
LATENCY = 20_000_000
SPACING_MM = 0.2


def write_bag(path, images, answers, truth=None, **options):
    """
    Write the session of one station.

    :param answers: (mask, instruments) of each image, recorded LATENCY later.
    :param truth: the same of the ground truth.
    :param options: see ``_Session``.
    """
    return write_sessions(path, {'/or1': {
        'images': images, 'answers': answers, 'truth': truth, **options}})


def write_sessions(path, sessions):
    """Write the sessions of several stations into one bag; see ``_Session`` for each."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for station, options in sessions.items():
            _Session(writer, station).write(**options)
    return path


def shifted(found, by=1):
    """Return answers some pixels to the right."""
    return [(np.roll(mask, by, 1), tuple(replace(each, centerline=each.centerline + (by, 0.0))
                                         for each in instruments))
            for mask, instruments in found]


class _Session:
    """Messages of one station."""

    def __init__(self, writer, station):
        self._writer = writer
        self._station = station
        self._topics = {}
        self._store = typestore()
        self._make = self._store.types

    def write(self, images, answers, truth=None, skip=(), images_too=True, engine=None,
              mask='mask'):
        """
        Write them.

        :param skip: frames without an answer.
        :param images_too: False leaves the images out.
        :param engine: model_id, runtime, precision and, in newer versions, min_confidence as
            diagnostics tell them.
        :param mask: what the topic of masks is called.
        """
        if engine:
            self._put('/diagnostics', self._diagnostics(*engine), START)
        for index, pixels in enumerate(images):
            now = START + index * STEP
            if images_too:
                self._put('fluoroscopy/image_raw', self._image(index, pixels), now)
            for name, entries, delay in (('segmentation', answers, LATENCY),
                                         ('ground_truth', truth, 1000)):
                if entries and not (name == 'segmentation' and index in skip):
                    kind = mask if name == 'segmentation' else 'mask'
                    self._put(f'{name}/{kind}', self._image(index, entries[index][0]),
                              now + delay)
                    self._put(f'{name}/instruments', self._instruments(index, entries[index][1]),
                              now + delay)

    def _put(self, topic, message, time):
        name = topic if topic.startswith('/') else f'{self._station}/{topic}'
        if name not in self._topics:
            self._topics[name] = self._writer.add_connection(
                name, message.__msgtype__, typestore=self._store)
        self._writer.write(self._topics[name], time,
                           self._store.serialize_cdr(message, message.__msgtype__))

    def _header(self, index):
        nanoseconds = START + index * STEP
        return self._make['std_msgs/msg/Header'](
            self._make['builtin_interfaces/msg/Time'](*divmod(nanoseconds, 10**9)), 'detector')

    def _image(self, index, pixels):
        return self._make['sensor_msgs/msg/Image'](
            self._header(index), *pixels.shape, 'mono8', 0, pixels.shape[1], pixels.reshape(-1))

    def _point(self, x, y):
        return self._make['geometry_msgs/msg/Point32'](float(x), float(y), 0.0)

    def _instruments(self, index, entries):
        return self._make['fedefm_ros/msg/InstrumentArray'](
            self._header(index), 256, 256, SPACING_MM, SPACING_MM,
            [self._make['fedefm_ros/msg/Instrument'](
                entry.kind, entry.confidence, [self._point(*xy) for xy in entry.centerline],
                self._point(*entry.tip), entry.heading, entry.tip_visible, entry.length_px,
                float('nan')) for entry in entries], 'abc', 0.01)

    def _diagnostics(self, *engine):
        values = dict(zip(('model_id', 'runtime', 'precision', 'min_confidence',
                           'judge_id'), engine))
        pair = self._make['diagnostic_msgs/msg/KeyValue']
        status = self._make['diagnostic_msgs/msg/DiagnosticStatus'](
            0, f'{self._station[1:]}/segmentation: model', '', '',
            [pair(*item) for item in values.items()])
        return self._make['diagnostic_msgs/msg/DiagnosticArray'](self._header(0), [status])
