"""Events of a connector: what one is, their names, and the streams that hand them out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

MAX_WAITING = 1024
"""So many events wait for one reader; what comes then is counted in a ``missed`` event."""


class Event(NamedTuple):
    """Something that happened to a connector."""

    name: str
    """What happened: one of :class:`EventName`, or a name that this version does not know."""
    code: int
    """The number of the event in the C interface."""
    data: dict[str, Any]
    """Its fields, as the C header lists them."""


class EventName:
    """The names of the events."""

    STATE = "state"
    TOKEN_REFRESHED = "token_refreshed"
    REGISTERED = "registered"
    DISPATCH_CANCELLED = "dispatch_cancelled"
    LOG = "log"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    BACKOFF = "backoff"
    AUTH_FAILED = "auth_failed"
    TOKEN_EXPIRING = "token_expiring"
    TOKEN_EXPIRED = "token_expired"
    INSTANCE_FORGOTTEN = "instance_forgotten"
    SUPERSEDED = "superseded"
    DRAINING = "draining"
    RESULT_DROPPED = "result_dropped"
    DISPATCH_REFUSED = "dispatch_refused"
    MISSED = "missed"
    FAILED = "failed"
    FENCE_UNSUPPORTED = "fence_unsupported"
    CREDENTIAL_FALLBACK = "credential_fallback"
    TOKEN_WANTED = "token_wanted"
    SESSION_CLOSED = "session_closed"
    STALLED = "stalled"


class EventQueue:
    """Events that wait for one reader: bounded, in order, with an end. ``wake`` is called when there is
    news."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._waiting: deque[Event] = deque()
        self._missed = 0
        self._guard = threading.Lock()
        self._wake = wake
        self.ended = False

    def push(self, event: Event) -> None:
        """Adds an event, or counts it where there are too many."""
        with self._guard:
            if self._missed or len(self._waiting) >= MAX_WAITING:
                self._missed += event.data.get("count", 1) if event.name == EventName.MISSED else 1
            else:
                self._waiting.append(event)
        self._wake()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._wake()

    def pop(self) -> Event | None:
        """The next event; ``None`` when there is none now."""
        with self._guard:
            if self._waiting:
                return self._waiting.popleft()
            if self._missed:
                count, self._missed = self._missed, 0
                return Event(EventName.MISSED, 17, {"count": count})
            return None


class EventStream(Iterator[Event]):
    """The events since it was made, one after another; ends with the connector. One reader at a time."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self._news = threading.Semaphore(0)
        self.queue = EventQueue(self._news.release)

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Event:
        while True:
            event = self.queue.pop()
            if event is not None:
                return event
            if self.queue.ended:
                raise StopIteration
            self._check()  # in a forked child nobody would wake it
            self._news.acquire()

    def close(self) -> None:
        """Ends the stream."""
        self.queue.end()
