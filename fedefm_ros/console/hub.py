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

"""The newest picture for any number of browsers; each takes what it can and misses the rest."""

import asyncio
from collections.abc import Callable
import json
from typing import Any

from fedefm_ros.console.painter import Picture
from fedefm_ros.console.view import Snapshot

HEARTBEAT = 0.1
"""Seconds after which a browser is told how things stand when there is no new picture."""
UNDER_WAY = 2
"""Pictures that a browser may have been sent and not yet shown."""
SILENCE = 15.0
"""Seconds after which a browser that shows nothing of what it was sent is given up."""


class FrameHub:
    """One slot for a picture; readers wait for a newer one than they had."""

    def __init__(self):
        """Start with no picture and no reader."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._picture: Picture | None = None
        self._number = 0
        self._newer = asyncio.Event()
        self.readers = 0
        """How many browsers look; pictures are made only while there are any."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve the readers of this loop."""
        self._loop = loop

    def publish(self, picture: Picture) -> None:
        """Put a picture in; any thread may."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, picture)

    def _put(self, picture: Picture) -> None:
        self._picture, self._number = picture, self._number + 1
        self._newer.set()
        self._newer = asyncio.Event()

    async def newer(self, number: int, timeout: float) -> tuple[int, Picture | None]:
        """
        Return a number and the newest picture if it is newer than a number; else None.

        :param timeout: seconds to wait for it.
        """
        if self._number == number or self._picture is None:
            try:
                await asyncio.wait_for(self._newer.wait(), timeout)
            except TimeoutError:
                return number, None
            except asyncio.TimeoutError:  # another class before Python 3.11
                return number, None
        return self._number, self._picture


async def stream(socket: Any, hub: FrameHub, look: Callable[[], Snapshot],
                 deadline: Callable[[], float]) -> None:
    """
    Send pictures to one browser until it goes.

    A binary message is the length of a JSON text (4 bytes, big endian), that text and a JPEG; a
    text message is the JSON alone, as a heartbeat. The browser answers each binary message once
    it has shown it; until then, no more than ``UNDER_WAY`` are sent, so that a slow one skips
    frames and never lags behind.

    :param socket: an accepted Starlette WebSocket.
    :param deadline: seconds after which a mask is stale.
    """
    waiting, answered = 0, asyncio.Event()

    async def listen():
        nonlocal waiting
        while (await socket.receive())['type'] == 'websocket.receive':
            waiting = max(0, waiting - 1)
            answered.set()

    async def send():
        nonlocal waiting
        number, silent = 0, 0.0
        while silent < SILENCE:
            if waiting >= UNDER_WAY:
                answered.clear()
                try:
                    await asyncio.wait_for(answered.wait(), HEARTBEAT)
                except (TimeoutError, asyncio.TimeoutError):
                    silent += HEARTBEAT
                    await socket.send_text(json.dumps(_told(look(), deadline())))
                continue
            silent = 0.0
            number, picture = await hub.newer(number, HEARTBEAT)
            told = _told(look(), deadline())
            if picture is None:
                await socket.send_text(json.dumps(told))
                continue
            told |= {'stamp': picture.stamp / 1e9, 'masked': picture.masked,
                     'age_ms': round(1e3 * picture.age, 1), 'size': picture.size}
            text = json.dumps(told).encode()
            waiting += 1
            await socket.send_bytes(len(text).to_bytes(4, 'big') + text + picture.jpeg)

    hub.readers += 1
    tasks = [asyncio.create_task(listen()), asyncio.create_task(send())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hub.readers -= 1
        for task in tasks:
            task.cancel()
        # What a browser that went away leaves behind is no news.
        await asyncio.gather(*tasks, return_exceptions=True)


def _told(snapshot: Snapshot, deadline: float) -> dict:
    """Return what every message says: is the picture to be trusted, and where the tip was."""
    age = snapshot.mask_age
    return {
        'flowing': snapshot.flowing, 'mask_age': None if age is None else round(age, 2),
        'stale': snapshot.flowing and (age is None or age > deadline),
        'procedure': snapshot.procedure,
        'tips': [(round(tip.x, 4), round(tip.y, 4), round(snapshot.now - tip.at, 2))
                 for tip in snapshot.tips[-300:]]}
