"""What the synchronous and the asyncio connector have alike: their options, and all that answers at once."""

from __future__ import annotations

import enum
import os
import warnings
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _json
from ._options import Options
from ._session import CLOSED, FAILED, Session, TakePart
from .errors import SvanticError

if TYPE_CHECKING:
    from .agent import Agent, Capability


class ConnectorState(enum.IntEnum):
    """Where a connector is."""

    idle = 0
    """Created, or back after a first connect that failed."""
    connecting = 1
    """On the way to the first link."""
    connected = 2
    """Dispatches can arrive."""
    reconnecting = 3
    """The link was lost and is being made again; answers are kept and sent when it is back."""
    closed = 4
    """Ended by a disconnect. Final."""
    draining = 5
    """A disconnect is under way: no new dispatches, running ones are being finished."""
    blocked = 6
    """The mesh refuses the token, or another process has taken the instance id."""
    failed = 7
    """Given up for a cause that no retry mends. Final."""


_TRANSPORT_WORDS = {
    "idle": "disconnected",
    "authenticating": "authenticating",
    "registering": "authenticating",
    "dialing": "connecting",
    "handshaking": "connecting",
    "ready": "ready",
    "suspect": "ready",
    "closing": "closing",
    "closed": "closed",
    "failed": "closed",
}


