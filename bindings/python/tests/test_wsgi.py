"""`agent.wsgi()` behind real servers."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from conftest import RunPython
from desk import FORGERIES, Gate, desk_at
from flask import Flask
from gateway import GUARD_S, Gateway, wait_for
from hosting import (
    CARD,
    Stream,
    ask,
    beside_a_connector,
    call,
    connection_to,
    post,
    refuses_ten_megabytes,
    runs_no_forgery,
    streams_while_it_runs,
    wait_joined,
    wait_refused,
    waitress_serves,
    werkzeug_serves,
)
from listeners import SECRET, listener
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from svantic import Agent, AuthError, SvanticError
from svantic.wsgi import WsgiApp

Serve = Callable[[Any, socket.socket], "contextlib.AbstractContextManager[None]"]
both_servers = pytest.mark.parametrize(
    "serve", [werkzeug_serves, waitress_serves], ids=["werkzeug", "waitress"]
)


@contextlib.contextmanager
def served_locally(serve: Serve = werkzeug_serves, **options: Any) -> Iterator[tuple[WsgiApp, Agent, str]]:
    """An agent without a mesh."""
    agent = desk_at(None)
    listening, url = listener()
    with agent.wsgi(local=True, **options) as desk, serve(desk, listening):
        yield desk, agent, url


@both_servers
def test_an_agent_joins_answers_signed_calls_and_leaves(
    serve: Serve, signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    desk = desk_at(url).wsgi(**signing_gateway.options, signing_secret=SECRET)
    assert desk.mesh is None
    with desk, serve(desk, listening):
        wait_joined(signing_gateway)
        assert desk.mesh is not None and desk.mesh.deployment_mode == "hosted"
        assert ask(url + CARD).json["url"] == f"{url}/send"
        assert signing_gateway.dispatch("add", {"a": 1, "b": 2}).result == 3
        assert signing_gateway.dispatch("add_now", {"a": 1, "b": 2}).result == 3
        assert signing_gateway.dispatch("add_later", {"a": 1, "b": 2}).result["sum"] == 3
        assert signing_gateway.dispatch("add", {"a": 2, "b": 2}, method="message/stream").result == 4
        assert signing_gateway.dispatch("fail", {"how": "declared"}).code == "NO_STOCK"
        desk.start()  # it has been started already
    signing_gateway.wait_gone()
    assert desk.mesh is None
    desk.stop()
    assert signing_gateway.violations() == []


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_call_runs_no_handler(
    forge: str, signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    agent = desk_at(url)
    gate = Gate(agent)
    with (
        agent.wsgi(**signing_gateway.options, signing_secret=SECRET) as desk,
        werkzeug_serves(desk, listening),
    ):
        wait_joined(signing_gateway)
        runs_no_forgery(signing_gateway, gate, forge)


def test_two_agents_in_a_flask_application_answer_for_themselves(
    signing_gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    app = Flask("page")

    @app.get("/")
    def front() -> str:
        return "the page"

    desks = {
        f"/{name}": desk_at(f"{url}/{name}", name).wsgi(**signing_gateway.options, signing_secret=SECRET)
        for name in ("first", "second")
    }
    mounted: dict[str, Any] = dict(desks)
    with werkzeug_serves(DispatcherMiddleware(app, mounted), listening), contextlib.ExitStack() as started:
        for desk in desks.values():
            started.enter_context(desk)
        assert ask(url).body == b"the page"
        for name, agent in wait_joined(signing_gateway, 2).items():
            assert ask(f"{url}/{name}{CARD}").json["url"] == f"{url}/{name}/send"
            for _ in range(20):
                answer = signing_gateway.dispatch(
                    "add_later", {"a": 1, "b": 2}, instance_id=agent["instance_id"]
                )
                assert answer.result["who"] == name
    assert signing_gateway.violations() == []


@both_servers
def test_a_stream_begins_while_the_handler_runs(serve: Serve) -> None:
    with served_locally(serve) as (_, agent, url):
        streams_while_it_runs(url, Gate(agent))


def test_a_client_that_hangs_up_cancels_nothing_and_finds_the_answer_when_it_comes_back() -> None:
    with served_locally() as (desk, agent, url):
        gate = Gate(agent)
        asked = call("wait", message_id="the-one", method="message/stream")
        Stream(f"{url}/send", asked).hang_up()
        gate.wait_started()
        gate.go_on.set()
        assert post(f"{url}/send", call("wait", message_id="the-one")).result == "done"
        assert gate.runs == 1
        assert desk.mesh is not None
        waiting = desk.mesh._session._responses
        wait_for(lambda: not waiting, "the end of the wait for the response")


def test_a_server_that_closes_a_stream_ends_the_wait_for_it() -> None:
    agent = desk_at(None)
    gate = Gate(agent)
    with agent.wsgi(local=True) as desk:
        assert desk.mesh is not None
        environ, heads = environ_of(call("wait", method="message/stream")), []
        body = desk(environ, lambda status, headers, *_: heads.append(status))
        assert heads == ["200 OK"]
        assert len(desk.mesh._session._responses) == 1
        body.close()
        assert not desk.mesh._session._responses
        gate.go_on.set()


def environ_of(body: Any) -> dict[str, Any]:
    """A request as a server hands it over."""
    import io
    import json
    from wsgiref.util import setup_testing_defaults

    text = json.dumps(body).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/send",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(text)),
        "wsgi.input": io.BytesIO(text),
    }
    setup_testing_defaults(environ)
    return environ


def test_what_a_handler_raises_is_a_failed_task_and_what_is_no_call_has_its_status() -> None:
    with served_locally(default_capability="echo") as (_, agent, url):

        @agent.capability
        def echo(text: str) -> str:
            "Says it again."
            return text

        failure = post(f"{url}/send", call("fail", {"how": "other"})).failure
        assert (failure["code"], failure["message"][-21:]) == ("HANDLER_ERROR", "failed: no such order")
        assert post(f"{url}/send", call("add", {"a": "x", "b": 1})).error["code"] == -32602
        assert post(f"{url}/send", b"{").error["code"] == -32700
        assert post(f"{url}/send", call(None, text="grüß Gott")).result == "grüß Gott"
        card = ask(url + CARD)
        assert ask(url + CARD, headers={"If-None-Match": card.headers["etag"]}).status == 304
        assert ask(url + CARD, "HEAD").body == b""
        assert ask(f"{url}/").status == 404
        assert ask(f"{url}/send").headers["allow"] == "POST"
        assert post(f"{url}/send", b"x", {"Content-Type": "text/plain"}).status == 415


@both_servers
def test_what_is_refused_to_head_has_no_body_that_the_next_response_would_begin_with(serve: Serve) -> None:
    with served_locally(serve) as (_, _, url), contextlib.closing(connection_to(url)) as connection:
        for path, status in (("/nowhere", 404), ("/send", 405), (CARD, 200)):
            connection.request("HEAD", path)
            response = connection.getresponse()
            assert (response.status, response.read()) == (status, b"")
        connection.request("GET", CARD)
        assert connection.getresponse().status == 200


def test_an_unsigned_call_is_refused_with_401() -> None:
    with served_locally(
        shared_secret=SECRET, dispatch_auth={"scheme": "shared_secret", "required": True}
    ) as (
        _,
        agent,
        url,
    ):
        gate = Gate(agent)
        gate.go_on.set()
        for token, status in (("wrong", 401), (SECRET, 200)):
            asked = call("wait")
            data = asked["params"]["message"]["parts"][0]["data"]
            data["svantic_auth"] = {"scheme": "shared_secret", "token": token}
            assert post(f"{url}/send", asked).status == status
        assert gate.runs == 1


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_of_ten_megabytes_is_refused(stated: bool) -> None:
    with served_locally() as (_, _, url):
        refuses_ten_megabytes(url, stated=stated)


def test_stop_lets_the_call_that_runs_out_and_takes_no_other(
    gateway: Gateway, at: tuple[socket.socket, str]
) -> None:
    listening, url = at
    agent = desk_at(url)
    gate = Gate(agent)
    desk = agent.wsgi(**gateway.options)
    with werkzeug_serves(desk, listening), ThreadPoolExecutor(2) as pool:
        desk.start()
        wait_joined(gateway)
        running = pool.submit(gateway.dispatch, "wait")
        gate.wait_started()
        leaving = pool.submit(desk.stop)

        wait_refused(url)
        assert not leaving.done()
        gate.go_on.set()
        assert running.result(GUARD_S).result == "done"
        leaving.result(GUARD_S)
        assert post(f"{url}/send", call("add")).status == 503
    gateway.wait_gone()


def test_answers_of_many_calls_at_once_do_not_cross() -> None:
    with served_locally() as (desk, _, url):

        def add(number: int) -> bool:
            skill = ("add", "add_now")[number % 2]
            return bool(post(f"{url}/send", call(skill, {"a": number, "b": number})).result == 2 * number)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(add, range(200)))
        assert desk.mesh is not None
        assert not desk.mesh._session._responses


FORKED = """
import io, json, os
from svantic import Agent

