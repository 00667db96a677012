"""Coroutine handlers: a task each, on the application's loop or on a private one."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any, Callable

from ._serving import Served, Serving

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
        self._flushing = False

    def start(self, items: list[dict[str, Any]]) -> None:
        """Starts a task for each dispatch."""
        serving, loop, tasks = self._serving, self._loop, self._tasks
        make: Any = asyncio.Task  # its type knows no eager_start for the oldest version that is supported
        table, running, cancelled, serve = serving.served, serving.running, serving.cancelled, self._serve
        for item in items:
            served = table[item["skill_id"]]
            dispatch_id = item["dispatch_id"]
            if cancelled and dispatch_id in cancelled:
                cancelled.discard(dispatch_id)
                continue
            if _EAGER:
                task: asyncio.Task[None] = make(serve(item, served), loop=loop, eager_start=True)
                if task.done():
                    if not task.cancelled() and task.exception() is not None:
                        task.result()
                    continue
            else:
                task = asyncio.Task(serve(item, served), loop=loop)
            tasks[dispatch_id] = task
            running[dispatch_id] = self._canceller(task, running.get(dispatch_id))

    def _canceller(
        self, task: asyncio.Task[None], context: Callable[[], object] | None
    ) -> Callable[[], object]:
        if context is None and not self._foreign:
            return task.cancel

        def cancel() -> None:
            if context is not None:
                context()
            if self._foreign:
                self._loop.call_soon_threadsafe(task.cancel)
            else:
                task.cancel()

        return cancel

    async def _serve(self, item: dict[str, Any], served: Served) -> None:
        dispatch_id = item["dispatch_id"]
        serving = self._serving
        answers = serving.answers
        try:
            if served.build is None and served.context_name is None:
                result = await served.handler(**item["args"])
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

    def _arguments(self, item: dict[str, Any], served: Served) -> dict[str, Any]:
        # The task is noted before it runs (but for an eager one), and the context takes its place: cancel
        # both.
        running, dispatch_id = self._serving.running, item["dispatch_id"]
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
            task.cancel()


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
        self._loop = asyncio.new_event_loop()
        self._coroutines = Coroutines(serving, self._loop, foreign=True)
        threading.Thread(target=self._run, name="svantic-loop", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def give(self, items: list[dict[str, Any]]) -> None:
        """Starts these dispatches on the loop. Any thread."""
        self._loop.call_soon_threadsafe(self._coroutines.start, items)

    def end(self) -> None:
        """Cancels what still runs, and ends the thread. Any thread."""
        self._loop.call_soon_threadsafe(self._coroutines.cancel_all)
        self._loop.call_soon_threadsafe(lambda: self._loop.call_soon(self._loop.stop))
