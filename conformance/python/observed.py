"""What the library and the package say to each other, overheard.

The scenarios ask for more than the package shows its users: in which order the library said things, with which status
it took an answer, and what it says to one that comes too late. This listens at `svantic._mesh.Mesh`, through which all
of it goes, and changes nothing on the way. Calls, events and outcomes are judged by what the package delivers.
"""

from __future__ import annotations

import contextvars
import ctypes
import json
import threading
from collections.abc import Iterator
from typing import Any, Callable

from lines import Lines

from svantic._mesh import Mesh

#: The numbers of the two commands that a driver is not given.
FIRST_CONNECT, LEAVING = 0, -1


class Command:
    """A command that the driver obeys."""

    def __init__(self, number: int) -> None:
        self.number = number
        #: Whether it has reached the library, or ended before that.
        self.is_under_way = threading.Event()
        #: Whether the library took it, so that its outcome is among the items.
        self.was_taken = False


#: The command on whose behalf this thread or task works, if there is one.
current: contextvars.ContextVar[Command | None] = contextvars.ContextVar("current", default=None)

OPERATIONS = ("connect", "disconnect", "re_register", "refresh_token", "create_session", "close_session")

OK, INVALID_ARGUMENT, INVALID_JSON, NOT_FOUND = 0, 1, 3, 7

#: svantic_answer_batch(mesh, answers, length, out_refused)
AnswerBatch = Callable[[Any, bytes, int, Any], int]


def items_of(elements: list[Any]) -> Iterator[dict[str, Any]]:
    """What a batch holds besides dispatches, each of which is three elements, the first of them a string."""
    rest = iter(elements)
    for element in rest:
        if isinstance(element, str):
            next(rest), next(rest)
        else:
            yield element


def answers_of(elements: list[Any]) -> Iterator[dict[str, Any]]:
    """The answers of a batch, of which results may be written as an id and a result side by side."""
    rest = iter(elements)
    for element in rest:
        yield {"dispatch_id": element, "result": next(rest)} if isinstance(element, str) else element


class Observer:
    """Listens at the handle that this process makes from now on; there is one."""

    def __init__(self, lines: Lines, max_frame_bytes: int) -> None:
        self._lines = lines
        self._max_frame_bytes = max_frame_bytes
        self._events = 0
        self._commands: dict[int, int] = {}
        self._results: dict[int, Any] = {}
        self._handle: Callable[[], Any]
        self._answer_batch: AnswerBatch
        for operation in OPERATIONS:
            self._listen_at_operation(operation)
        self._listen_at_items("next_batch")
        self._listen_at_items("take_batch")
        self._listen_at_answers()

    def result(self, number: int) -> Any:
        """What the library gave as the result of this command."""
        return self._results.get(number)

    def answer_late(self, dispatch_id: str) -> int:
        """Tries to answer a dispatch past the package; the status that tells whether that was possible."""
        refused = ctypes.c_uint32()
        text = json.dumps([{"dispatch_id": dispatch_id, "result": 0}]).encode()
        status = self._answer_batch(self._handle(), text, len(text), ctypes.byref(refused))
        return NOT_FOUND if status == OK and refused.value else status

    def _listen_at_operation(self, name: str) -> None:
        start = getattr(Mesh, name)

        def listening(mesh: Mesh, *arguments: Any) -> None:
            command = current.get()
            if command is None:  # The package's own affair.
                start(mesh, *arguments)
                return
            # Before it is started, since its outcome may come at once.
            self._commands[arguments[-1]] = command.number
            start(mesh, *arguments)
            command.was_taken = True
            command.is_under_way.set()

        setattr(Mesh, name, listening)

    def _listen_at_items(self, name: str) -> None:
        take = getattr(Mesh, name)

        def listening(mesh: Mesh, *arguments: Any) -> Any:
            items = take(mesh, *arguments)
            if items is None:
                self._lines.expect_no_more()
            for item in items_of(json.loads(items[0])) if items and items[0] else ():
                if item["type"] == "event":
                    self._events += 1
                    self._lines.expect(("event", self._events))
                elif item["type"] == "done" and item["tag"] in self._commands:
                    number = self._commands[item["tag"]]
                    self._results[number] = item.get("result")
                    self._lines.expect(("done", number))
                elif item["type"] == "closed":
                    self._lines.expect_no_more()
            return items

        setattr(Mesh, name, listening)

    def _listen_at_answers(self) -> None:
        create = Mesh.__init__

        def listening(mesh: Mesh, *arguments: Any) -> None:
            create(mesh, *arguments)
            self._handle = lambda: mesh.handle
            self._answer_batch = mesh._answer_releasing
            for name in ("_answer_releasing", "_answer_holding"):
                setattr(mesh, name, self._overhearing(getattr(mesh, name)))

        type.__setattr__(Mesh, "__init__", listening)

    def _overhearing(self, answer_batch: AnswerBatch) -> AnswerBatch:
        def overhearing(handle: Any, answers: bytes, length: int, out_refused: Any) -> int:
            refused = ctypes.c_uint32()
            status = answer_batch(handle, answers, length, ctypes.byref(refused))
            if status == OK:
                self._print_ends(list(answers_of(json.loads(answers))), refused.value)
            return status

        return overhearing

    def _print_ends(self, answers: Any, refused: int) -> None:
        """One line an answer. The library only counts those that it refused: too large ones, and those that came late."""
        too_large = [answer["dispatch_id"] for answer in answers if self._is_too_large(answer)]
        late = refused - len(too_large)
        for answer in answers:
            dispatch_id = answer["dispatch_id"]
            status: int | None
            if dispatch_id in too_large:
                status = INVALID_ARGUMENT if late >= 0 else OK
            elif late > 0:
                status = NOT_FOUND if late == len(answers) - len(too_large) else None  # Who knows which.
            elif answer.get("error", {}).get("code") == "INVALID_RESULT":
                status = INVALID_JSON  # The package has noticed, in place of the library.
            else:
                status = OK
            self._lines.print_now({"type": "end", "dispatch_id": dispatch_id, "status": status})

    def _is_too_large(self, answer: dict[str, Any]) -> bool:
        text = json.dumps(answer.get("result"), ensure_ascii=False, separators=(",", ":"))
        return len(text.encode()) > self._max_frame_bytes
