"""Answers on their way to the library: collected, encoded together, and handed over in one call."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from . import _json
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
        if batch:
            try:
                text = _json.dumps([{"dispatch_id": id, "result": result} for id, result, _ in batch])
            except Exception:
                text = b""
            if not text or not self._mesh.answer_batch(text):
                for answer in batch:
                    self._hand_over(*answer)
        if failed and not self._mesh.answer_batch(_json.dumps(failed)):
            for failure in failed:  # ids and texts are sound, so only a code can be the cause
                failure["error"].pop("code", None)
                self._mesh.answer_batch(_json.dumps([failure]))

    def _hand_over(self, dispatch_id: str, result: Any, capability: str) -> None:
        """One answer of a batch that was refused as a whole, perhaps because of this one."""
        try:
            _json.dumps(result)  # alone, so that an error says where in the result it is
            if self._mesh.answer_batch(_json.dumps([{"dispatch_id": dispatch_id, "result": result}])):
                return
            why = "its text is not UTF-8, or it is nested too deep"
        except RecursionError:
            why = "it is nested too deep, or contains itself"
        except Exception as error:
            why = printable(str(error)) or type(error).__name__
        message = f"the result of capability {capability!r} is not JSON: {why}"
        _log().error("dispatch %s: %s", dispatch_id, message)
        fields = {"code": "INVALID_RESULT", "message": message}
        self._mesh.answer_batch(_json.dumps([{"dispatch_id": dispatch_id, "error": fields}]))

    def fail(self, dispatch_id: str, capability: str, error: BaseException) -> None:
        """Answers with a handler's failure: its message to the mesh, its traceback to the log."""
        if isinstance(error, CapabilityError):
            fields = {"message": printable(error.message)}
            if error.code is not None:
                fields["code"] = error.code
            _log().info("capability %s, dispatch %s: %s", capability, dispatch_id, error)
        elif self._redact:
            import uuid

            error_id = uuid.uuid4().hex
            fields = {"message": f"{REDACTED} (error id {error_id})"}
            self._tell(f"capability {capability}, dispatch {dispatch_id} failed (error id {error_id})", error)
        else:
            try:
                text = str(error)
            except Exception:
                text = ""
            fields = {"message": printable(text) or type(error).__name__}
            self._tell(f"capability {capability}, dispatch {dispatch_id} failed", error)
        self._failures.append({"dispatch_id": dispatch_id, "error": fields})

    @staticmethod
    def _tell(what: str, error: BaseException) -> None:
        _log().error("%s", what, exc_info=(type(error), error, error.__traceback__))


def printable(text: str) -> str:
    """``text`` as UTF-8 can carry it: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def _log() -> Any:
    import logging

    return logging.getLogger("svantic")
