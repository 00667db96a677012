"""The desk of the A2A tests in Python: ``desk.py listen|asgi|wsgi CONFIG`` is served by the library itself, by uvicorn or
by wsgiref, says where, and ends with its standard input."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from svantic import Agent, CapabilityError, MeshConnector

EVERYTHING = {
    "lines": "a\u2028b\u2029c\u0085d\ne\r\nf",
    "quoted": '"\\/é😀',
    "rest": [1, 2.5, -3e-7, True, False, None, "", [], {}],
    "deep": {"er": {"still": [[["x"]]]}},
}


def desk(name: str, description: str) -> Agent:
    agent = Agent(name=name, description=description)

    @agent.capability
    def find_order(order_id: str) -> dict[str, str]:
        """Says where an order is."""
        if order_id == "C3":
            raise CapabilityError("the order is locked", "ORDER_LOCKED")
        if order_id != "A17":
            raise CapabilityError("no such order")
        return {"order_id": order_id, "state": "shipped"}

    @agent.capability
    def count(n: int) -> dict[str, int]:
        """Says what comes after a number."""
        assert isinstance(n, int), n
        return {"next": n + 1}

    @agent.capability
    def recite() -> dict[str, Any]:
        """Says everything that JSON can say."""
        return EVERYTHING

    @agent.capability
    def hear(text: str) -> dict[str, str]:
        """Repeats a text."""
        return {"heard": text}

    return agent


@contextlib.contextmanager
def listen(agent: Agent, options: dict[str, Any]) -> Iterator[str]:
    with MeshConnector(agent, **options) as mesh:
        yield f"http://{mesh.listening}"


@contextlib.contextmanager
def asgi(agent: Agent, options: dict[str, Any]) -> Iterator[str]:
    import uvicorn  # not everybody has it, who has the other ways

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(agent.asgi(**options), lifespan="on", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        # It takes no connection before the lifespan has begun, and whoever is early waits.
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    request_queue_size = 128  # it has room for five clients who connect at once otherwise


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def wsgi(agent: Agent, options: dict[str, Any]) -> Iterator[str]:
    app = agent.wsgi(**options)
    with app, ThreadingServer(("127.0.0.1", 0), QuietHandler) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    ways = {"listen": listen, "asgi": asgi, "wsgi": wsgi}
    how, config = sys.argv[1], json.loads(sys.argv[2])
    agent = desk(config.pop("name"), config.pop("description"))
    if how != "listen":
        del config["listen"]
    with ways[how](agent, config) as url:
        print(url, flush=True)
        sys.stdin.read()


main()