agent = Agent(name="desk", description="A desk")
desk = agent.wsgi(local=True)
heads = []

def card():
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/.well-known/agent-card.json", "wsgi.input": io.BytesIO()}
    body = b"".join(desk(environ, lambda status, headers: heads.append(status)))
    print(os.getpid() == parent, heads.pop(), json.loads(body).get("name"), flush=True)

parent = os.getpid()
with desk:
    child = os.fork()
    card()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_what_was_started_before_a_fork_serves_the_parent_alone(run_python: RunPython) -> None:
    # Python warns of every fork with threads, which is what this is about.
    program = run_python(FORKED, flags=["-W", "ignore::DeprecationWarning"])
    assert program.wait() == 0, program.story()
    assert sorted(program.lines) == ["False 503 Service Unavailable None", "True 200 OK desk"]
    assert "spawn" in program.stderr, "it says what to do"


def test_before_start_there_is_503_and_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    listening, url = listener()
    with werkzeug_serves(desk_at(url).wsgi(), listening):
        for _ in range(3):
            refused = post(f"{url}/send", call("add"))
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert refused.error["code"] == -32603
    assert len([record for record in caplog.records if "no connector serves it" in record.message]) == 1


@pytest.mark.parametrize("face", ["sync", "aio"])
def test_a_connector_of_the_program_serves_the_application(face: str) -> None:
    agent = desk_at(None)
    listening, url = listener()
    desk = agent.wsgi()

    def check() -> None:
        with desk, werkzeug_serves(desk, listening):
            assert desk.mesh is None
            assert post(f"{url}/send", call("add", {"a": 1, "b": 2})).result == 3
            assert post(f"{url}/send", call("add_later", {"a": 1, "b": 2})).result["sum"] == 3

    beside_a_connector(face, agent, check)


