"""Answers on their way to the library: collected, encoded together, and handed over in one call."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from . import _json
from ._log import ERROR, INFO, say
from .errors import CapabilityError

if TYPE_CHECKING:
    from ._mesh import Mesh

REDACTED = "the handler failed"


class Answers:
    """What has been answered and not been handed over yet. Any thread.

    ``add`` takes a dispatch's id, its result and the capability's name as one tuple; it is the list's own
    ``append``, for speed. :meth:`fail` adds a failure. :meth:`flush` hands everything over.
    """

    __slots__ = ("_failures", "_guard", "_mesh", "_redact", "add", "waiting")

    def __init__(self, mesh: Mesh, redact: bool) -> None:
        self._mesh = mesh
        self._redact = redact
        self.waiting: list[tuple[str, Any, str]] = []
        self.add = self.waiting.append
        self._failures: list[dict[str, Any]] = []
        self._guard = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self.waiting) or bool(self._failures)

    def flush(self) -> None:
        """Hands over what waits. Never raises for what a handler has returned: the mesh is told instead."""
        waiting, failures = self.waiting, self._failures
        with self._guard:  # one takes them; others may add meanwhile
            batch = waiting.copy()
            del waiting[: len(batch)]
            failed = failures.copy()
            del failures[: len(failed)]
        ending: BaseException | None = None
        if batch:
            try:
                # An id, its result, the next id: what costs the least to write.
                text = _json.dumps([part for answer in batch for part in answer[:2]])
            except Exception:
                text = b""
            except (
                BaseException
            ) as error:  # a result's own doing, or Ctrl-C: all are answered before it counts
                text, ending = b"", error
            if not text or not self._mesh.answer_batch(text):
                for answer in batch:
                    self._hand_over(*answer)
        if failed and not self._mesh.answer_batch(_json.dumps(failed)):
            for failure in failed:  # ids and texts are sound, so only a code can be the cause
                failure["error"].pop("code", None)
                self._mesh.answer_batch(_json.dumps([failure]))
        if isinstance(ending, KeyboardInterrupt):
            raise ending

    def _hand_over(self, dispatch_id: str, result: Any, capability: str) -> None:
        """One answer of a batch that was refused as a whole, perhaps because of this one."""
        try:
            _json.dumps(result)  # alone, so that an error says where in the result it is
            if self._mesh.answer_batch(_json.dumps([dispatch_id, result])):
                return
            why = "its text is not UTF-8, or it is nested too deep"
        except RecursionError:
            why = "it is nested too deep, or contains itself"
        except BaseException as error:
            why = words_of(error)
        if isinstance(result, Coroutine):
            result.close()
            why = "it is a coroutine that nobody awaits; make the handler an async def"
        message = f"the result of capability {capability!r} is not JSON: {why}"
        fields = {"code": "INVALID_RESULT", "message": message}
        self._mesh.answer_batch(_json.dumps([{"dispatch_id": dispatch_id, "error": fields}]))
        say(ERROR, f"dispatch {dispatch_id}: {message}")

    def fail(self, dispatch_id: str, capability: str, error: BaseException) -> None:
        """Answers with a handler's failure: its message to the mesh, its traceback to the log."""
        what = f"capability {capability}, dispatch {dispatch_id}"
        cause: BaseException | None = error
        if isinstance(error, CapabilityError):
            fields = {"message": words_of(error)}
            code = getattr(error, "code", None)  # a subclass may have left it out
            if isinstance(code, str):
                fields["code"] = code
            what, cause = f"{what}: {fields['message']}", None
        elif self._redact:
            import uuid

            error_id = uuid.uuid4().hex
            fields = {"message": f"{REDACTED} (error id {error_id})"}
            what = f"{what} failed (error id {error_id})"
        else:
            fields = {"message": words_of(error)}
            what = f"{what} failed"
        # Before it is logged: a log handler of the application may fail too.
        self._failures.append({"dispatch_id": dispatch_id, "error": fields})
        say(INFO if cause is None else ERROR, what, cause)


def words_of(error: BaseException) -> str:
    """What an exception says, in text that UTF-8 can carry; the name of its type where it says nothing."""
    try:
        return str(error).encode("utf-8", "replace").decode() or type(error).__name__
    except BaseException:  # it is being answered, whatever its __str__ may do
        return type(error).__name__
