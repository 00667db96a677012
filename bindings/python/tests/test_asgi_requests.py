"""Single requests to `agent.asgi()` behind uvicorn, without a mesh: strangers, large bodies and hang-ups do no harm."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from desk import Gate, desk_at
from gateway import wait_for
from hosting import (
    CARD,
    Stream,
    ask,
    call,
    connection_to,
    post,
    refuses_ten_megabytes,
    streams_while_it_runs,
    uvicorn_serves,
)
from listeners import SECRET, listener

import svantic.asgi
from svantic import Agent
from svantic.asgi import AsgiApp


@contextlib.contextmanager
def served_locally(**options: Any) -> Iterator[tuple[AsgiApp, Agent, str]]:
    """An agent without a mesh under uvicorn."""
    agent = desk_at(None)
    desk = agent.asgi(local=True, **options)
    listening, url = listener()
    with uvicorn_serves(desk, listening):
        yield desk, agent, url


def test_an_unsigned_call_is_refused_with_401() -> None:
    with served_locally(signing_secret=SECRET) as (_, agent, url):
        gate = Gate(agent)
        refused = post(f"{url}/send", call("wait"))
        assert (refused.status, refused.error["code"]) == (401, -32001)
        assert gate.runs == 0


def test_a_stream_begins_while_the_handler_runs() -> None:
    with served_locally() as (_, agent, url):
        streams_while_it_runs(url, Gate(agent))


@pytest.mark.parametrize("method", ["message/send", "message/stream"])
def test_a_client_that_hangs_up_cancels_nothing_and_finds_the_answer_when_it_comes_back(method: str) -> None:
    with served_locally() as (desk, agent, url):
        gate = Gate(agent)
        asked = call("wait", message_id="the-one", method=method)
        if method == "message/stream":
            Stream(f"{url}/send", asked).hang_up()
        else:
            connection = connection_to(url)
            connection.request("POST", "/send", json.dumps(asked), {"Content-Type": "application/json"})
            gate.wait_started()
            connection.close()
        assert desk.mesh is not None
        waiting = desk.mesh._session._responses
        wait_for(lambda: not waiting, "the end of the wait for the response")
        gate.go_on.set()
        assert post(f"{url}/send", call("wait", message_id="the-one")).result == "done"
        assert gate.runs == 1


def test_answers_of_many_calls_at_once_do_not_cross() -> None:
    with served_locally() as (desk, _, url):

        def add(number: int) -> bool:
            skill = ("add", "add_now")[number % 2]
            method = ("message/send", "message/stream")[number // 2 % 2]
            asked = call(skill, {"a": number, "b": number}, method=method)
            if method == "message/send":
                return bool(post(f"{url}/send", asked).result == 2 * number)
            with Stream(f"{url}/send", asked) as stream:
                return bool(stream.event().result == 2 * number)

        with ThreadPoolExecutor(32) as pool:
            assert all(pool.map(add, range(400)))
        assert desk.mesh is not None
        waiting = desk.mesh._session._responses
        wait_for(lambda: not waiting, "the end of every wait")


def test_what_a_handler_raises_is_a_failed_task() -> None:
    with served_locally() as (_, _, url):
        declared = post(f"{url}/send", call("fail", {"how": "declared"})).failure
        assert declared["code"] == "NO_STOCK" and declared["message"].endswith("out of stock")
        other = post(f"{url}/send", call("fail", {"how": "other"})).failure
        assert other["code"] == "HANDLER_ERROR" and other["message"].endswith("failed: no such order")
        assert "Traceback" not in other["message"]
        assert post(f"{url}/send", call("add", {"a": "x", "b": 1})).error["code"] == -32602
        assert post(f"{url}/send", call("nothing")).error["code"] == -32602
        assert post(f"{url}/send", b"{").error["code"] == -32700


def test_what_is_no_call_gets_the_status_that_says_so() -> None:
    with served_locally() as (_, _, url):
        card = ask(url + CARD)
        assert (card.status, card.headers["content-type"]) == (200, "application/json")
        assert ask(url + CARD, headers={"If-None-Match": card.headers["etag"]}).status == 304
        head = ask(url + CARD, "HEAD")
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", card.headers["etag"])
        assert ask(f"{url}/").status == 404
        refused = ask(f"{url}/send")
        assert (refused.status, refused.headers["allow"]) == (405, "POST")
        assert post(f"{url}/send", b"x", {"Content-Type": "text/plain"}).status == 415


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_of_ten_megabytes_is_refused_before_it_is_all_there(stated: bool) -> None:
    with served_locally() as (_, _, url):
        refuses_ten_megabytes(url, stated=stated, begun=b"{")


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svantic.asgi, "_BODY_SECONDS", 0.05)
    with served_locally() as (_, _, url):
        connection = connection_to(url)
        try:
            connection.putrequest("POST", "/send")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", "10")
            connection.endheaders(b"{")
            assert connection.getresponse().status == 408
        finally:
            connection.close()
