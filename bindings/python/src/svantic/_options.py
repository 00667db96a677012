"""The options of a connector, and the configuration that the library gets."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, TypedDict, Union

from . import _json

if TYPE_CHECKING:
    from .agent import Agent

_Path = Union[str, "os.PathLike[str]"]


class ConnectorOptions(TypedDict, total=False):
    """Every option of a connector. All may be left out; times are milliseconds."""

    svantic_url: str
    """Where the mesh is. Default: ``SVANTIC_URL``, else the platform's host."""
    client_id: str
    """Default: ``SVANTIC_CLIENT_ID``."""
    client_secret: str
    """Exchanged for a token, and again before it expires. Default: ``SVANTIC_CLIENT_SECRET``."""
    client_secret_next: str
    """Shown when the mesh refuses ``client_secret``: a secret is rotated without a restart."""
    token: str
    """A JWT issued elsewhere, instead of the credentials. Default: ``SVANTIC_TOKEN``."""
    # No X | Y: these hints can be evaluated on every Python of the package.
    token_provider: Callable[[], Union[str, Awaitable[str]]]
    """Issues each token. Runs on a thread of its own; for ``svantic.aio`` it may be a coroutine function."""
    token_provider_timeout_ms: int
    """How long it has. Default 10,000."""
    deployment_mode: str
    """``"connected"`` or ``"hosted"``. Default: hosted with a ``public_url``, ``listen`` or ``local``."""
    dispatch_auth: Mapping[str, Any]
    """``{"scheme": "svantic_jwt" | "shared_secret", "required": bool}``, sent at registration."""
    listen: Union[str, Mapping[str, _Path]]
    """Where the library itself serves a hosted agent: ``"127.0.0.1:8080"`` (port 0 is any free one), or ``{"address":
    …, "certificate_file": …, "key_file": …}`` for TLS."""
    endpoint_path: str
    """Where calls are POSTed, below ``public_url``. Default ``"/send"``."""
    signing_secret: str
    """What the mesh signs calls by HTTP with; with a secret every one is verified. Default:
    ``SVANTIC_DISPATCH_SECRET``."""
    signing_secret_next: str
    """Accepted too: a secret is rotated without a refused call. Default: ``SVANTIC_DISPATCH_SECRET_NEXT``."""
    shared_secret: str
    """What calls by HTTP show under the scheme ``shared_secret``. Default: ``SVANTIC_DISPATCH_SECRET``."""
    shared_secret_next: str
    """Accepted too. Default: ``SVANTIC_DISPATCH_SECRET_NEXT``, under that scheme."""
    clock_skew_s: int
    """How wrong the clocks may be when a call is verified: seconds, 0 to 300. Default 30."""
    default_capability: str
    """What answers an A2A message of text alone: it is called with ``{"text": …}``."""
    local: bool
    """Serves without a mesh and without credentials, for development. Default false."""
    busy_poll_us: int
    """For how many microseconds after something came in the I/O thread stays awake, at most 1,000. Default 0."""
    max_in_flight: int
    """Calls that run at once; 0 is no limit. Default: the agent's ``max_concurrent_sessions``."""
    max_pending_dispatches: int
    """Calls that may be with the application, started or not. Default 1024."""
    max_queued_dispatches: int
    """Calls that wait for one of those places; the rest is refused. Default 64."""
    max_frame_bytes: int
    """The largest message in and out. Default 4,194,304."""
    redact_handler_errors: bool
    """Whether only :class:`CapabilityError` keeps its message on the way to the mesh. Default false."""
    auto_reconnect: bool
    """Whether a lost connection is made again. Default true."""
    reconnect_delays_ms: Sequence[int]
    """Replaces the windows of the waits between attempts."""
    fail_fast: bool
    """Whether the first connect fails at its first failure, also at one that may pass. Default false."""
    allow_insecure: bool
    """Permits ``http`` and ``ws`` to other hosts. Default false."""
    allowed_connect_hosts: Sequence[str]
    """Hosts beside that of ``svantic_url`` that the token may be sent to."""
    ca_file: _Path
    """Certificates (PEM) that are trusted beside the platform's."""
    client_cert_file: _Path
    """The agent's certificate (PEM), for a mesh that asks for one."""
    client_key_file: _Path
    """Its key (PEM, not encrypted)."""
    proxy: str
    """``"http://user:password@host:port"`` or ``"none"``. Default: ``HTTPS_PROXY`` and its like."""
    timeout_ms: int
    """For every call without a ``timeout``. Default 30,000."""
    http_timeout_ms: int
    """One HTTP call. Default 10,000."""
    stage_timeout_ms: int
    """One stage of a dial. Default 10,000."""
    attempt_timeout_ms: int
    """All of an attempt. Default 20,000."""
    welcome_timeout_ms: int
    """From the open WebSocket to the mesh's welcome. Default 10,000."""
    heartbeat_interval_ms: int
    """Between heartbeats. Default 30,000."""
    ping_interval_ms: int
    """Silence after which the library pings. Default 10,000."""
    dead_after_ms: int
    """Silence after which the connection counts as dead. Default 20,000."""
    dispatch_timeout_ms: int
    """The mesh's patience with one call. Default 60,000."""
    pick_up_timeout_ms: int
    """How long a call may wait to be taken before the mesh is told ``unhealthy``. Default 10,000."""
    drain_timeout_ms: int
    """How long a disconnect lets running calls finish. Default 30,000."""
    max_workers: int
    """The most threads that run plain handlers. Default: the number of CPUs and 4, 32 at most."""