def test_a_refused_secret_fails_the_start_in_connected_mode_and_is_told_in_hosted_mode(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**gateway.options, "client_secret": "wrong" * 8}
    connected = desk_at(None).wsgi(**wrong)
    with pytest.raises(AuthError):
        connected.start()
    assert connected.mesh is None
    with desk_at("http://127.0.0.1:9").wsgi(**wrong):
        wait_for(lambda: "cannot join the mesh" in caplog.text, "the line in the log")
    (told,) = [record for record in caplog.records if "cannot join" in record.message]
    assert told.levelno == logging.CRITICAL
    assert wrong["client_secret"] not in caplog.text


def test_stop_ends_an_agent_that_has_not_joined_yet(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    listening, url = listener()
    listening.close()  # nobody is there, so the mesh cannot read the card
    with caplog.at_level(logging.INFO, "svantic"), desk_at(url).wsgi(**gateway.options):
        wait_for(lambda: "has not joined the mesh yet" in caplog.text, "the first attempt")
    assert gateway.agent() == {}


def test_stop_ends_a_start_that_waits_for_the_mesh(gateway: Gateway) -> None:
    gateway.set_faults(stall="register")
    desk = desk_at(None).wsgi(**gateway.options)
    with ThreadPoolExecutor(1) as starter:
        started = starter.submit(desk.start)
        wait_for(lambda: any(r["path"] == "/agents/register" for r in gateway.requests()), "a registration")
        desk.stop()
        with pytest.raises(SvanticError) as raised:
            started.result(GUARD_S)
    assert raised.value.code != "TIMEOUT"
    assert desk.mesh is None