class WsTransport:
    """How the WebSocket is, as of the moment when it was asked for."""

    __slots__ = ("attempts", "connection", "state")

    state: str
    """``disconnected``, ``connecting``, ``authenticating``, ``ready``, ``closing`` or ``closed``."""
    connection: int | None
    """The number of the open connection, counted from 1; ``None`` when there is none."""
    attempts: int
    """Failed attempts since the last connection."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self.state = _TRANSPORT_WORDS.get(snapshot.get("link", ""), "disconnected")
        self.connection = (snapshot.get("connection") or {}).get("no")
        self.attempts = snapshot.get("backoff_attempts") or 0

    def __repr__(self) -> str:
        return f"<svantic.WsTransport {self.state}>"


class Health:
    """Whether the connector lives, and whether work can arrive."""

    __slots__ = ("live", "ready", "reason")

    live: bool
    """The library's thread runs and is on time."""
    ready: bool
    """Dispatches can arrive and are picked up."""
    reason: str | None
    """A sentence, when not ready."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.live, self.ready, self.reason = fields["live"], fields["ready"], fields.get("reason")

    def __repr__(self) -> str:
        return f"<svantic.Health live={self.live} ready={self.ready} reason={self.reason!r}>"


def check_callback(callback: object) -> None:
    """Raises TypeError for what cannot be called with an event."""
    if not callable(callback):
        raise TypeError(f"the callback is {callback!r}, and must be a function that takes an Event")


class Face:
    """The part of a connector that never waits. Any thread. After ``close()`` all but ``state``,
    ``connected`` and ``agent`` raise ClosedError; in a forked child everything raises ForkedError."""

    _HAS_LOOP = False
    """Whether coroutine functions of the application have a loop to run on."""

    def __init__(self, agent: Agent, options: Mapping[str, Any]) -> None:
        chosen = Options(agent, options, has_loop=self._HAS_LOOP)
        self._agent = agent
        self._options = chosen
        self._session = session = Session(chosen.config, chosen.redact)
        try:
            agent._attach(self)
        except BaseException:
            session.free()
            raise
        self._finalizer = weakref.finalize(self, _forgotten, session, agent.name)
        # At exit svantic_shutdown() ends everything at once. Type checkers know the property as a slot only.
        self._finalizer.atexit = False  # type: ignore[misc]

    def _can_serve(self) -> bool:
        """Whether HTTP requests for the agent may be handed to this connector."""
        session = self._session
        here = session.mesh.handle is not None and not session.ended and session.process == os.getpid()
        return here and self._options.serves

    def _serve(self, request: Mapping[str, Any], body: bytes, take: TakePart) -> int:
        """Has an HTTP request answered; for :meth:`Session.hang_up` it has the number that this returns."""
        self._session.check_open()
        self._start()
        return self._session.serve(request, body, take)

    def _start(self) -> None:
        """Takes items from now on, if it does not yet."""
        raise NotImplementedError

    def _define(self, capability: Capability) -> None:
        self._session.define(capability)

    def _takes_capabilities(self) -> bool:
        session = self._session
        return session.mesh.handle is not None and session.state() not in (CLOSED, FAILED)

    @property
    def agent(self) -> Agent:
        """The agent that this connector speaks for."""
        return self._agent

    @property
    def state(self) -> ConnectorState:
        """Where the connector is; after ``close()``, how it ended."""
        return ConnectorState(self._session.state())

    @property
    def connected(self) -> bool:
        """Whether a registration is active. During an outage it stays true."""
        session = self._session
        if session.mesh.handle is None:
            return False
        return session.mesh.connected()

    @property
    def svantic_url(self) -> str:
        """The mesh's base URL."""
        return self._text("svantic_url")

    @property
    def token(self) -> str:
        """The JWT in use. A secret: keep it out of logs.

        Raises InvalidStateError while there is none: before the first connect, and after the mesh has
        refused the last one. An exception and not None, since nothing can be done without one.
        """
        return self._text("token")

    @property
    def deployment_mode(self) -> str:
        """``"connected"`` or ``"hosted"``."""
        return self._text("deployment_mode")

    @property
    def instance_id(self) -> str:
        """The id of this instance, given or generated."""
        return self._text("instance_id")

    @property
    def listening(self) -> str | None:
        """The address where the library itself serves, with the option ``listen``; ``None`` without."""
        address: str | None = self.snapshot().get("listening")
        return address

    @property
    def agent_card(self) -> dict[str, Any]:
        """The A2A agent card with today's capabilities."""
        return self._object("agent_card")

    @property
    def stats(self) -> dict[str, Any]:
        """Counters since the connector was made."""
        counters: dict[str, Any] = self.snapshot()["counters"]
        return counters

    @property
    def health(self) -> Health:
        """Whether the connector lives, and whether work can arrive."""
        return Health(self.snapshot()["health"])

    @property
    def ws_transport(self) -> WsTransport:
        """How the WebSocket is now."""
        return WsTransport(self.snapshot())

    def snapshot(self) -> dict[str, Any]:
        """What is worth knowing when looking for a fault, without secrets. More keys may come; the manual
        of ``svantic_get_snapshot`` in the C header lists them."""
        return self._object("snapshot")

    def network_changed(self) -> None:
        """Says that the network may be another, such as after a VPN came up. Never needed: it only saves
        time."""
        self._session.check_open()
        self._session.mesh.network_changed()

    def _text(self, name: str) -> str:
        self._session.check_open()
        return self._session.mesh.text(name).decode()

    def _object(self, name: str) -> dict[str, Any]:
        self._session.check_open()
        found: dict[str, Any] = _json.loads(self._session.mesh.text(name))
        return found

    def __repr__(self) -> str:
        try:
            state = self.state.name
        except SvanticError as error:
            state = error.code.lower()
        return f"<{type(self).__module__}.{type(self).__qualname__} of {self._agent.name!r}, {state}>"


def _forgotten(session: Session, name: str) -> None:
    """Runs when a connector is collected. Starts what is to be done, and waits for nothing.

    It may interrupt any line of any thread, so it takes no lock that one of them may hold.
    """
    if session.mesh.handle is None or os.getpid() != session.process:
        return
    try:
        state = session.state()
        if not session.used:
            session.free()  # no farewell to wait for, and no thread to wait for it
        elif state not in (CLOSED, FAILED):
            session.mesh.disconnect(0, 0)
    except SvanticError:
        state = CLOSED  # it is ending already, or svantic_shutdown() has taken the handle
    session.abandoned = True  # whoever takes the last item frees it
    if session.ended:  # and that was taken before it could know
        session.free()
    else:
        session.on_abandoned()
    if state not in (0, CLOSED, FAILED):
        # Last: it raises where the application has made warnings errors.
        warnings.warn(
            f"the connector of agent {name!r} was never disconnected; use it in a with block, or call close()",
            ResourceWarning,
            stacklevel=2,
        )
