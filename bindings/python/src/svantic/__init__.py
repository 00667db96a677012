"""An agent on the Svantic mesh: its functions become capabilities that the mesh calls.

>>> agent = Agent(name="order-desk", description="Knows every order")
>>> @agent.capability
... def find_order(order_id: str) -> dict[str, str]:
...     "Says where an order is."
...     return {"order_id": order_id, "state": "shipped"}

``agent.run()`` then serves until Ctrl-C. :class:`MeshConnector` gives more control,
``svantic.aio.MeshConnector`` the same to programs with an event loop.
"""

from __future__ import annotations

from typing import Any

# First: it refuses subinterpreters, before ctypes does so with a text that helps nobody.
from . import _library as _library
from ._face import ConnectorState, Health, WsTransport
from ._options import ConnectorOptions
from .agent import Agent, Capability
from .connector import MeshConnector
from .context import Context
from .dispatch_auth import MESH_DISPATCH_JWT_ISSUER, DispatchAuth, verify_dispatch_auth
from .errors import (
    AuthError,
    CapabilityError,
    ClosedError,
    DispatchAuthVerifyError,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    InvalidJsonError,
    InvalidStateError,
    NetworkError,
    NotFoundError,
    OperationCancelledError,
    ProtocolError,
    RejectedError,
    SvanticError,
    TimeoutError,
    TlsError,
    WouldDeadlockError,
)
from .events import Event, EventName
from .trace import TraceParent, parse_baggage, parse_traceparent

DEFAULT_SVANTIC_URL = "https://api.svantic.com"
"""Where the mesh is, unless the option ``svantic_url`` or ``SVANTIC_URL`` says otherwise."""

__all__ = [
    "DEFAULT_SVANTIC_URL",
    "MESH_DISPATCH_JWT_ISSUER",
    "Agent",
    "AuthError",
    "Capability",
    "CapabilityError",
    "ClosedError",
    "ConnectorOptions",
    "ConnectorState",
    "Context",
    "DispatchAuth",
    "DispatchAuthVerifyError",
    "Event",
    "EventName",
    "ForkedError",
    "Health",
    "InternalError",
    "InvalidArgumentError",
    "InvalidJsonError",
    "InvalidStateError",
    "MeshConnector",
    "NetworkError",
    "NotFoundError",
    "OperationCancelledError",
    "ProtocolError",
    "RejectedError",
    "SvanticError",
    "TimeoutError",
    "TlsError",
    "TraceParent",
    "WouldDeadlockError",
    "WsTransport",
    "__version__",
    "parse_baggage",
    "parse_traceparent",
    "verify_dispatch_auth",
]

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":  # the library's own, so that there is one source; loaded when it is asked for
        from ._library import library

        version: str = library().svantic_version().decode()
        globals()["__version__"] = version
        return version
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
