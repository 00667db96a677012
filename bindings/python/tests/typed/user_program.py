"""A user's program under `mypy --strict` and strict pyright: checked by `cargo xtask test`, run by nobody.

What must be an error is marked as ignored; an ignore that is not needed is an error itself.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import svantic.aio
from svantic import (
    Agent,
    Capability,
    CapabilityError,
    ConnectorOptions,
    ConnectorState,
    Context,
    DispatchAuth,
    Event,
    EventName,
    Health,
    MeshConnector,
    RejectedError,
    SvanticError,
    TraceParent,
    WsTransport,
    parse_baggage,
    parse_traceparent,
    verify_dispatch_auth,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from typing_extensions import Unpack, assert_type

agent = Agent("desk", "A desk", version="2", context={"region": "eu"})


@dataclass
class Evening:
    table: str


# ---- a decorator leaves the signature as it is ----


@agent.capability
def find_order(order_id: str) -> dict[str, str]:
    """Finds."""
    if not order_id:
        raise CapabilityError("no such order", code="NOT_FOUND")
    return {"order_id": order_id}


@agent.capability(tags=["travel"], inline=True)
def plan(city: str, context: Context, mood: Literal["quiet", "lively"] = "quiet") -> Evening:
    """Plans."""
    assert_type(context.session_id, Optional[str])
    assert_type(context.deadline_ms, int)
    assert_type(context.baggage, dict[str, str])
    return Evening(city + mood)


@agent.capability()
async def ask(question: str, context: Context) -> list[int]:
    """Asks."""
    return [len(question), round(context.time_left)]


async def calls() -> None:
    assert_type(find_order("A17"), dict[str, str])
    assert_type(plan("Rome", Context.for_test(), mood="lively"), Evening)
    assert_type(await ask("why", Context.for_test(tenant_id="t1")), list[int])
    find_order(17)  # type: ignore[arg-type]


made = agent.define_capability(name="look", handler=find_order)
if TYPE_CHECKING:
    assert_type(made, Capability)
    assert_type(agent.capabilities, Mapping[str, Capability])
    assert_type(agent.instance_id, Optional[str])


# ---- the synchronous face ----


def token() -> str:
    return "x"


async def token_later() -> str:
    return "x"


def serve(**options: Unpack[ConnectorOptions]) -> None:
    """A user's own function that passes options on."""
    with MeshConnector(agent, **options) as mesh:
        assert_type(mesh, MeshConnector)
        assert_type(mesh.state, ConnectorState)
        assert_type(mesh.health, Health)
        assert_type(mesh.ws_transport, WsTransport)
        assert_type(mesh.stats, dict[str, Any])
        assert_type(mesh.create_session({"user_id": "u1"}, timeout=1.5), str)

        @mesh.on_event
        def watching(event: Event) -> None:
            if event.name == EventName.TOKEN_EXPIRING:
                mesh.refresh_token("jwt")

        watching()  # unsubscribes
        mesh.on_event(lambda event: print(event.data))()
        for event in mesh.events():
            assert_type(event, Event)
        if mesh.state is not ConnectorState.closed:
            mesh.wait_closed(timeout=1)


def wrong_options() -> None:
    serve(svantic_url="https://mesh.example.com", ca_file=Path("ca.pem"), token_provider=token, max_workers=2)
    serve(svantic_ur="x")  # type: ignore[call-arg]
    serve(max_workers="2")  # type: ignore[arg-type]
    agent.run(fail_fast=True, token_provider=token_later)
    agent.run(fail_fast="yes")  # type: ignore[arg-type]


# ---- the asyncio face ----


async def serve_async(options: ConnectorOptions) -> None:
    async with svantic.aio.MeshConnector(agent, **options) as mesh:
        assert_type(mesh, svantic.aio.MeshConnector)

        @mesh.on_event
        async def watching(event: Event) -> None:
            print(event.name)

        assert_type(watching, Callable[[], None])
        async for event in mesh.events():
            assert_type(event, Event)
        assert_type(await mesh.create_session(), str)
        waiting: Coroutine[Any, Any, None] = mesh.wait_closed()
        await waiting
    with svantic.aio.MeshConnector(agent):  # type: ignore[attr-defined]
        pass


# ---- hosted ----

hosted = Agent("hosted", "Has a URL", public_url="https://agents.example.com/hosted")
desk = hosted.asgi(signing_secret="s", signing_secret_next="t", clock_skew_s=10)
app = FastAPI(lifespan=desk.lifespan)
app.mount("/hosted", desk)
also = Starlette(routes=[Mount("/hosted", desk)], lifespan=desk.lifespan)
page = Flask("page")
flask_desk = hosted.wsgi(shared_secret="s", endpoint_path="/call")
hosted.asgi(signing_secret=7)  # type: ignore[arg-type]
hosted.wsgi(listens="x")  # type: ignore[call-arg]


def serve_hosted() -> WSGIApplication:
    assert_type(desk.mesh, Optional[svantic.aio.MeshConnector])
    assert_type(flask_desk.mesh, Optional[MeshConnector])
    hosted.run(listen="127.0.0.1:8080", local=True, default_capability="ask")
    hosted.run(listen={"address": "0.0.0.0:443", "certificate_file": "c.pem", "key_file": "k.pem"})
    with flask_desk as same:
        assert_type(same.mesh, Optional[MeshConnector])
        if same.mesh is not None:
            assert_type(same.mesh.listening, Optional[str])
    return DispatcherMiddleware(page, {"/hosted": flask_desk})


async def serve_hosted_together() -> None:
    async with desk.lifespan(), hosted.asgi(local=True).lifespan(app):
        pass


# ---- errors and functions ----


def handle() -> int:
    try:
        serve()
    except RejectedError as error:
        assert_type(error.http_status, Optional[int])
    except SvanticError as error:
        assert_type(error.retryable, bool)
        assert_type(error.hint, Optional[str])
    except TimeoutError:  # never reached: svantic.TimeoutError is a SvanticError too
        return 2
    return 1


def functions(body: bytes) -> None:
    assert_type(verify_dispatch_auth(body, instance_id="x", signing_secret="s"), DispatchAuth)
    assert_type(parse_traceparent(None), Optional[TraceParent])
    assert_type(parse_baggage("k=v"), dict[str, str])
    assert_type(svantic.__version__, str)
