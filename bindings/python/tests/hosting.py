"""Real servers of other people for hosted agents, and an A2A client in a few lines.

A server listens before it starts, so that the agent knows its URL, and what comes early waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple
from urllib.parse import urlsplit

import uvicorn
from desk import Gate
from gateway import GUARD_S, Gateway, wait_for
from waitress.server import create_server
from werkzeug.serving import make_server

import svantic.aio
from svantic import Agent, MeshConnector

CARD = "/.well-known/agent-card.json"

_numbers = itertools.count(1)


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        """The result in the message that a call was answered with."""
        (part,) = self.json["result"]["parts"]
        return part["data"]["result"]

    @property
    def error(self) -> dict[str, Any]:
        """The error of the protocol."""
        return dict(self.json["error"])

    @property
    def failure(self) -> dict[str, Any]:
        """How the work has failed."""
        task = self.json["result"]
        assert task["status"]["state"] == "failed", task
        (data,) = [part["data"] for part in task["status"]["message"]["parts"] if part["kind"] == "data"]
        return dict(data["error"])


def call(
    skill: str | None,
    args: Any = None,
    *,
    method: str = "message/send",
    message_id: str | None = None,
    text: str | None = None,
) -> dict[str, Any]:
    """A call as an A2A client writes it."""
    part: dict[str, Any] = {"kind": "data", "data": {"skill_id": skill, "args": args or {}}}
    if text is not None:
        part = {"kind": "text", "text": text}
    number = next(_numbers)
    message = {"kind": "message", "messageId": message_id or f"m{number}", "role": "user", "parts": [part]}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {"message": message}}


def connection_to(url: str) -> http.client.HTTPConnection:
    address = urlsplit(url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=GUARD_S)


def ask(url: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """One request on a connection of its own; a body that is no bytes goes as JSON."""
    connection = connection_to(url)
    try:
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        content = {} if payload is None else {"Content-Type": "application/json"}
        connection.request(method, urlsplit(url).path or "/", payload, {**content, **(headers or {})})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        connection.close()


def post(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return ask(url, "POST", body, headers)


class Stream:
    """A response that is read as it comes."""

    def __init__(self, url: str, body: Any) -> None:
        self._connection = connection_to(url)
        self._connection.request(
            "POST", urlsplit(url).path, json.dumps(body), {"Content-Type": "application/json"}
        )
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.content_type = self._response.getheader("content-type")

    def event(self) -> Reply:
        """The next event, as a reply."""
        while True:
            line = self._response.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                return Reply(self.status, {}, line[6:])

    def is_at_its_end(self) -> bool:
        return self._response.read().strip() == b""

    def hang_up(self) -> None:
        self._connection.close()
        self._response.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()


@contextlib.contextmanager
def uvicorn_serves(app: Any, listening: socket.socket, **options: Any) -> Iterator[uvicorn.Server]:
    """uvicorn on a thread of its own, from the start of its lifespan to the end of it."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **options))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[listening])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="uvicorn")
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "the start of uvicorn")
        assert server.started, failures
        yield server
    finally:
        server.should_exit = True
        thread.join(GUARD_S)
        listening.close()
        assert not thread.is_alive() and not failures, failures


@contextlib.contextmanager
def werkzeug_serves(app: Any, listening: socket.socket) -> Iterator[None]:
    """The server that Flask develops with, a thread for each request."""
    port = listening.getsockname()[1]
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listening.fileno())
    with _running(server.serve_forever, server.shutdown):
        yield
    server.server_close()
    listening.close()


@contextlib.contextmanager
def waitress_serves(app: Any, listening: socket.socket) -> Iterator[None]:
    """waitress, which is for production."""
    server = create_server(app, sockets=[listening], threads=4, ident=None)

    def close() -> None:
        server.close()
        server.asyncore.close_all(server._map)

    def stop() -> None:
        server.task_dispatcher.shutdown(timeout=GUARD_S)
        # On its own thread, which selects among these sockets.
        server.trigger.pull_trigger(close)

    with _running(server.run, stop):
        yield


@contextlib.contextmanager
def _running(run: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(GUARD_S)
        assert not thread.is_alive()


def wait_joined(gateway: Gateway, count: int = 1) -> dict[str, dict[str, Any]]:
    """The hosted agents by type, once so many have registered."""

    def joined() -> dict[str, dict[str, Any]]:
        there = {agent["agent_type"]: agent for agent in gateway.agents() if agent["ready"]}
        return there if len(there) >= count else {}

    return wait_for(joined, f"{count} hosted agents at the mesh")


def runs_no_forgery(gateway: Gateway, gate: Gate, forge: str) -> None:
    """A call forged like this fails before its handler, and a good one is answered."""
    gate.go_on.set()
    assert gateway.dispatch("wait", forge=forge).failed
    assert gate.runs == 0
    assert gateway.dispatch("wait").result == "done"
    assert gate.runs == 1


def streams_while_it_runs(url: str, gate: Gate) -> None:
    """A stream begins before its handler has ended."""
    with Stream(f"{url}/send", call("wait", method="message/stream")) as stream:
        # The head is here, and the handler has not ended.
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        gate.wait_started()
        gate.go_on.set()
        assert stream.event().result == "done"
        assert stream.is_at_its_end()


def beside_a_connector(face: str, agent: Agent, check: Callable[[], None]) -> None:
    """Checks this while the program has a connector of its own for the agent, of one face or the other."""

    async def serve() -> None:
        # Its loop is another one than that of the server.
        async with svantic.aio.MeshConnector(agent, local=True):
            await asyncio.get_running_loop().run_in_executor(None, check)

    if face == "aio":
        asyncio.run(serve())
    else:
        with MeshConnector(agent, local=True) as mesh:
            check()
        mesh.close()


def wait_refused(url: str) -> None:
    """Waits until a new call is turned away for now."""

    def refused() -> bool:
        reply = post(f"{url}/send", call("add", {"a": 1, "b": 2}))
        return reply.status == 503 and reply.headers["retry-after"] != ""

    wait_for(refused, "the refusal of a new call")


def refuses_ten_megabytes(url: str, *, stated: bool, begun: bytes = b"") -> None:
    """A body that is too long by its stated length, of which only this comes, or as it comes; and then a good one."""
    connection = connection_to(url)
    try:
        connection.putrequest("POST", "/send")
        connection.putheader("Content-Type", "application/json")
        if stated:
            connection.putheader("Content-Length", str(10 << 20))
            connection.endheaders(begun)  # the rest never comes
        else:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            # One byte more than there may be, and no end.
            connection.send(b"%x\r\n" % ((4 << 20) + 1) + b" " * ((4 << 20) + 1) + b"\r\n")
        assert connection.getresponse().status == 413
    finally:
        connection.close()
    assert post(f"{url}/send", call("add", {"a": 1, "b": 2})).result == 3
