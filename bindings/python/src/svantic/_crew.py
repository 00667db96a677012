"""The threads that run plain handlers: quick ones in bulk on one thread, slow ones side by side."""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ._serving import SLOW_SECONDS, Serving, Work

if TYPE_CHECKING:
    from _thread import LockType

LOOK_AGAIN_SECONDS = 0.005
"""How long work may wait behind a handler that was expected to be quick, and answers for company."""
_FLUSH_SECONDS = 0.002


class Crew:
    """Up to ``size`` daemon threads that share one queue of dispatches.

    A thread costs a wake-up, which costs more than a quick handler, so one is woken at a time. Others follow
    where a handler is known to be slow (the thread that takes one wakes the next), and where those awake make
    no progress (:meth:`look_again`, which the receiving thread calls while :attr:`busy`).
    """

    def __init__(self, serving: Serving, size: int | None) -> None:
        self._serving = serving
        self._size = size if size is not None else min(32, (os.cpu_count() or 1) + 4)
        self._work: deque[Work] = deque()
        self._idle: list[LockType] = []
        self._threads = 0
        self._awake = 0
        self._progress = 0.0  # when the last handler ended; any change is progress
        self._seen = -1.0
        self._guard = (
            threading.Lock()
        )  # of _threads and _awake, which change when a thread wakes, sleeps or ends
        self._ended = False

    @property
    def busy(self) -> bool:
        """Whether somebody should look again in a moment."""
        return bool(self._work) or bool(self._serving.answers)

    def give(self, work: list[Work]) -> None:
        """Adds dispatches, and wakes a thread if none is awake."""
        self._work.extend(work)
        if not self._awake:
            self._wake()

    def look_again(self) -> None:
        """Wakes one more thread, and hands over what was answered, if nothing has moved since the last
        call."""
        progress = self._progress
        if progress != self._seen:
            self._seen = progress
            return
        self._serving.answers.flush()
        if self._work:
            self._wake()

    def end(self) -> None:
        """Sends the threads home when the queue is empty."""
        self._ended = True
        while self._wake(start=False):
            pass

    def _wake(self, start: bool = True) -> bool:
        try:
            sleeper = self._idle.pop()
        except IndexError:
            with self._guard:
                if not start or self._threads >= self._size:
                    return False
                self._threads += 1
                self._awake += 1
                name = f"svantic-crew-{self._threads}"
            try:
                threading.Thread(target=self._thread, name=name, daemon=True).start()
            except RuntimeError:
                # The interpreter is ending, or the system has no more threads: those awake go on.
                with self._guard:
                    self._threads -= 1
                    self._awake -= 1
                return False
            return True
        with self._guard:
            self._awake += 1
        sleeper.release()
        return True

    def _thread(self) -> None:
        try:
            while self._run_all() and self._sleep(_thread.allocate_lock()):
                pass
        finally:
            with self._guard:
                self._threads -= 1
                self._awake -= 1
            if self._work:  # a handler has ended this thread by SystemExit or the like
                self._wake()

    def _sleep(self, lock: LockType) -> bool:
        """Sleeps until woken; ``False`` when it is over."""
        lock.acquire()
        with self._guard:
            self._awake -= 1
        self._idle.append(lock)
        # Asked after this thread is among the idle ones: whoever gives work looks for them after giving it.
        if self._work or self._ended:
            try:
                self._idle.remove(lock)
            except ValueError:
                pass  # somebody is waking it
            else:
                with self._guard:
                    self._awake += 1
                return bool(self._work) or not self._ended
        lock.acquire()
        return bool(self._work) or not self._ended

    def _run_all(self) -> bool:
        """Runs until the queue is empty, and hands over the answers."""
        work, serving = self._work, self._serving
        take, table, cancelled = work.popleft, serving.served, serving.cancelled
        answers, run, clock = serving.answers, serving.run, time.monotonic
        add = answers.add
        started = clock()
        flush_at = started + _FLUSH_SECONDS
        while True:
            try:
                item = take()
            except IndexError:
                break
            dispatch_id, skill_id, args, _ = item
            served = table[skill_id]
            if cancelled and dispatch_id in cancelled:
                cancelled.discard(dispatch_id)
                continue
            if served.slow:
                if answers:
                    answers.flush()
                if work:
                    self._wake()
            if served.plain:  # serving.run() without the call, which is a good part of the cost
                try:
                    add((dispatch_id, served.handler(**args), served.name))
                except BaseException as error:
                    answers.fail(dispatch_id, served.name, error)
                    if not isinstance(error, Exception):
                        answers.flush()
                        raise
            else:
                run(item, served)
            now = self._progress = clock()
            took = now - started
            started = now
            if took > SLOW_SECONDS:
                served.slow = True
            elif served.slow:
                served.slow = False
            if now > flush_at:
                answers.flush()
                flush_at = now + _FLUSH_SECONDS
        if answers:
            answers.flush()
        if cancelled and not self._work:
            cancelled.clear()
        return True
