"""Where servers of hosted agents listen, and the secret of what is dispatched to them."""

from __future__ import annotations

import socket

SECRET = "the secret of the dispatches, long enough"


def listener() -> tuple[socket.socket, str]:
    """A socket that listens, and the URL that leads to it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"
