"""The thread on which the synchronous face reports events: callbacks, streams and log lines, in order."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable

from ._event_lines import is_told, tell
from ._log import ERROR, say
from .events import Event, EventQueue, EventStream

if TYPE_CHECKING:
    from ._session import Session


def call(callback: Callable[[Event], Any], event: Event) -> Any:
    """Calls back; an exception is logged, nothing else."""
    try:
        return callback(event)
    except Exception as error:
        report(event, error)


def report(event: Event, error: BaseException) -> None:
    """Logs what a callback raised."""
    say(ERROR, f"a callback failed on the event {event.name}", error)


class EventThread:
    """Fans events out. The thread starts with the first event that somebody wants, and ends with the
    session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._callbacks: list[list[Callable[[Event], Any]]] = []
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._guard = threading.Lock()
        self._news = threading.Semaphore(0)
        self._queue = EventQueue(self._news.release)
        self._started = False

    def subscribe(self, callback: Callable[[Event], Any]) -> Callable[[], None]:
        """Adds a callback; the function that is returned removes it."""
        entry = [callback]  # the same function may be added twice
        with self._guard:
            self._callbacks = [*self._callbacks, entry]

        def unsubscribe() -> None:
            with self._guard:
                self._callbacks = [kept for kept in self._callbacks if kept is not entry]

        return unsubscribe

    def stream(self, check: Callable[[], object]) -> EventStream:
        """A stream of the events from now on."""
        stream = EventStream(check)
        with self._guard:
            self._streams.add(stream)
        if self._session.ended:
            stream.close()
        return stream

    def push(self, event: Event) -> None:
        """Takes an event from the receiving thread, which never waits here."""
        with self._guard:
            streams = list(self._streams)
        for stream in streams:
            stream.queue.push(event)
        if self._callbacks or is_told(event):
            if not self._started:
                try:
                    threading.Thread(target=self._run, name="svantic-events", daemon=True).start()
                    self._started = True
                except RuntimeError:
                    # The interpreter is ending, or the system has no more threads: the next one tries again.
                    pass
            self._queue.push(event)

    def end(self) -> None:
        """Nothing more will come."""
        self._queue.end()
        with self._guard:
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    def _run(self) -> None:
        queue = self._queue
        while True:
            event = queue.pop()
            if event is None:
                if queue.ended:
                    return
                self._news.acquire()
                continue
            if is_told(event):
                tell(event, self._session.agent_name)
            for (callback,) in self._callbacks:
                try:
                    call(callback, event)
                except BaseException as error:  # SystemExit would end the thread, and with it all callbacks
                    report(event, error)
