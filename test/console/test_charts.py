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

"""Plots and graph: what they show is in the SVG, gaps stay gaps, and names are never markup."""

import math
from xml.etree import ElementTree

from fedefm_ros.console.charts import graph, Line, plot
from fedefm_ros.console.network import Network, Peer, StationStatus

SVG = '{http://www.w3.org/2000/svg}'


def test_a_plot_tells_its_newest_value_and_leaves_gaps():
    values = [10.0, 20.0, math.nan, 30.0, 40.0]
    drawn = ElementTree.fromstring(plot('latency', 'ms', [Line('', values)], limit=200.0))
    assert drawn.get('aria-label') == 'latency: 40.0 ms'
    assert len(drawn.findall('polyline')) == 2
    assert drawn.find("line[@class='limit']") is not None


def test_a_plot_grows_upwards_and_ends_at_the_right():
    line, = ElementTree.fromstring(plot('x', '', [Line('', [1.0, 2.0, 4.0])])).findall('polyline')
    points = [tuple(map(float, point.split(','))) for point in line.get('points').split()]
    assert points[-1][0] == 320 and points[0][1] > points[1][1] > points[2][1]


def test_a_plot_of_nothing_is_drawn_too():
    for values in ([], [math.nan]):
        assert ElementTree.fromstring(plot('x', '', [Line('', values)])).find('polyline') is None


def federation():
    return Network({
        'north': StationStatus('north', 1, 4, (Peer('south', 1.0, 0.82),
                                               Peer('west', math.nan, math.nan))),
        'south': StationStatus('south', 1, 6, (Peer('north', 1.0, -0.1),))})


def test_the_graph_has_every_station_and_an_arrow_for_each_teacher():
    drawn = ElementTree.fromstring(graph(federation(), 'north'))
    names = [text.text for text in drawn.iter('text') if text.get('class') == 'name']
    phases = [text.text for text in drawn.iter('text') if text.get('class') == 'phase']
    weights = [text.text for text in drawn.iter('text') if text.get('class') == 'weight']
    assert names == ['north', 'south', 'west']
    assert phases == ['distilling', 'paused', 'says nothing']
    assert sorted(weights) == ['-0.10', '0.82']
    assert len([path for path in drawn.iter('path') if 'arrow' in path.get('class', '')]) == 3
    own, = [g for g in drawn.iter('g') if 'own' in g.get('class', '').split()]
    assert own.find("text[@class='name']").text == 'north'


def test_a_long_name_is_shortened_and_told_in_full_on_a_look():
    name = 'harbour_university_hospital'
    drawn = ElementTree.fromstring(graph(Network({name: StationStatus(name, 0, 0)}), ''))
    shown, told = drawn.find(".//text[@class='name']").text, drawn.find('.//title').text
    assert len(shown) <= 20 and name.startswith(shown[:-1]) and told == name


def test_a_larger_weight_is_a_wider_arrow():
    arrows = [path for path in ElementTree.fromstring(graph(federation(), '')).iter('path')
              if path.get('class') == 'arrow']
    widths = sorted(float(path.get('stroke-width')) for path in arrows)
    assert widths == [1.0, 4.3]


def test_a_station_cannot_name_itself_into_the_page():
    evil = '<img src=x onerror=alert(1)>'
    drawn = graph(Network({evil: StationStatus(evil, 0, 99)}), evil)
    assert '<img' not in drawn
    assert ElementTree.fromstring(drawn).find(".//text[@class='phase']").text == 'phase 99'
