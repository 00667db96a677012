"""Whether a dispatch that your own HTTP server received comes from the mesh and is meant for this agent.

>>> try:
...     caller = verify_dispatch_auth(body_part, instance_id="box-7", signing_secret=secret)
... except DispatchAuthVerifyError as refusal:
...     status = 503 if refusal.retryable else 401      # and do not run it
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, NamedTuple

from ._library import library, take_string
from ._mesh import last_error
from .errors import DispatchAuthVerifyError

__all__ = ["MESH_DISPATCH_JWT_ISSUER", "DispatchAuth", "DispatchAuthVerifyError", "verify_dispatch_auth"]

MESH_DISPATCH_JWT_ISSUER = "svantic-mesh"
"""The ``iss`` of the tokens with which the mesh signs dispatches."""

_OK, _AUTH = 0, 24


class DispatchAuth(NamedTuple):
    """What a verified dispatch says about itself. Where the token says nothing it is ``None``."""

    scheme: str
    """``"svantic_jwt"`` or ``"shared_secret"``."""
    instance_id: str
    """The instance that the dispatch is meant for, which is yours."""
    tenant_id: str | None
    """Whose dispatch it is. Signed; ``None`` with a shared secret."""
    agent_type: str | None
    """The type of agent that it is meant for. Signed; ``None`` with a shared secret."""
    dispatch_id: str | None
    """Its id. Signed in a token; with a shared secret what the request calls itself, if it does."""
    expires_at: int | None
    """When the token ends, in seconds since 1970; ``None`` with a shared secret, which does not end."""


def verify_dispatch_auth(
    data: Mapping[str, Any] | str | bytes,
    *,
    instance_id: str,
    signing_secret: str | None = None,
    shared_secret: str | None = None,
    clock_skew_s: int = 30,
    agent_type: str | None = None,
    tenant_id: str | None = None,
) -> DispatchAuth:
    """Verifies the ``svantic_auth`` of a dispatch, and accepts each dispatch once.

    ``data`` is the data part of the request. The JSON text is better than the mapping that a parser made of it, since
    names that stand in it twice are then noticed. ``instance_id`` is this agent's. At least one secret must be given;
    a dispatch by the scheme of the other one is refused. ``clock_skew_s`` (seconds, 0 to 300) is how wrong the clocks
    may be. ``agent_type`` and ``tenant_id`` are compared when they are given and the token names them.

    A token is accepted once in this process until it expires, by whichever thread comes first; each process of a
    prefork server remembers its own. A ``shared_secret`` neither expires nor is it good only once. Neither binds the
    arguments of the dispatch: TLS has to protect them.

    Needs no agent and no connector. Any thread; does not block. Raises :class:`DispatchAuthVerifyError` for a dispatch
    that must not be run, with the reason in ``code``: ``missing_envelope``, ``malformed_envelope``,
    ``unsupported_scheme``, ``bad_signature``, ``expired``, ``wrong_issuer``, ``wrong_audience``, ``secret_mismatch``,
    ``replayed``, or ``replay_table_full`` (then ``retryable`` is true: answer 503). Raises
    :class:`~svantic.InvalidArgumentError` for the other arguments, and :class:`~svantic.ForkedError` in a child that was
    forked from a process with a connector.
    """
    import json

    for name, value in (
        ("instance_id", instance_id),
        ("signing_secret", signing_secret),
        ("shared_secret", shared_secret),
    ):
        _check_text(name, value)
    given = {
        "instance_id": instance_id,
        "signing_secret": signing_secret,
        "shared_secret": shared_secret,
        "clock_skew_s": clock_skew_s,
        "agent_type": agent_type,
        "tenant_id": tenant_id,
    }
    # The standard encoder: whatever a stranger's text became here, a lone surrogate too, it can write.
    options = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
    try:
        text = json.dumps(dict(data)).encode() if isinstance(data, Mapping) else _checked(data)
    except RecursionError:
        raise _malformed("is nested too deeply") from None
    context = ctypes.c_void_p()
    lib = library()
    status = lib.svantic_verify_dispatch_auth(text, options, ctypes.byref(context))
    if status != _OK:
        raise last_error(status, DispatchAuthVerifyError if status == _AUTH else None)
    return DispatchAuth(**json.loads(take_string(context)))


def _check_text(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is of type {type(value).__name__}, and must be a str")


def _checked(data: Any) -> bytes:
    """What can be handed to C as it is: no other text than the one that the caller's parser sees."""
    if not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise TypeError(
            f"data is of type {type(data).__name__}, and must be the data part of the dispatch: "
            "a mapping, str or bytes"
        )
    try:
        if isinstance(data, str):
            text = data.encode()
        else:
            text = bytes(data)
            text.decode()
    except UnicodeError:
        raise _malformed("is not UTF-8") from None
    if b"\0" in text:
        raise _malformed("holds a NUL")
    return text


def _malformed(why: str) -> DispatchAuthVerifyError:
    return DispatchAuthVerifyError(
        f"the data part of the dispatch {why}",
        code="malformed_envelope",
        status=_AUTH,
        hint="answer HTTP 401, and do not run the dispatch",
    )
