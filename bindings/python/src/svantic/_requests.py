"""HTTP requests for an agent that an application's server has taken in: what its two gateway interfaces share.

Each of them reads a request, hands it to the connector that serves the agent, and writes what comes back. What a
request means is the library's to know.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._log import CRITICAL, ERROR, INFO, WARNING, say
from ._options import Options
from .errors import SvanticError

if TYPE_CHECKING:
    from ._face import Face
    from ._session import TakePart
    from .agent import Agent

MOST_BODY_BYTES = 4 << 20
"""The largest body that the library takes. More is not even read."""

Part = Mapping[str, Any]


class Waiting:
    """A response that is on its way."""

    __slots__ = ("_face", "_tag")

    def __init__(self, face: Face, tag: int) -> None:
        self._face = face
        self._tag = tag

    def hang_up(self) -> None:
        """The client has gone, or has everything."""
        self._face._session.hang_up(self._tag)


class Desk:
    """Where requests for one agent go: to the connector of its own, or else to one that the agent has anyway."""

    def __init__(self, agent: Agent, options: Mapping[str, Any], *, has_loop: bool) -> None:
        chosen = Options(
            agent, options, has_loop=has_loop
        )  # a wrong one fails here, and not at the first request
        self.agent = agent
        self.options = options
        self.local = chosen.local
        self.own: Face | None = None
        self._told: set[str] = set()

    def is_served(self) -> bool:
        """Whether another connector serves the agent already."""
        return not self.options and self.agent._server() is not None

    def is_probed(self, face: Face) -> bool:
        """Whether the mesh asks the application's server for the card while the agent joins."""
        return face.deployment_mode == "hosted" and not self.options.get("listen")

    def ask(self, request: Mapping[str, Any], body: bytes, take: TakePart) -> Waiting | Part:
        """Has a request answered; the refusal where nobody can. Any thread."""
        face = self.own if self.own is not None else self.agent._server()
        if face is None:
            hint = "run the lifespan of the application, call its start(), or connect a MeshConnector of the agent"
            self._tell("none", f"agent {self.agent.name}: a request came, and no connector serves it; {hint}")
            return unavailable()
        try:
            return Waiting(face, face._serve(request, body, take))
        except SvanticError as error:
            self._tell(error.code, f"agent {self.agent.name}: a request cannot be served: {error}")
            return unavailable()

    def _tell(self, kind: str, text: str) -> None:
        if kind not in self._told:  # once: requests come from strangers, as often as they like
            self._told.add(kind)
            say(ERROR, text)


def request_of(
    method: str, path: str, headers: Iterable[tuple[str, str]], peer: str | None
) -> dict[str, Any]:
    """A request as the library takes it."""
    values: dict[str, Any] = {}
    for name, value in headers:
        before = values.get(name)
        if before is None:
            values[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            values[name] = [before, value]
    # What a server has decoded may hold what UTF-8 cannot carry.
    path = path.encode("utf-8", "replace").decode()
    request: dict[str, Any] = {"method": method, "path": path, "headers": values}
    if peer:
        request["peer"] = peer
    return request


def headers_of(part: Part, method: str) -> list[tuple[str, str]]:
    """The headers of a response's first part, with the length where that is known."""
    headers: list[tuple[str, str]] = list(part["headers"].items())
    if not part["more"] and part["status"] != 304 and method != "HEAD":
        headers.append(("content-length", str(len(part["body"].encode()))))
    return headers


def _refusal(status: int, body: str, headers: Mapping[str, str] | None = None) -> Part:
    own = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    return {"status": status, "headers": own, "body": body, "more": False}


def unavailable() -> Part:
    """There is no connector, or it has ended before it answered."""
    error = '{"code":-32603,"message":"the agent is not there"}'
    return _refusal(503, f'{{"jsonrpc":"2.0","id":null,"error":{error}}}', {"retry-after": "1"})


def too_large() -> Part:
    """The body is larger than anything that is a call. What is left of it stays unread, so the connection ends."""
    return _refusal(413, '{"error":"the body is larger than 4 MiB"}', {"connection": "close"})


def too_slow() -> Part:
    """The body has not come in time."""
    return _refusal(408, '{"error":"the body has not come in time"}', {"connection": "close"})


class Joining:
    """How an agent joins the mesh, which first looks at its card: the server may not answer yet.

    The library does not try again when the card could not be read, since that is mostly a wrong URL. A server that has
    just started is another matter.
    """

    def __init__(self, agent: Agent) -> None:
        self._name = agent.name
        self._pauses: Iterator[float] = itertools.chain((0.1, 0.2, 0.5, 1, 2, 5, 10), itertools.repeat(30.0))

    def joined(self, face: Face) -> None:
        """It is over."""
        say(INFO, f"agent {self._name} is connected to {face.svantic_url} as {face.instance_id}")

    def pause(self, error: SvanticError) -> float | None:
        """How long to wait after a failure, in seconds; ``None`` when another attempt would not help."""
        if error.http_status != 502 and not error.retryable:
            say(CRITICAL, f"agent {self._name} cannot join the mesh: {error}")
            return None
        pause = next(self._pauses)
        level = INFO if pause < 1 else WARNING
        say(level, f"agent {self._name} has not joined the mesh yet: {error}")
        return pause
