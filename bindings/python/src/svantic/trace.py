"""The W3C trace context that the mesh sends along with a dispatch.

A handler finds it parsed in its :class:`~svantic.Context`; this is for programs that read the headers themselves.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from ._library import library, take_string
from ._mesh import check

__all__ = ["TraceParent", "parse_baggage", "parse_traceparent"]


class TraceParent(NamedTuple):
    """The two ids of a ``traceparent``."""

    trace_id: str
    """32 lower-case hex digits."""
    span_id: str
    """16 lower-case hex digits: the caller's span, which is the parent of yours."""


def parse_traceparent(text: str | None) -> TraceParent | None:
    """Parses a W3C ``traceparent`` of version 00.

    What is malformed or all zero is ``None``, as is ``None`` itself: a missing header. Any thread, also in a forked
    child; does not block.
    """
    fields = _parsed("svantic_parse_traceparent", text)
    return TraceParent(fields["trace_id"], fields["span_id"]) if fields else None


def parse_baggage(text: str | None) -> dict[str, str]:
    """Parses W3C ``baggage`` into keys and decoded values, without properties.

    A member that is malformed is left out; of two with one key the last counts; ``None``, a missing header, is empty.
    Any thread, also in a forked child; does not block.
    """
    members: dict[str, str] = _parsed("svantic_parse_baggage", text) or {}
    return members


def _parsed(function: str, text: str | None) -> Any:
    import json

    given: Any = text  # whatever the hint says
    if given is not None and not isinstance(given, str):
        raise TypeError(f"the header is of type {type(given).__name__}, and must be a str or None")
    # A NUL would end the text for C, and the library would see another one than the caller.
    if text is None or "\0" in text:
        return None
    out = ctypes.c_void_p()
    check(getattr(library(), function)(text.encode("utf-8", "replace"), ctypes.byref(out)))
    return json.loads(take_string(out))
