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

"""Summing up, intervals and differences, against plain computations."""

from fedefm_ros.evaluation import bootstrap
from fedefm_ros.evaluation import measures
from fedefm_ros.evaluation.measures import Measure
from fedefm_ros.evaluation.rows import FrameTable

import numpy as np
import pytest

MEAN = Measure('m', 'mean', True, mean='x')
RATIO = Measure('r', 'ratio', True, part=((1.0, 'x'),), whole=((1.0, 'x'), (1.0, 'y')))
MEDIAN = Measure('d', 'median', True, median='x')
TIPS = Measure('tip_error_px.median', 'tips', False, median='tips_px')


def table_of(x, y=None):
    table = FrameTable()
    for index, value in enumerate(x):
        table.add({'x': value} | ({} if y is None else {'y': y[index]}))
    return table


def frames(count):
    return bootstrap.units_of(np.full(count, -1), np.zeros(count))


def test_values_are_what_numpy_says():
    x, y = np.random.default_rng(0).random((2, 31))
    found = measures.values(table_of(x, y), [MEAN, RATIO, MEDIAN])
    assert found == pytest.approx({'m': x.mean(), 'r': x.sum() / (x + y).sum(),
                                   'd': np.median(x)})


def test_a_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(1)
    x, weights = rng.random(25), rng.integers(0, 4, 25)
    found = measures.weighted(table_of(x), MEDIAN)(weights)
    assert found == pytest.approx(np.median(np.repeat(x, weights)))


def test_frames_without_a_figure_are_left_out():
    found = measures.values(table_of([1.0, np.nan, 3.0]), [MEAN, MEDIAN])
    assert found == {'m': 2.0, 'd': 2.0}


def test_missed_tips_count_in_the_median_and_in_the_share():
    table = FrameTable()
    table.add({}, [1.0, np.inf], 0.5)
    table.add({}, [2.0])
    missed = next(m for m in measures.ALL if m.key == 'tip_error_px.missed')
    assert measures.values(table, [TIPS, missed]) == pytest.approx(
        {'tip_error_px.median': 2.0, 'tip_error_px.missed': 1 / 3})


def test_the_interval_of_a_mean_is_that_of_theory():
    x = np.random.default_rng(2).normal(5.0, 2.0, 400)
    samples = bootstrap.resample([table_of(x)], [MEAN], frames(400))[0, 0]
    low, high = bootstrap.interval(samples)
    width = 1.96 * x.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((x.mean() - width, x.mean() + width), abs=0.15 * width)


def test_the_same_seed_gives_the_same_samples():
    table = table_of(np.arange(20.0))
    one, other = (bootstrap.resample([table], [MEAN, MEDIAN], frames(20), resamples=50)
                  for _ in range(2))
    assert (one == other).all()


def test_a_small_but_steady_difference_is_found_because_frames_are_paired():
    rng = np.random.default_rng(4)
    x = rng.random(200)
    better = table_of(x + 0.02 + 0.01 * rng.random(200))
    samples = bootstrap.resample([table_of(x), better], [MEAN], frames(200))
    found = bootstrap.paired_difference(*samples[:, 0])
    assert found['p'] < 0.01 and 0.02 < found['ci95'][0] < found['ci95'][1] < 0.03


def test_p_is_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(60):
        tables = [table_of(rng.random(40)) for _ in range(2)]
        samples = bootstrap.resample(tables, [MEAN], frames(40), resamples=200)
        found.append(bootstrap.paired_difference(*samples[:, 0])['p'])
    assert 0.35 < np.mean(found) < 0.65 and np.mean(np.array(found) < 0.05) < 0.16


def test_equal_contestants_do_not_differ():
    table = table_of(np.arange(10.0))
    samples = bootstrap.resample([table, table], [MEAN], frames(10), resamples=100)
    assert bootstrap.paired_difference(*samples[:, 0]) == {'ci95': [0.0, 0.0], 'p': 1.0}


def test_what_is_drawn_are_seconds_of_few_sequences_and_else_sequences():
    few = bootstrap.units_of(np.repeat([0, 1], 75), np.tile(np.arange(75) / 15.0, 2))
    assert few.count == 10 and few.what == 'seconds of a sequence'
    short = bootstrap.units_of(np.zeros(30, int), np.arange(30) / 15.0)
    assert short.count == 30 and 'too narrow' in short.what
    many = bootstrap.units_of(np.repeat(np.arange(10), 6), np.tile(np.arange(6) / 15.0, 10))
    assert many.count == 10 and many.what == 'sequences'
    assert len(np.unique(many.of_frame[:6])) == 1
    assert frames(7).count == 7


def test_frames_that_are_alike_widen_the_interval():
    x = np.repeat(np.random.default_rng(6).random(20), 15)
    table, times = table_of(x), np.arange(300) / 15.0
    wide, narrow = (bootstrap.interval(bootstrap.resample([table], [MEAN], units)[0, 0])
                    for units in (bootstrap.units_of(np.zeros(300, int), times), frames(300)))
    assert wide[1] - wide[0] > 2.5 * (narrow[1] - narrow[0])


def test_no_frames_give_no_interval():
    samples = bootstrap.resample([FrameTable()], [MEAN], frames(0), resamples=10)
    assert np.isnan(bootstrap.interval(samples[0, 0])).all()
    assert np.isnan(bootstrap.paired_difference(samples[0, 0], samples[0, 0])['p'])
