"""One native handle: JSON and bytes in and out, a status becomes an exception. Knows no threads and no
waiting."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from . import _json
from ._library import library
from .errors import InvalidArgumentError, SvanticError, closed, from_fields, from_status

MAX_ITEMS = 256
"""The most items that one batch takes: enough to spread the cost of a crossing, few enough to answer
early."""

_OK, _INVALID_HANDLE, _TIMEOUT, _CANCELLED = 0, 2, 20, 21

# With the GIL held: for calls that never block. The library's threads never take the GIL (nothing calls back
# into Python), so whoever holds a lock of the library cannot be waiting for this thread, and gives it up in
# microseconds.
_HOLD_GIL_BELOW_BYTES = 64 << 10


Batch = tuple[bytes, bytes, bool]
"""Items as ``svantic_next_flat`` writes them, the contexts of the dispatches among them, and whether an integer
of 19 digits or more may be among them."""
NOTHING: Batch = (b"", b"", False)


class _Out(ctypes.Structure):
    """What ``svantic_next_flat`` writes."""

    _fields_ = (
        ("items", ctypes.c_void_p),
        ("items_len", ctypes.c_size_t),
        ("contexts", ctypes.c_void_p),
        ("contexts_len", ctypes.c_size_t),
        ("long_integers", ctypes.c_bool),
    )


_LENGTH: int = _Out.items_len.offset
_CONTEXTS: int = _Out.contexts.offset
_CONTEXTS_LENGTH: int = _Out.contexts_len.offset
_LONG: int = _Out.long_integers.offset


def last_error(status: int, cls: type[SvanticError] | None = None) -> SvanticError:
    """The exception for this thread's last failed call, which returned ``status``."""
    lib = library()
    if status == _INVALID_HANDLE:
        return closed()
    detail = getattr(lib, "svantic_last_error_json", None)
    text = detail() if detail is not None else b""
    if text:
        fields: Mapping[str, Any] = _json.loads(text)
        return from_fields(fields, cls)
    message = lib.svantic_last_error().decode("utf-8", "replace")
    return (cls or from_status(status))(message or f"status {status}", status=status)


def check(status: int) -> None:
    """Raises what a call that did not return OK stands for."""
    if status != _OK:
        raise last_error(status)


def c_text(text: str, what: str) -> bytes:
    """A text as C takes it, whole. ``what`` is for the error, which never quotes it: it may be a secret."""
    given: Any = text  # whatever the hint says
    if not isinstance(given, str):
        raise TypeError(f"{what} is of type {type(given).__name__}, and must be a str")
    if "\0" in text:  # where it would end for C
        raise InvalidArgumentError(f"{what} holds a NUL character")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{what} holds a lone surrogate, which UTF-8 cannot carry") from None


