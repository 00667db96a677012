"""The stream of events for ``async for``."""

from __future__ import annotations

import asyncio

from .events import Event, EventQueue


class EventStream:
    """The events since it was made, for ``async for``; ends with the connector. One reader at a time."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self.queue = EventQueue(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        while True:
            event = self.queue.pop()
            if event is not None:
                return event
            if self.queue.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def close(self) -> None:
        """Ends the stream. For the loop's thread."""
        self.queue.end()
