"""A hosted agent as an ASGI application: what ``agent.asgi()`` returns.

>>> app = FastAPI(lifespan=desk.lifespan)       # desk = agent.asgi()
>>> app.mount("/desk", desk)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Callable

from ._requests import (
    MOST_BODY_BYTES,
    Desk,
    Joining,
    Part,
    headers_of,
    request_of,
    too_large,
    too_slow,
    unavailable,
)
from .aio import MeshConnector
from .errors import SvanticError

if TYPE_CHECKING:
    from .agent import Agent

__all__ = ["AsgiApp"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY_SECONDS = 30.0


class AsgiApp:
    """An ASGI 3 application that answers the requests of one hosted agent, on an asyncio loop.

    It serves the agent's card and the calls by POST at its own root, so it may be mounted anywhere below which
    ``public_url`` leads. Requests go to the connector that its :attr:`lifespan` has made; without one to a connector
    that the program has made for the agent; without that they get 503.
    """

    def __init__(self, agent: Agent, options: Mapping[str, Any]) -> None:
        self._desk = Desk(agent, options, has_loop=True)
        self._mesh: MeshConnector | None = None

    @property
    def mesh(self) -> MeshConnector | None:
        """The connector that the lifespan has made; ``None`` outside of it."""
        return self._mesh

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """From the application's start to its end. Servers run it; an application in which this one is mounted has to,
        such as by ``FastAPI(lifespan=desk.lifespan)``.

        A hosted agent joins the mesh while its server starts, since the mesh asks that server for the card; what goes
        wrong is logged. In every other mode the start waits for the mesh, and raises what ``connect()`` raises. The end
        lets running calls finish. Where the program has connected the agent itself, it does neither.
        """
        desk = self._desk
        if desk.is_served():
            yield
            return
        if self._mesh is not None:
            raise RuntimeError(f"the lifespan of agent {desk.agent.name!r} runs already")
        mesh = MeshConnector(desk.agent, **desk.options)
        joining: asyncio.Task[None] | None = None
        try:
            desk.own = self._mesh = mesh
            if desk.local:
                mesh._start()
            elif desk.is_probed(mesh):
                mesh._start()
                joining = asyncio.get_running_loop().create_task(self._join(mesh))
            else:
                await mesh.connect()
            yield
        finally:
            if joining is not None:
                joining.cancel()
                await asyncio.wait({joining})
            await mesh.close()
            desk.own = self._mesh = None

    async def _join(self, mesh: MeshConnector) -> None:
        joining = Joining(self._desk.agent)
        while True:
            try:
                await mesh.connect()
                return joining.joined(mesh)
            except SvanticError as error:
                pause = joining.pause(error)
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """What the server calls."""
        kind = scope["type"]
        if kind == "http":
            await self._answer(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"an agent does not answer {kind!r}")

    async def _live(self, receive: _Receive, send: _Send) -> None:
        stage = "startup"
        try:
            await receive()
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                stage = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        body = b""
        if scope["method"] == "POST":
            try:
                read = await asyncio.wait_for(_read(scope, receive), _BODY_SECONDS)
            except asyncio.TimeoutError:
                read = too_slow()
            if read is None:
                return
            if not isinstance(read, bytes):
                return await _send_whole(scope, send, read)
            body = read
        parts = _Parts()
        waiting = self._desk.ask(_request(scope), body, parts.take)
        if isinstance(waiting, Mapping):
            return await _send_whole(scope, send, waiting)
        watching = asyncio.ensure_future(parts.watch(receive))
        try:
            await parts.send(scope, send)
        except OSError:
            pass  # the client has gone
        finally:
            waiting.hang_up()
            watching.cancel()
            await asyncio.wait({watching})


class _Parts:
    """The parts of a response, which come on whatever thread has them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Part | None] = asyncio.Queue()
        self._gone = False

    def take(self, part: Part | None) -> None:
        if asyncio._get_running_loop() is self._loop:
            self._queue.put_nowait(part)
            return
        with contextlib.suppress(RuntimeError):  # the loop has been closed, so nobody waits
            self._loop.call_soon_threadsafe(self._queue.put_nowait, part)

    async def watch(self, receive: _Receive) -> None:
        """Waits until the client has gone."""
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._gone = True
            self._queue.put_nowait(None)

    async def send(self, scope: _Scope, send: _Send) -> None:
        part = await self._queue.get()
        if part is None:
            if not self._gone:
                await _send_whole(scope, send, unavailable())
            return
        await _begin(scope, send, part)
        while part is not None and part["more"]:
            await _continue(send, part)
            part = await self._queue.get()
            if self._gone:
                return
        await _continue(send, part)


def _request(scope: _Scope) -> dict[str, Any]:
    path: str = scope["path"]
    mounted: str = scope.get("root_path", "")
    # Where it is mounted is the application's affair. Servers differ in whether they have taken it away.
    if mounted and path.startswith(mounted) and path[len(mounted) : len(mounted) + 1] == "/":
        path = path[len(mounted) :]
    headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    client = scope.get("client")
    return request_of(scope["method"], path, headers, client[0] if client else None)


async def _read(scope: _Scope, receive: _Receive) -> bytes | Part | None:
    """The body; the refusal of one that is too large; ``None`` when the client has gone."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > MOST_BODY_BYTES:
            return too_large()
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        length += len(chunk)
        if length > MOST_BODY_BYTES:
            return too_large()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _send_whole(scope: _Scope, send: _Send, part: Part) -> None:
    await _begin(scope, send, part)
    await _continue(send, part)


async def _begin(scope: _Scope, send: _Send, part: Part) -> None:
    headers = headers_of(part, scope["method"])
    if not scope.get("http_version", "1.1").startswith("1"):
        headers = [(name, value) for name, value in headers if name != "connection"]  # not in HTTP/2
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": part["status"], "headers": encoded})


async def _continue(send: _Send, part: Part | None) -> None:
    """Sends the body of a part; ``None`` is the end of a stream that stays without its last part."""
    body = b"" if part is None else part["body"].encode()
    more = False if part is None else part["more"]
    await send({"type": "http.response.body", "body": body, "more_body": more})