class Mesh:
    """A handle of ``svantic_create``, in pull delivery. Any thread; a call on a freed one raises
    ClosedError."""

    __slots__ = (
        "_answer_holding",
        "_answer_releasing",
        "_library",
        "_next_holding",
        "_string_free",
        "handle",
        "wants_contexts",
    )

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._library = lib = library()
        handle = ctypes.c_void_p()
        check(lib.svantic_create(_json.dumps(config), ctypes.byref(handle)))
        self.handle: int | None = handle.value
        self._answer_releasing = lib.svantic_answer_batch
        # The same function behind the other convention.
        self._answer_holding = ctypes.PYFUNCTYPE(
            ctypes.c_int32, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p
        )(("svantic_answer_batch", lib))
        next_flat = ctypes.PYFUNCTYPE(
            ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, *[ctypes.c_void_p] * 5
        )
        self._next_holding = next_flat(("svantic_next_flat", lib))
        self.wants_contexts = False
        """Whether somebody looks at more than the arguments of a dispatch."""
        self._string_free = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("svantic_string_free", lib))

    def define_capability(self, spec: Mapping[str, Any]) -> None:
        """Adds a capability; the mesh learns of it with connect or re_register."""
        check(self._library.svantic_define_capability(self.handle, _json.dumps(spec), None, None, None))

    def connect(self, timeout_ms: int, tag: int) -> None:
        """Starts to connect; the outcome comes as an item with this tag."""
        check(self._library.svantic_connect_async(self.handle, timeout_ms, None, tag))

    def disconnect(self, timeout_ms: int, tag: int) -> None:
        """Starts to disconnect; the outcome comes as an item with this tag."""
        check(self._library.svantic_disconnect_async(self.handle, timeout_ms, None, tag))

    def re_register(self, timeout_ms: int, tag: int) -> None:
        """Starts to announce today's capabilities."""
        check(self._library.svantic_re_register_async(self.handle, timeout_ms, None, tag))

    def refresh_token(self, timeout_ms: int, tag: int) -> None:
        """Starts to exchange the credentials for a new token."""
        check(self._library.svantic_refresh_token_async(self.handle, None, timeout_ms, None, tag))

    def give_token(self, jwt: str) -> None:
        """Replaces the token. Never waits."""
        check(self._library.svantic_refresh_token(self.handle, c_text(jwt, "the token"), 0))

    def create_session(self, options: Mapping[str, Any] | None, timeout_ms: int, tag: int) -> None:
        """Starts to open a session."""
        text = None if options is None else _json.dumps(options)
        check(self._library.svantic_create_session_async(self.handle, text, timeout_ms, None, tag))

    def close_session(self, session_id: str, timeout_ms: int, tag: int) -> None:
        """Starts to close a session."""
        text = c_text(session_id, "the session id")
        check(self._library.svantic_close_session_async(self.handle, text, timeout_ms, None, tag))

    def serve(self, request: Mapping[str, Any], body: bytes, tag: int) -> None:
        """Starts to answer an HTTP request; the parts of the response come as items with this tag."""
        head = _json.dumps(request)
        check(self._library.svantic_serve_async(self.handle, head, body, len(body), None, tag))

    def cancel(self, tag: int) -> None:
        """Ends the operation that was started with this tag, if it is still pending, or the wait for a response."""
        cancel = getattr(self._library, "svantic_cancel", None)
        if cancel is not None:
            cancel(self.handle, tag)

    def network_changed(self) -> None:
        """Says that the network may be another."""
        check(self._library.svantic_network_changed(self.handle))

    def next_batch(self, timeout_ms: int) -> Batch | None:
        """The next items; ``NOTHING`` when there is none in time, ``None`` when there will be none again."""
        return self._items(self._library.svantic_next_flat, timeout_ms)

    def take_batch(self) -> Batch | None:
        """:meth:`next_batch` that does not wait."""
        return self._items(self._next_holding, 0)

    def _items(self, next_flat: Any, timeout_ms: int) -> Batch | None:
        out = _Out()
        at = ctypes.addressof(out)
        places = at, at + _LENGTH, at + _CONTEXTS, at + _CONTEXTS_LENGTH, at + _LONG
        status = next_flat(self.handle, MAX_ITEMS, timeout_ms, *places)
        if status == _OK:
            items, contexts = out.items, out.contexts
            try:
                return (
                    ctypes.string_at(items, out.items_len),
                    # Asked after the call: whoever is defined while it waits may be in what it hands out.
                    ctypes.string_at(contexts, out.contexts_len) if self.wants_contexts else b"",
                    out.long_integers,
                )
            finally:
                self._string_free(items)
                self._string_free(contexts)
        if status == _TIMEOUT:
            return NOTHING
        if status in (_CANCELLED, _INVALID_HANDLE):
            return None
        raise last_error(status)

    def answer_batch(self, answers: bytes) -> bool:
        """Ends many dispatches; ``False`` when the text was refused as a whole, and nothing was answered."""
        length = len(answers)
        answer = self._answer_holding if length < _HOLD_GIL_BELOW_BYTES else self._answer_releasing
        status: int = answer(self.handle, answers, length, None)
        # A handle that was freed meanwhile: whoever asked no longer wants the answers.
        return status in (_OK, _INVALID_HANDLE, _CANCELLED)

    def notify_fd(self) -> int:
        """A descriptor that is readable while items wait, and the caller's to close."""
        descriptor = ctypes.c_int()
        check(self._library.svantic_notify_fd(self.handle, ctypes.byref(descriptor)))
        return descriptor.value

    def state(self) -> int:
        """Where the connector is."""
        state = ctypes.c_int32()
        check(self._library.svantic_get_state(self.handle, ctypes.byref(state)))
        return state.value

    def connected(self) -> bool:
        """Whether a registration is active."""
        connected = ctypes.c_bool()
        check(self._library.svantic_get_connected(self.handle, ctypes.byref(connected)))
        return connected.value

    def text(self, name: str) -> bytes:
        """The string of ``svantic_get_<name>``."""
        out = ctypes.c_void_p()
        check(getattr(self._library, f"svantic_get_{name}")(self.handle, ctypes.byref(out)))
        address = out.value
        try:
            return ctypes.string_at(address) if address else b""
        finally:
            self._library.svantic_string_free(address)

    def free(self) -> None:
        """Ends the agent, if it has not ended, and frees the handle. May wait up to 7 s for one that has
        not."""
        handle, self.handle = self.handle, None
        self._library.svantic_free(handle)
