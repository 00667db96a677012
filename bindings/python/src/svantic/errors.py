"""What can go wrong: one exception class for each kind of failure that the library knows."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any


class SvanticError(Exception):
    """A failure that the library reported: what failed, on what, why, and what to do about it.

    No secret is ever in one. ``str()`` is the message, the code in brackets, and the hint.
    """

    code: str
    """A stable name such as ``"UNAUTHORIZED"``: the mesh's own where it sent one."""
    status: int
    """The status of the C interface, which is the kind of the failure."""
    message: str
    """What failed, on what, and why."""
    hint: str | None
    """What to do about it, where that is known."""
    http_status: int | None
    """The HTTP status that the mesh answered with, if it did."""
    retryable: bool
    """Whether the same call may succeed later without a change on this side."""

    _STATUS = 90
    _CODE = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        hint: str | None = None,
        http_status: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self._CODE if code is None else code
        self.status = self._STATUS if status is None else status
        self.hint = hint
        self.http_status = http_status
        self.retryable = retryable

    def __str__(self) -> str:
        text = f"{self.message} [{self.code}]"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.__dict__.copy())


def _rebuild(cls: type[SvanticError], message: str, fields: dict[str, Any]) -> SvanticError:
    error = cls(message)
    error.__dict__.update(fields)
    return error


class InvalidArgumentError(SvanticError, ValueError):
    """A value is missing, out of range or unknown."""

    _STATUS, _CODE = 1, "INVALID_ARGUMENT"


class ClosedError(SvanticError):
    """The connector has been closed; make a new one."""

    _STATUS, _CODE = 2, "CLOSED"


class InvalidJsonError(SvanticError, ValueError):
    """Not JSON, or not the JSON that is expected here."""

    _STATUS, _CODE = 3, "INVALID_JSON"


class InvalidStateError(SvanticError):
    """Not possible in the connector's current state."""

    _STATUS, _CODE = 4, "INVALID_STATE"


class WouldDeadlockError(SvanticError):
    """Waiting here could never end."""

    _STATUS, _CODE = 5, "WOULD_DEADLOCK"


class ForkedError(SvanticError, RuntimeError):
    """The library was in use before ``fork()`` and cannot be used in this child."""

    _STATUS, _CODE = 6, "FORKED"


class NotFoundError(SvanticError, LookupError):
    """The mesh knows no such session."""

    _STATUS, _CODE = 7, "NOT_FOUND"


class TimeoutError(SvanticError, builtins.TimeoutError):
    """Not finished in time. Also a ``builtins.TimeoutError``."""

    _STATUS, _CODE = 20, "TIMEOUT"


class OperationCancelledError(SvanticError):
    """Ended by a disconnect, a close or the end of the process before it was done."""

    _STATUS, _CODE = 21, "CANCELLED"


class NetworkError(SvanticError, ConnectionError):
    """DNS, TCP or WebSocket failure."""

    _STATUS, _CODE = 22, "NETWORK"


class TlsError(NetworkError):
    """The TLS handshake or a certificate failed."""

    _STATUS, _CODE = 23, "TLS"


class AuthError(SvanticError):
    """The mesh refused the credentials or the token."""

    _STATUS, _CODE = 24, "AUTH"


class RejectedError(SvanticError):
    """The mesh answered with an error."""

    _STATUS, _CODE = 25, "REMOTE"


class ProtocolError(SvanticError):
    """The mesh sent something that this version does not understand."""

    _STATUS, _CODE = 26, "PROTOCOL"


class InternalError(SvanticError):
    """A bug in libsvantic."""

    _STATUS, _CODE = 90, "INTERNAL"


class DispatchAuthVerifyError(AuthError):
    """A dispatch does not prove that the mesh sent it; ``code`` says why, such as ``"replayed"``."""


class CapabilityError(Exception):
    """Raise it in a handler to tell the mesh what went wrong, in words meant for the caller.

    ``message`` reaches the mesh, also with ``redact_handler_errors``. ``code`` is the code on the wire: 1 to
    128 characters without control characters; ``None`` is ``"HANDLER_ERROR"``. Keep secrets and paths out of
    both.
    """

    message: str
    code: str | None

    def __init__(self, message: str, code: str | None = None) -> None:
        message = (
            message if isinstance(message, str) else str(message)
        )  # CapabilityError(error) is often written
        super().__init__(message)
        if code is not None and (
            not 1 <= len(code.encode("utf-8", "replace")) <= 128 or not code.isprintable()
        ):
            raise ValueError(f"code {code!r} must have 1 to 128 bytes and no control characters")
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.code)


_BY_STATUS: dict[int, type[SvanticError]] = {
    cls._STATUS: cls
    for cls in (
        InvalidArgumentError,
        ClosedError,
        InvalidJsonError,
        InvalidStateError,
        WouldDeadlockError,
        ForkedError,
        NotFoundError,
        TimeoutError,
        OperationCancelledError,
        NetworkError,
        TlsError,
        AuthError,
        RejectedError,
        ProtocolError,
        InternalError,
    )
}


def from_status(status: int) -> type[SvanticError]:
    """The class for a status of the C interface; ``SvanticError`` itself for one that is not known here."""
    return _BY_STATUS.get(status, SvanticError)


def from_fields(fields: Mapping[str, Any], cls: type[SvanticError] | None = None) -> SvanticError:
    """The exception for an error object of the library: ``{"status","code","message","hint",...}``."""
    status = int(fields.get("status", 90))
    hint = fields.get("hint")
    if status == ForkedError._STATUS:
        hint = _FORK_HINT
    return (cls or from_status(status))(
        fields.get("message", ""),
        code=fields.get("code"),
        status=status,
        hint=hint,
        http_status=fields.get("http_status"),
        retryable=bool(fields.get("retryable", False)),
    )


_FORK_HINT = (
    "Connect in the child itself, and start children with the method spawn or forkserver: "
    'multiprocessing.get_context("spawn")'
)


def closed() -> ClosedError:
    """What a call on a closed connector raises."""
    return ClosedError("the connector has been closed", hint="make a new MeshConnector")
