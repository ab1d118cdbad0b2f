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

"""Make the next items of an iterable while the last one is used."""

from collections.abc import Iterable
from collections.abc import Iterator
import queue
import threading
from typing import TypeVar

T = TypeVar('T')

_END = object()


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """
    Yield the items in their order; a thread makes up to `count` of them in advance.

    What making them raises is raised here, after the items before it. When this is closed or left
    early, the thread ends after the item it is at.
    """
    made: queue.Queue = queue.Queue(count)
    left = threading.Event()

    def put(entry) -> bool:
        while not left.is_set():
            try:
                made.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:  # raised where the items are used
            put((_END, error))

    thread = threading.Thread(target=work, name='ahead', daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        left.set()
        thread.join()
