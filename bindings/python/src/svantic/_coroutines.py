"""Coroutine handlers: a task each, on the application's loop or on a private one."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from typing import Any, Callable

from ._log import ERROR, say
from ._serving import Served, Serving, Work

_EAGER = sys.version_info >= (3, 12)  # a handler that awaits nothing is done before a turn of the loop


class Coroutines:
    """Runs coroutine handlers on one loop; what is answered in one turn leaves together. For that loop's
    thread.

    ``foreign``: dispatches are cancelled by another thread.
    """

    def __init__(self, serving: Serving, loop: asyncio.AbstractEventLoop, foreign: bool = False) -> None:
        self._foreign = foreign
        self._serving = serving
        self._loop = loop
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by dispatch id; the loop holds tasks weakly
        self._leaving: set[asyncio.Task[None]] = set()
        """Cancelled, and perhaps cleaning up, which a second cancellation would break off."""
        self._flushing = False

    def start(self, work: list[Work]) -> None:
        """Starts a task for each dispatch."""
        serving, loop, tasks = self._serving, self._loop, self._tasks
        make: Any = asyncio.Task  # its type knows no eager_start for the oldest version that is supported
        table, running, cancelled, serve = serving.served, serving.running, serving.cancelled, self._serve
        ending: BaseException | None = None
        for item in work:
            dispatch_id = item[0]
            served = table[item[1]]
            if cancelled and dispatch_id in cancelled:
                cancelled.discard(dispatch_id)
                continue
            if _EAGER:
                try:
                    task: asyncio.Task[None] = make(serve(item, served), loop=loop, eager_start=True)
                    if task.done():
                        if not task.cancelled():
                            task.result()
                        continue
                except BaseException as error:  # SystemExit and its like: what came with it is started first
                    ending = error
                    continue
            else:
                task = asyncio.Task(serve(item, served), loop=loop)
            tasks[dispatch_id] = task
            running[dispatch_id] = functools.partial(self._stop, task, dispatch_id, running.get(dispatch_id))
            if cancelled and dispatch_id in cancelled:  # by another thread, while it took its first step
                serving.cancel(dispatch_id)
                cancelled.discard(dispatch_id)
        if ending is not None:
            raise ending

    def _stop(self, task: asyncio.Task[None], dispatch_id: str, context: Callable[[], object] | None) -> None:
        if context is not None:
            context()
        if self._foreign:
            self._loop.call_soon_threadsafe(self._cancel, task, dispatch_id)
        else:
            self._cancel(task, dispatch_id)

    def _cancel(self, task: asyncio.Task[None], dispatch_id: str) -> None:
        def gone(task: asyncio.Task[None]) -> None:
            # One that is cancelled before its first step runs no line of its own.
            self._tasks.pop(dispatch_id, None)
            self._leaving.discard(task)
            self._serving.ended(dispatch_id)

        if not task.done() and task not in self._leaving:
            self._leaving.add(task)
            task.add_done_callback(gone)
            task.cancel()

    async def _serve(self, item: Work, served: Served) -> None:
        dispatch_id = item[0]
        serving = self._serving
        answers = serving.answers
        try:
            if served.build is None and served.context_name is None:
                result = await served.handler(**item[2])
            else:
                result = await served.handler(**self._arguments(item, served))
            answers.add((dispatch_id, result, served.name))
        except asyncio.CancelledError:
            if (
                dispatch_id not in serving.stopped
            ):  # not by the mesh, which would know, but by the handler itself
                answers.fail(dispatch_id, served.name, _WasCancelled("the handler was cancelled"))
        except Exception as error:
            answers.fail(dispatch_id, served.name, error)
        except BaseException as error:
            answers.fail(dispatch_id, served.name, error)
            answers.flush()
            raise
        finally:
            if serving.running:
                serving.ended(dispatch_id)
            if self._tasks:  # by id, since current_task() costs a system call before 3.12
                self._tasks.pop(dispatch_id, None)
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self.flush)

    def _arguments(self, item: Work, served: Served) -> dict[str, Any]:
        # The task is noted before it runs (but for an eager one), and the context takes its place: cancel
        # both.
        running, dispatch_id = self._serving.running, item[0]
        noted = running.get(dispatch_id)
        arguments = self._serving.arguments(item, served)
        context_cancel = running.get(dispatch_id)
        if noted is not None and context_cancel is not None and context_cancel is not noted:
            running[dispatch_id] = _both(noted, context_cancel)
        return arguments

    def flush(self) -> None:
        """Hands over what was answered in this turn."""
        self._flushing = False
        self._serving.answers.flush()

    def cancel_all(self) -> None:
        """Cancels what still runs."""
        for task in list(self._tasks.values()):
            if task not in self._leaving:
                task.cancel()

    async def leave(self) -> None:
        """Cancels what still runs, and waits for it."""
        self.cancel_all()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class _WasCancelled(Exception):
    pass


def _both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], object]:
    def cancel() -> None:
        second()
        first()

    return cancel


class LoopThread:
    """A private loop on a daemon thread, on which the synchronous face runs coroutine handlers."""

    def __init__(self, serving: Serving) -> None:
        self._loop = loop = asyncio.new_event_loop()
        self._coroutines = Coroutines(serving, loop, foreign=True)
        self._ended = False
        try:
            threading.Thread(target=self._run, name="svantic-loop", daemon=True).start()
        except BaseException:
            loop.close()
            raise

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        while not self._ended:
            try:
                loop.run_forever()
            except BaseException as error:  # a handler's SystemExit, which was answered: others go on
                say(ERROR, f"the thread of coroutine handlers: {error!r}", error)
        try:
            loop.run_until_complete(self._coroutines.leave())
            left = asyncio.all_tasks(loop)  # of the handlers' own making
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def give(self, work: list[Work]) -> None:
        """Starts these dispatches on the loop. Any thread."""
        self._loop.call_soon_threadsafe(self._coroutines.start, work)

    def end(self) -> None:
        """Cancels what still runs, and ends the thread. Any thread."""
        self._ended = True
        try:
            self._loop.call_soon_threadsafe(self._loop.stop)
        except RuntimeError:
            pass  # it has seen that it is over, and has closed its loop
