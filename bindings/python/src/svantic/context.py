"""What a handler can know about the dispatch that it answers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

_making = threading.Lock()


class Context:
    """One dispatch, for a handler that asks for it by a parameter annotated ``Context``.

    Any thread; valid also after the dispatch has ended.
    """

    __slots__ = ("_ended", "_item", "_process", "_received", "_waiter")

    def __init__(self, item: dict[str, Any], received: float) -> None:
        self._item = item
        self._received = received
        self._process = os.getpid()
        self._ended = False
        self._waiter: threading.Event | None = None

    @classmethod
    def for_test(
        cls,
        *,
        dispatch_id: str = "test",
        capability: str = "test",
        session_id: str | None = None,
        tenant_id: str | None = None,
        traceparent: str | None = None,
        baggage: Mapping[str, str] | None = None,
        propagation_headers: Mapping[str, str] | None = None,
        deadline_ms: int = 60_000,
        is_cancelled: bool = False,
    ) -> Context:
        """One that comes from no mesh, for a test that calls a handler like any function."""
        from .trace import parse_traceparent

        parent = parse_traceparent(traceparent)
        context = cls(
            {
                "dispatch_id": dispatch_id,
                "skill_id": capability,
                "session_id": session_id,
                "tenant_id": tenant_id,
                "traceparent": traceparent if parent else None,
                "parent_trace_id": parent.trace_id if parent else None,
                "parent_span_id": parent.span_id if parent else None,
                "baggage": baggage,
                "propagation_headers": propagation_headers,
                "deadline_ms": deadline_ms,
            },
            time.monotonic(),
        )
        if is_cancelled:
            context._cancel()
        return context

    @property
    def dispatch_id(self) -> str:
        """The dispatch's id, unique in the mesh."""
        return str(self._item["dispatch_id"])

    @property
    def capability(self) -> str:
        """The name of the capability that was called."""
        return str(self._item["skill_id"])

    skill_id = capability

    @property
    def session_id(self) -> str | None:
        """The session that the dispatch belongs to."""
        return self._item.get("session_id")

    @property
    def tenant_id(self) -> str | None:
        """The tenant on whose behalf it was sent."""
        return self._item.get("tenant_id")

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context as the mesh sent it; ``None`` where it is malformed."""
        return self._item.get("traceparent")

    @property
    def parent_trace_id(self) -> str | None:
        """The trace id in ``traceparent``."""
        return self._item.get("parent_trace_id")

    @property
    def parent_span_id(self) -> str | None:
        """The span id in ``traceparent``."""
        return self._item.get("parent_span_id")

    @property
    def baggage(self) -> dict[str, str]:
        """The members of the W3C baggage."""
        return dict(self._item.get("baggage") or {})

    @property
    def propagation_headers(self) -> dict[str, str]:
        """The HTTP headers to send along with calls that belong to this dispatch."""
        return dict(self._item.get("propagation_headers") or {})

    @property
    def deadline_ms(self) -> int:
        """How long the mesh waits for the answer, in milliseconds from the receipt."""
        return int(self._item["deadline_ms"])

    @property
    def time_left(self) -> float:
        """How long the mesh still waits, in seconds by the monotonic clock; 0.0 when it no longer does."""
        return max(0.0, self._received + self.deadline_ms / 1000 - time.monotonic())

    @property
    def is_cancelled(self) -> bool:
        """Whether the mesh no longer wants the answer: its deadline has passed, or the agent shuts down."""
        return self._ended

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Waits until the dispatch is cancelled, for at most ``timeout`` seconds; says whether it is.

        Blocks: for plain functions. A coroutine is cancelled by itself.
        """
        if os.getpid() != self._process:  # nobody is here who could cancel it
            from .errors import ForkedError

            raise ForkedError("a dispatch cannot be waited for in a forked child")
        with _making:
            if self._waiter is None:
                self._waiter = threading.Event()
        if self._ended:
            return True
        self._waiter.wait(timeout)
        return self._ended

    def _cancel(self) -> None:
        self._ended = True
        waiter = self._waiter
        if waiter is not None:
            waiter.set()

    def __repr__(self) -> str:
        return f"<svantic.Context of {self.capability}, dispatch {self.dispatch_id}>"
