"""How a dispatch becomes a call of a handler, and what all that run handlers share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from ._answers import Answers
from .context import Context

if TYPE_CHECKING:
    from .agent import Capability

Work = tuple[str, str, dict[str, Any], Optional[dict[str, Any]]]
"""A dispatch that is to be run: its id, its skill, its arguments, and what else is known of it, if somebody may ask."""

_MOST_CANCELLED = 4096
SLOW_SECONDS = 0.001
"""A handler that took longer is given a thread of its own the next time."""


class Served:
    """A capability as a connector calls it."""

    __slots__ = ("build", "context_name", "handler", "inline", "is_coroutine", "name", "plain", "slow")

    def __init__(self, capability: Capability) -> None:
        signature = capability.signature
        self.name = capability.name
        self.handler: Callable[..., Any] = capability.handler
        self.build = signature.build
        self.context_name = signature.wants_context
        self.is_coroutine = signature.is_coroutine
        self.inline = capability.inline
        # Nothing to prepare: args go to the handler as they are.
        self.plain = self.build is None and self.context_name is None and not self.is_coroutine
        self.slow = False


class Serving:
    """What is running, by dispatch id, and what the mesh no longer wants."""

    __slots__ = ("answers", "cancelled", "running", "served", "stopped")

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.served: dict[str, Served] = {}
        self.running: dict[str, Callable[[], object]] = {}
        """How to cancel what runs with a context or as a task."""
        self.cancelled: set[str] = set()
        """Cancelled while it may still have waited for a thread."""
        self.stopped: set[str] = set()
        """Cancelled while it ran."""

    def apart(self, work: list[Work]) -> tuple[list[Work], list[Work]]:
        """Dispatches for threads, and those for a loop."""
        table = self.served
        plain = [item for item in work if not table[item[1]].is_coroutine]
        if not plain:
            return plain, work
        if len(plain) == len(work):
            return plain, []
        return plain, [item for item in work if table[item[1]].is_coroutine]

    def arguments(self, item: Work, served: Served) -> dict[str, Any]:
        """The keyword arguments for a handler that is not ``plain``. Raises what building them raises."""
        dispatch_id, skill_id, arguments, known = item
        if served.build is not None:
            arguments = served.build(arguments)
        if served.context_name is not None:
            known = known or {}
            known["dispatch_id"], known["skill_id"] = dispatch_id, skill_id
            context = Context(known, known.get("received") or time.monotonic())
            self.running[dispatch_id] = context._cancel
            if self.cancelled and dispatch_id in self.cancelled:  # after its thread had looked there
                self.cancel(dispatch_id)
            arguments = {**arguments, served.context_name: context}
        return arguments

    def cancel(self, dispatch_id: str) -> None:
        """The mesh no longer wants this answer."""
        # Noted before the look at what runs: a handler is entered there before it looks here, so that one of the two
        # sees the other. It may also still wait for a thread.
        if len(self.cancelled) >= _MOST_CANCELLED:
            # Most of them ran already, or the crew would have cleared them; the rest runs for nobody.
            self.cancelled.clear()
        self.cancelled.add(dispatch_id)
        cancel = self.running.get(dispatch_id)
        if cancel is not None:
            self.cancelled.discard(dispatch_id)
            self.stopped.add(dispatch_id)
            cancel()
            if dispatch_id not in self.running:  # it ended on its own meanwhile, and found nothing to discard
                self.stopped.discard(dispatch_id)

    def ended(self, dispatch_id: str) -> None:
        """A handler with a context, or a task, has ended."""
        self.running.pop(dispatch_id, None)
        if self.stopped:
            self.stopped.discard(dispatch_id)

    def run(self, item: Work, served: Served) -> None:
        """Runs a plain function and adds its answer. An exception that ends a thread is answered and raised
        again."""
        dispatch_id = item[0]
        try:
            if served.plain:
                result = served.handler(**item[2])
            else:
                result = served.handler(**self.arguments(item, served))
            self.answers.add((dispatch_id, result, served.name))
        except Exception as error:
            self.answers.fail(dispatch_id, served.name, error)
        except BaseException as error:
            self.answers.fail(dispatch_id, served.name, error)
            self.answers.flush()
            raise
        finally:
            if served.context_name is not None:
                self.ended(dispatch_id)
