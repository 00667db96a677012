"""`agent.asgi()` behind real servers: the mesh joins, calls and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from desk import FORGERIES, Gate, desk_at
from fastapi import FastAPI
from gateway import GUARD_S, Gateway, wait_for
from hosting import (
    CARD,
    Stream,
    ask,
    beside_a_connector,
    call,
    post,
    runs_no_forgery,
    uvicorn_serves,
    wait_joined,
    wait_refused,
)
from listeners import SECRET, listener
from starlette.applications import Starlette
from starlette.routing import Mount

from svantic import AuthError, MeshConnector


def test_an_agent_under_uvicorn_joins_answers_signed_calls_and_leaves(
    signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    desk = desk_at(url).asgi(**signing_gateway.options, signing_secret=SECRET)
    assert desk.mesh is None
    with uvicorn_serves(desk, listening):
        told = wait_joined(signing_gateway)["desk"]
        assert desk.mesh is not None and desk.mesh.deployment_mode == "hosted"
        card = ask(url + CARD)
        assert card.json["url"] == f"{url}/send"
        assert {skill["id"] for skill in card.json["skills"]} >= {"add", "add_later", "add_now"}
        assert signing_gateway.dispatch("add", {"a": 1, "b": 2}).result == 3
        assert signing_gateway.dispatch("add_now", {"a": 1, "b": 2}).result == 3
        later = signing_gateway.dispatch("add_later", {"a": 1, "b": 2})
        assert later.result == {"sum": 3, "tenant": told["tenant_id"], "who": "desk"}
        assert signing_gateway.dispatch("add", {"a": 1}).failed
        streamed = signing_gateway.dispatch("add", {"a": 2, "b": 2}, method="message/stream")
        assert streamed.result == 4
    signing_gateway.wait_gone()
    assert desk.mesh is None
    assert signing_gateway.violations() == []


@contextlib.contextmanager
def believing_signatures(gateway: Gateway, at: tuple[socket.socket, str]) -> Iterator[Gate]:
    """An agent at the mesh that wants its calls signed."""
    listening, url = at
    agent = desk_at(url)
    gate = Gate(agent)
    with uvicorn_serves(agent.asgi(**gateway.options, signing_secret=SECRET), listening):
        wait_joined(gateway)
        yield gate


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_call_runs_no_handler(
    forge: str, signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    with believing_signatures(signing_gateway, at) as gate:
        runs_no_forgery(signing_gateway, gate, forge)


def test_a_replayed_call_is_answered_once_more_and_runs_once(
    signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    with believing_signatures(signing_gateway, at) as gate:
        gate.go_on.set()
        first = signing_gateway.dispatch("wait", id="d1")
        again = signing_gateway.dispatch("wait", id="d1", forge="replayed")
        assert (first.result, again.result, gate.runs) == ("done", "done", 1)
        assert signing_gateway.dispatch("add", {"a": 1, "b": 1}, id="d1", forge="replayed_other_body").failed


def test_a_flood_of_forged_calls_through_a_proxy_holds_up_no_good_one(
    signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    with uvicorn_serves(desk_at(url).asgi(**signing_gateway.options, signing_secret=SECRET), listening):
        wait_joined(signing_gateway)

        def is_limited() -> bool:
            statuses = set(pool.map(lambda _: post(f"{url}/send", call("add")).status, range(64)))
            assert statuses <= {401, 429}
            return 429 in statuses

        # All of them come from one address, as behind a proxy.
        with ThreadPoolExecutor(16) as pool:
            wait_for(is_limited, "the limit")
        assert signing_gateway.dispatch("add", {"a": 1, "b": 2}).result == 3


def test_the_next_secret_is_accepted_beside_the_one_in_use(
    signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    options = {
        **signing_gateway.options,
        "signing_secret": "what comes before it",
        "signing_secret_next": SECRET,
    }
    with uvicorn_serves(desk_at(url).asgi(**options), listening):
        wait_joined(signing_gateway)
        assert signing_gateway.dispatch("add", {"a": 1, "b": 2}).result == 3


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
def test_two_agents_mounted_in_one_application_answer_for_themselves(
    framework: str, signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    first, second = (
        desk_at(f"{url}/agents/{name}", name).asgi(**signing_gateway.options, signing_secret=SECRET)
        for name in ("first", "second")
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: object) -> AsyncGenerator[None, None]:
        async with first.lifespan(), second.lifespan():
            yield

    app: FastAPI | Starlette
    if framework == "fastapi":
        app = FastAPI(lifespan=lifespan)
        app.mount("/agents/first", first)
        app.mount("/agents/second", second)
    else:
        mounts = [Mount("/agents/first", first), Mount("/agents/second", second)]
        app = Starlette(routes=mounts, lifespan=lifespan)
    with uvicorn_serves(app, listening):
        for name, agent in wait_joined(signing_gateway, 2).items():
            assert ask(f"{url}/agents/{name}{CARD}").json["url"] == f"{url}/agents/{name}/send"
            for _ in range(20):
                answer = signing_gateway.dispatch(
                    "add_later", {"a": 1, "b": 2}, instance_id=agent["instance_id"]
                )
                assert answer.result["who"] == name
        assert ask(f"{url}/agents/third{CARD}").status == 404
    assert signing_gateway.violations() == []


def test_the_lifespan_can_be_that_of_the_application_it_is_mounted_in(
    gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    desk = desk_at(f"{url}/desk").asgi(**gateway.options)
    app = FastAPI(lifespan=desk.lifespan)
    app.mount("/desk", desk)
    with uvicorn_serves(app, listening):
        wait_joined(gateway)
        assert gateway.dispatch("add", {"a": 1, "b": 2}).result == 3
    gateway.wait_gone()


def test_agents_in_a_quart_application_behind_hypercorn(
    gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from hypercorn.middleware import DispatcherMiddleware
    from quart import Quart

    listening, url = at
    listening.setblocking(False)
    desk = desk_at(f"{url}/desk").asgi(**gateway.options)
    page = Quart("page")

    @page.get("/")
    async def front() -> str:
        return "the page"

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.accesslog = config.errorlog = None
    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        stopping.append((asyncio.get_running_loop(), stop))
        app: Any = DispatcherMiddleware({"/desk": desk, "": page})
        # hypercorn cancels its own middleware, which may not be done with having told that all is over.
        with contextlib.suppress(asyncio.CancelledError):
            await serve(app, config, shutdown_trigger=stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        wait_joined(gateway)
        assert ask(url).body == b"the page"
        assert gateway.dispatch("add_later", {"a": 1, "b": 2}).result["sum"] == 3
        assert gateway.dispatch("add", {"a": 1, "b": 2}, method="message/stream").result == 3
    finally:
        loop, stop = stopping[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(GUARD_S)
    gateway.wait_gone()


def test_a_server_that_answers_late_is_joined_late(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    # The port is known, and nobody listens there yet: the mesh cannot read the card.
    listening, url = listener()
    port = listening.getsockname()[1]
    listening.close()
    desk = desk_at(url).asgi(**gateway.options)

    async def run() -> None:
        async with desk.lifespan():
            while "has not joined the mesh yet" not in caplog.text:
                await asyncio.sleep(0.01)
            config = uvicorn.Config(desk, port=port, lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            serving = asyncio.ensure_future(server.serve())
            agent = await asyncio.get_running_loop().run_in_executor(None, wait_joined, gateway)
            assert list(agent) == ["desk"]
            server.should_exit = True
            await serving

    with caplog.at_level(logging.INFO, "svantic"):
        asyncio.run(run())
    assert f"{url}{CARD}" in caplog.text
    gateway.wait_gone()


def test_a_refused_secret_fails_the_start_in_connected_mode_and_is_told_in_hosted_mode(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**gateway.options, "client_secret": "wrong" * 8}

    async def run(url: str | None) -> None:
        async with desk_at(url).asgi(**wrong).lifespan():
            while "cannot join the mesh" not in caplog.text:
                await asyncio.sleep(0.01)

    with pytest.raises(AuthError):
        asyncio.run(run(None))
    asyncio.run(run("http://127.0.0.1:9"))
    (told,) = [record for record in caplog.records if "cannot join" in record.message]
    assert told.levelno == logging.CRITICAL
    assert wrong["client_secret"] not in caplog.text


def test_the_same_application_serves_a_connected_agent(gateway: Gateway) -> None:
    desk = desk_at(None).asgi(**gateway.options)
    listening, url = listener()
    with uvicorn_serves(desk, listening):
        gateway.wait_ready()
        assert gateway.dispatch("add", {"a": 1, "b": 2}).result == 3
        assert ask(url + CARD).status == 503
    gateway.wait_gone()


def test_without_a_connector_there_is_503_and_one_line_in_the_log(
    at: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture
) -> None:
    listening, url = at
    app = FastAPI()
    app.mount("/desk", desk_at(f"{url}/desk").asgi())
    with uvicorn_serves(app, listening):
        for _ in range(3):
            refused = post(f"{url}/desk/send", call("add"))
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert refused.error["code"] == -32603
    assert len([record for record in caplog.records if "no connector serves it" in record.message]) == 1


@pytest.mark.parametrize("face", ["sync", "aio"])
def test_a_connector_of_the_program_serves_the_application(face: str, at: tuple[socket.socket, str]) -> None:
    listening, url = at
    agent = desk_at(f"{url}/desk")
    app = FastAPI()
    app.mount("/desk", agent.asgi())

    def check() -> None:
        with uvicorn_serves(app, listening):
            assert post(f"{url}/desk/send", call("add", {"a": 1, "b": 2})).result == 3
            asked = call("add_later", {"a": 1, "b": 2}, method="message/stream")
            with Stream(f"{url}/desk/send", asked) as stream:
                assert stream.event().result["sum"] == 3

    beside_a_connector(face, agent, check)


def test_a_disconnect_lets_the_call_that_runs_out_and_takes_no_other(
    gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    agent = desk_at(url)
    gate = Gate(agent)
    loops: list[asyncio.AbstractEventLoop] = []

    @agent.capability
    async def note_loop() -> None:
        "Notes the loop of the server."
        loops.append(asyncio.get_running_loop())

    desk = agent.asgi(**gateway.options)
    with uvicorn_serves(desk, listening), ThreadPoolExecutor(1) as pool:
        wait_joined(gateway)
        gateway.dispatch("note_loop")
        running = pool.submit(gateway.dispatch, "wait")
        gate.wait_started()
        assert desk.mesh is not None
        leaving = asyncio.run_coroutine_threadsafe(desk.mesh.disconnect(), loops[0])

        wait_refused(url)
        assert not leaving.done()
        gate.go_on.set()
        assert running.result(GUARD_S).result == "done"
        leaving.result(GUARD_S)
    gateway.wait_gone()


def test_where_it_is_mounted_may_differ_from_the_path_that_the_mesh_knows() -> None:
    agent = desk_at("http://127.0.0.1:9/known/to/the/mesh")
    app = FastAPI()
    app.mount("/here", agent.asgi())
    listening, url = listener()
    with MeshConnector(agent, local=True), uvicorn_serves(app, listening, root_path="/proxy"):
        assert ask(f"{url}/here{CARD}").json["url"] == "http://127.0.0.1:9/known/to/the/mesh/send"
        assert post(f"{url}/here/send", call("add", {"a": 1, "b": 2})).result == 3
        assert ask(f"{url}/here/here{CARD}").status == 404


def test_wrong_options_fail_where_the_application_is_made() -> None:
    with pytest.raises(TypeError, match="signing_secret"):
        desk_at(None).asgi(signing_secrets="x")  # type: ignore[call-arg]


def test_a_lifespan_runs_once_at_a_time_and_again_afterwards() -> None:
    desk = desk_at(None).asgi(local=True)

    async def run() -> None:
        async with desk.lifespan():
            with pytest.raises(RuntimeError, match="runs already"):
                async with desk.lifespan():
                    pass
        assert desk.mesh is None
        async with desk.lifespan():
            assert desk.mesh is not None

    asyncio.run(run())
