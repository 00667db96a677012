"""What both faces share of a connector: its handle, its pending operations, and where each item goes.

It holds no reference to the connector, so that a forgotten one can be collected while the threads here still
run.
"""

from __future__ import annotations

import copy
import itertools
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from . import _json
from ._answers import Answers
from ._log import CRITICAL, say
from ._mesh import MAX_ITEMS, Mesh
from ._serving import Served, Serving
from .errors import InvalidStateError, OperationCancelledError, SvanticError, closed, from_fields
from .events import Event, EventName

if TYPE_CHECKING:
    from ._mesh import Batch
    from ._serving import Work
    from .agent import Capability

Settle = Callable[[Any, "SvanticError | None"], None]
"""Takes the outcome of an operation: its result, or its error."""
TakePart = Callable[["dict[str, Any] | None"], object]
"""Takes the parts of a response, and ``None`` when there will be no more of them. Any thread; does not raise."""

CLOSED, FAILED = 4, 7

LAST_ITEMS_SECONDS = 5.0
"""How long close() lets the last events and completions be taken, which are there already."""


class Session:
    """One native handle in use. The face that owns it sets the hooks below before it connects."""

    def __init__(self, config: Mapping[str, Any], redact: bool) -> None:
        self.mesh = Mesh(config)
        self.agent_name = str(config["name"])
        self.answers = Answers(self.mesh, redact)
        self.serving = Serving(self.answers)
        self.process = os.getpid()
        self.failure: SvanticError | None = None
        self.used = False
        """Something has been asked of the mesh."""
        self.ended = False
        """The last item has been taken."""
        self.abandoned = False
        """Nobody holds the connector any more: the handle is freed at the end."""
        self.freed_state: int | None = None
        self.on_event: Callable[[Event], None] = lambda event: None
        self.on_end: Callable[[], None] = lambda: None
        self.on_abandoned: Callable[[], None] = lambda: None
        self.give: Callable[[list[Work]], None] = lambda work: None
        """Takes dispatches whose handlers may block or are coroutines."""
        self._tags = itertools.count(1)
        self._pending: dict[int, Settle] = {}
        self._responses: dict[int, TakePart] = {}
        self.simple = True
        """No capability needs more than to be put on the queue."""

    def define(self, capability: Capability) -> None:
        """Adds a capability to the handle."""
        served = Served(capability)
        self.check_open()
        if served.inline or served.is_coroutine or served.context_name is not None:
            self.simple = False
        if served.context_name is not None:
            self.mesh.wants_contexts = True  # for good: those of dispatches that are on their way
        # First, since a dispatch may come at once when the mesh knows it.
        previous = self.serving.served.setdefault(served.name, served)
        try:
            self.mesh.define_capability(capability.spec())
        except BaseException:
            if previous is served:
                del self.serving.served[served.name]
            raise

    # ---- operations ----

    def check_open(self) -> None:
        """Raises ForkedError in a forked child, ClosedError after close()."""
        if self.mesh.handle is None:
            raise closed()
        self.mesh.state()

    def begin(self, start: Callable[[int], None], settle: Settle) -> int:
        """Starts an operation with a fresh tag; ``settle`` is called once, with its outcome, unless this
        raises."""
        self.used = True
        tag = next(self._tags)
        self._pending[tag] = settle
        try:
            # Asked after it was noted: end() settles what it finds, and later ones nobody would settle. The library
            # takes an operation after the end too, and its outcome comes behind the last item.
            if self.ended or self.mesh.state() in (CLOSED, FAILED):
                hint = "make a new MeshConnector"
                raise InvalidStateError("the connector has ended", code="CLOSED", hint=hint)
            start(tag)
        except BaseException:  # also Ctrl-C right after it has begun
            self.give_up(tag)
            raise
        return tag

    def give_up(self, tag: int) -> None:
        """Nobody waits for this operation any more."""
        if self._pending.pop(tag, None) is not None and self.mesh.handle is not None:
            self.mesh.cancel(tag)

    # ---- requests ----

    def serve(self, request: Mapping[str, Any], body: bytes, take: TakePart) -> int:
        """Has an HTTP request answered. ``take`` gets the parts of the response, on the thread that takes items, unless
        this raises."""
        self.used = True
        tag = next(self._tags)
        self._responses[tag] = take
        try:
            if self.ended:  # asked after it was noted, as in begin()
                raise InvalidStateError("the connector has ended", code="CLOSED")
            self.mesh.serve(request, body, tag)
        except BaseException:
            self.hang_up(tag)
            raise
        return tag

    def hang_up(self, tag: int) -> None:
        """Nobody waits for this response any more. What was called runs on."""
        if self._responses.pop(tag, None) is not None and self.mesh.handle is not None:
            self.mesh.cancel(tag)

    # ---- items ----

    def take(self, batch: Batch) -> bool:
        """Routes one batch; whether it was a full one, behind which there may be more."""
        text, contexts_text, long_integers = batch
        items = (_json.loads if long_integers else _json.loads_short)(text)
        full = len(items) >= 3 * MAX_ITEMS
        contexts: list[Any] | None = _json.loads(contexts_text) if contexts_text else None
        if self.simple and type(items[0]) is str and len(items) % 3 == 0:
            # Control items come first, but for the end, so these are dispatches all through; the queue takes them
            # in one piece.
            parts = iter(items)
            self.give(list(zip(parts, parts, parts, itertools.repeat(None))))
            return full
        work: list[Work] = []
        serving = self.serving
        now = time.monotonic()
        ending: BaseException | None = None
        dispatches = 0
        parts = iter(items)
        for item in parts:
            try:
                if type(item) is str:
                    skill_id, args = next(parts), next(parts)
                    known = None
                    if contexts is not None:
                        known = contexts[dispatches]
                        known["received"] = now
                        dispatches += 1
                    served = serving.served[skill_id]
                    if served.inline:
                        serving.run((item, skill_id, args, known), served)
                    else:
                        work.append((item, skill_id, args, known))
                    continue
                kind = item["type"]
                if kind == "done":
                    self._done(item)
                elif kind == "event":
                    self._event(item)
                elif kind == "response":
                    self._response(item)
                elif kind == "closed":
                    self.end()
            except BaseException as error:  # SystemExit and its like: what came with it goes first
                ending = error
        try:
            if work:
                self.give(work)
        finally:
            if serving.answers:
                serving.answers.flush()
        if ending is not None:
            raise ending
        return full

    def _done(self, item: dict[str, Any]) -> None:
        settle = self._pending.pop(item["tag"], None)
        if settle is not None:
            error = item.get("error")
            settle(item.get("result"), None if error is None else from_fields(error))

    def _response(self, item: dict[str, Any]) -> None:
        tag = item["tag"]
        take = self._responses.get(tag) if item["more"] else self._responses.pop(tag, None)
        if take is not None:
            take(item)

    def _event(self, item: dict[str, Any]) -> None:
        event = Event(item["name"], item["event"], item["data"])
        if event.name == EventName.DISPATCH_CANCELLED:
            self.serving.cancel(event.data["dispatch_id"])
        elif event.name == EventName.FAILED:
            self.failure = from_fields(event.data)
        self.on_event(event)

    # ---- the end ----

    def end(self) -> None:
        """Nothing more comes: whoever waits is told. The handle goes with the connector, or now if that is
        gone."""
        if self.ended:
            return
        self.ended = True
        pending, self._pending = self._pending, {}
        responses, self._responses = self._responses, {}
        try:
            for take in list(responses.values()):
                take(None)
            for settle in list(
                pending.values()
            ):  # another thread may still add one, which it then takes back
                self._settle_ended(settle)
            for dispatch_id in list(self.serving.running):
                self.serving.cancel(dispatch_id)
        finally:
            if self.abandoned:
                self.free()
            self.on_end()

    @staticmethod
    def _settle_ended(settle: Settle) -> None:
        try:
            settle(None, OperationCancelledError("the connector has ended", code="CLOSED"))
        except RuntimeError:
            pass  # the wait was on a loop that has been closed

    def fail(self, error: SvanticError) -> None:
        """The library no longer hands out items: whoever waits is told, and why."""
        say(CRITICAL, "the library hands out no more work", error)
        self.failure = error
        self.end()

    def refuse(self, work: list[Work], error: Exception) -> None:
        """Answers dispatches that cannot be run."""
        for dispatch_id, skill_id, _, _ in work:
            self.answers.fail(dispatch_id, skill_id, error)
        self.answers.flush()

    def raise_failure(self) -> None:
        """Raises what ended the connector, if it did not end in peace."""
        if self.failure is not None:
            # A copy: the traceback of one that is kept would hold the connector, which then is never collected.
            raise copy.copy(self.failure)

    def free(self) -> None:
        """Frees the handle. Blocks for the farewell, unless the connector has ended."""
        if self.mesh.handle is not None:
            try:
                failed = self.mesh.state() == FAILED
            except SvanticError:
                failed = False  # svantic_shutdown() at the end of the process has taken the handle already
            self.freed_state = FAILED if failed else CLOSED
            self.mesh.free()

    def state(self) -> int:
        """Where the connector is, or where it ended."""
        if self.mesh.handle is None and self.freed_state is not None:
            return self.freed_state
        self.check_open()
        return self.mesh.state()


def milliseconds(timeout: float | None) -> int:
    """A time limit as the library takes it: 0 is its configured default."""
    if timeout is None:
        return 0
    given: Any = timeout  # whatever the hint says
    if not isinstance(given, (int, float)):
        raise TypeError(f"timeout is {given!r}, and must be a number of seconds, or None")
    if not 0 <= timeout <= 4_000_000:  # also refuses NaN
        from .errors import InvalidArgumentError

        raise InvalidArgumentError(f"timeout is {timeout!r}, and must be 0 to 4,000,000 seconds, or None")
    return max(1, round(timeout * 1000))