_SECRETS = ("signing_secret", "signing_secret_next", "shared_secret", "shared_secret_next")

KEYS = frozenset(ConnectorOptions.__annotations__)


class Options:
    """Checked options: what the library gets, and what stays here."""

    def __init__(self, agent: Agent, options: Mapping[str, Any], *, has_loop: bool) -> None:
        given = {key: value for key, value in options.items() if value is not None}
        for key in given:
            if key not in KEYS:
                raise TypeError(_unknown(key))
        self.token_provider: Callable[[], Any] | None = given.pop("token_provider", None)
        if self.token_provider is not None:
            if not callable(self.token_provider):
                raise TypeError("token_provider must be a function that returns a token")
            import inspect  # slow to import, and mostly not needed

            if not has_loop and inspect.iscoroutinefunction(self.token_provider):
                raise TypeError(
                    "token_provider is a coroutine function, which svantic.aio.MeshConnector takes; "
                    "this one needs a plain function"
                )
            given["token_provider"] = True
        # Done here, where the error id is known that the log line repeats. The library would replace the
        # message of a CapabilityError too, since it cannot tell one from another failure.
        redact = given.pop("redact_handler_errors", False)
        if not isinstance(redact, bool):
            raise TypeError(f"redact_handler_errors is {redact!r}, and must be True or False")
        self.redact = redact
        for key in _SECRETS:
            if not isinstance(given.get(key, ""), str):  # bytes would go as base64, and verify nothing
                raise TypeError(f"{key} is of type {type(given[key]).__name__}, and must be a str")
        self.local = given.get("local") is True
        self.max_workers: int | None = given.pop("max_workers", None)
        workers = self.max_workers
        if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
            raise ValueError(f"max_workers is {workers!r}, and must be a whole number of at least 1")
        self.config = {**_identity_of(agent), **given, "delivery": "pull"}
        self.serves = any(self.config.get(key) for key in ("public_url", "listen", "local"))
        """Whether requests may come by HTTP."""
        for key, value in self.config.items():
            try:
                _json.dumps(value)
            except TypeError as error:
                raise TypeError(f"`{key}` is not JSON: {error}") from error


def _identity_of(agent: Agent) -> dict[str, Any]:
    from .agent import Agent

    if not isinstance(agent, Agent):
        raise TypeError(f"agent is {agent!r}, and must be a svantic.Agent")
    return agent._configuration()


def _unknown(key: str) -> str:
    import difflib

    if key in ("delivery", "workers"):
        return f"{key!r} is not an option here: this package takes what comes by itself; see max_workers"
    near = difflib.get_close_matches(key, KEYS, 1)
    meant = f"; {near[0]!r} was probably meant" if near else ""
    return f"unknown option {key!r}{meant}"
