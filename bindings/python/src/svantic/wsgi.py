"""A hosted agent as a WSGI application: what ``agent.wsgi()`` returns.

>>> app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/desk": desk})      # desk = agent.wsgi()
>>> with desk:
...     serve(app)
"""

from __future__ import annotations

import http
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._requests import (
    MOST_BODY_BYTES,
    Desk,
    Joining,
    Part,
    Waiting,
    headers_of,
    request_of,
    too_large,
    unavailable,
)
from .connector import MeshConnector
from .errors import SvanticError

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from typing_extensions import Self

    from .agent import Agent

__all__ = ["WsgiApp"]


class WsgiApp:
    """A WSGI application that answers the requests of one hosted agent.

    A request occupies its thread until the call is answered, so the server should have several. It serves the agent's
    card and the calls by POST at its own root, so it may be mounted anywhere below which ``public_url`` leads. Requests
    go to the connector that :meth:`start` has made; without one to a connector that the program has made for the
    agent; without that they get 503.
    """

    def __init__(self, agent: Agent, options: Mapping[str, Any]) -> None:
        self._desk = Desk(agent, options, has_loop=False)
        self._mesh: MeshConnector | None = None
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._joining: threading.Thread | None = None

    @property
    def mesh(self) -> MeshConnector | None:
        """The connector that :meth:`start` has made; ``None`` before that and after :meth:`stop`."""
        return self._mesh

    def start(self) -> None:
        """Makes a connector and joins the mesh. For the process that serves: after a fork, not before.

        A hosted agent joins in the background, since the mesh asks the server for the card; what goes wrong is logged. In
        every other mode this waits for the mesh, and raises what ``connect()`` raises. Where the program has connected the
        agent itself, and when it has been started already, it does nothing.
        """
        desk = self._desk
        with self._guard:
            if self._mesh is not None or desk.is_served():
                return
            mesh = MeshConnector(desk.agent, **desk.options)
            is_probed = not desk.local and desk.is_probed(mesh)
            try:
                if desk.local or is_probed:
                    mesh._start()
                if is_probed:
                    self._stopping.clear()
                    name = "svantic-join"
                    self._joining = threading.Thread(target=self._join, args=(mesh,), name=name, daemon=True)
                    self._joining.start()
            except BaseException:
                mesh.close()
                raise
            desk.own = self._mesh = mesh
        if desk.local or is_probed:
            return
        try:
            mesh.connect()  # stop() may end it, so the guard is not held
        except BaseException:
            with self._guard:
                if self._mesh is mesh:
                    desk.own = self._mesh = None
            mesh.close()
            raise

    def stop(self) -> None:
        """Lets running calls finish (``drain_timeout_ms``), leaves the mesh, and frees the connector. May be called
        again."""
        with self._guard:
            mesh, self._mesh = self._mesh, None
            joining, self._joining = self._joining, None
        if mesh is None:
            return
        self._stopping.set()
        try:
            mesh.close()
            if joining is not None:
                joining.join()
        finally:
            if self._desk.own is mesh:
                self._desk.own = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _join(self, mesh: MeshConnector) -> None:
        joining = Joining(self._desk.agent)
        while not self._stopping.is_set():
            try:
                mesh.connect()
                return joining.joined(mesh)
            except SvanticError as error:
                if self._stopping.is_set():
                    return
                pause = joining.pause(error)
            if pause is None:
                return
            self._stopping.wait(pause)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """What the server calls."""
        body = b""
        if environ["REQUEST_METHOD"] == "POST":
            read = _read(environ)
            if read is None:
                return _whole(environ, start_response, too_large())
            body = read
        parts: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        waiting = self._desk.ask(_request(environ), body, parts.put)
        if isinstance(waiting, Mapping):
            return _whole(environ, start_response, waiting)
        try:
            part = parts.get()
        except BaseException:
            waiting.hang_up()
            raise
        if part is None:
            part = unavailable()
        if not part["more"]:
            return _whole(environ, start_response, part)
        _begin(environ, start_response, part)
        return _Stream(part, parts, waiting)


class _Stream:
    """The body of a response that comes in parts."""

    def __init__(self, first: Part, parts: queue.SimpleQueue[Part | None], waiting: Waiting) -> None:
        self._next: Part | None = first
        self._parts = parts
        self._waiting = waiting

    def __iter__(self) -> Iterator[bytes]:
        part = self._next
        # A server sends no headers before there is something of the body.
        if part is not None and not part["body"]:
            yield b": working\n\n"
        while part is not None:
            if part["body"]:
                yield part["body"].encode()
            part = self._parts.get() if part["more"] else None

    def close(self) -> None:
        """The server calls it at the end, also when the client has gone."""
        self._waiting.hang_up()


def _request(environ: WSGIEnvironment) -> dict[str, Any]:
    # PATH_INFO is without the part where the application is mounted, and has a character for each byte.
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")
    return request_of(environ["REQUEST_METHOD"], path, _headers(environ), environ.get("REMOTE_ADDR"))


def _headers(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-"), value
    if environ.get("CONTENT_TYPE"):
        yield "content-type", environ["CONTENT_TYPE"]


def _read(environ: WSGIEnvironment) -> bytes | None:
    """The body; ``None`` if it is too large."""
    stated = environ.get("CONTENT_LENGTH") or ""
    if stated.isascii() and stated.isdigit():
        length = int(stated[:20])
        return None if length > MOST_BODY_BYTES else environ["wsgi.input"].read(length)
    if not environ.get("wsgi.input_terminated"):
        return b""  # its end could not be found
    body: bytes = environ["wsgi.input"].read(MOST_BODY_BYTES + 1)
    return None if len(body) > MOST_BODY_BYTES else body


def _whole(environ: WSGIEnvironment, start_response: StartResponse, part: Part) -> list[bytes]:
    _begin(environ, start_response, part)
    # Not every server leaves it out by itself, and the client takes it for the next response.
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [part["body"].encode()]


def _begin(environ: WSGIEnvironment, start_response: StartResponse, part: Part) -> None:
    # `Connection` is between server and client, and no application's to set (PEP 3333).
    headers = [pair for pair in headers_of(part, environ["REQUEST_METHOD"]) if pair[0] != "connection"]
    status = http.HTTPStatus(part["status"])
    start_response(f"{status.value} {status.phrase}", headers)
