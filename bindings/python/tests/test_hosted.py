"""Hosted mode without a server of one's own: the options `listen` and `local`, and what they are refused with."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from desk import FORGERIES, Gate, desk_at
from gateway import GUARD_S, Gateway, wait_for
from hosting import CARD, Stream, ask, call, post, runs_no_forgery, wait_joined
from listeners import SECRET

import svantic.aio
from svantic import InvalidArgumentError, InvalidStateError, MeshConnector, NetworkError, SvanticError


def test_the_library_serves_a_synchronous_agent(signing_gateway: Gateway) -> None:
    options = {**signing_gateway.options, "listen": "127.0.0.1:0", "signing_secret": SECRET}
    with MeshConnector(desk_at(None), **options) as mesh:
        wait_joined(signing_gateway)
        assert (mesh.deployment_mode, mesh.state.name) == ("hosted", "connected")
        assert ask(f"http://{mesh.listening}{CARD}").json["url"] == f"http://{mesh.listening}/send"
        assert signing_gateway.dispatch("add", {"a": 1, "b": 2}).result == 3
        assert signing_gateway.dispatch("add_now", {"a": 1, "b": 2}).result == 3
        assert signing_gateway.dispatch("add_later", {"a": 1, "b": 2}).result["sum"] == 3
    signing_gateway.wait_gone()
    mesh.close()
    assert signing_gateway.violations() == []


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_call_to_the_library_runs_no_handler(forge: str, signing_gateway: Gateway) -> None:
    agent = desk_at(None)
    gate = Gate(agent)
    options = {**signing_gateway.options, "listen": "127.0.0.1:0", "signing_secret": SECRET}
    with MeshConnector(agent, **options) as mesh:
        wait_joined(signing_gateway)
        runs_no_forgery(signing_gateway, gate, forge)
    mesh.close()


def test_the_library_serves_an_asyncio_agent_and_drains_it(gateway: Gateway) -> None:
    agent = desk_at(None)
    gate = Gate(agent)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        mesh = svantic.aio.MeshConnector(agent, **gateway.options, listen="127.0.0.1:0")
        async with mesh:
            with ThreadPoolExecutor(2) as pool:
                await loop.run_in_executor(pool, wait_joined, gateway)
                sums = loop.run_in_executor(pool, gateway.dispatch, "add_later", {"a": 1, "b": 2})
                assert (await sums).result["sum"] == 3
                running = loop.run_in_executor(pool, gateway.dispatch, "wait")
                await loop.run_in_executor(pool, gate.wait_started)
                leaving = asyncio.ensure_future(mesh.disconnect())
                await loop.run_in_executor(
                    pool, wait_for, lambda: mesh.state.name == "draining", "the state draining"
                )
                gate.go_on.set()
                assert (await running).result == "done"
                await asyncio.wait_for(leaving, GUARD_S)
        await mesh.close()

    asyncio.run(serve())
    gateway.wait_gone()


def test_without_a_mesh_an_agent_serves_and_cannot_connect() -> None:
    agent = desk_at(None)
    with MeshConnector(agent, local=True, listen="127.0.0.1:0") as mesh:
        url = f"http://{mesh.listening}"
        assert post(f"{url}/send", call("add", {"a": 1, "b": 2})).result == 3
        with Stream(f"{url}/send", call("add_later", {"a": 1, "b": 2}, method="message/stream")) as stream:
            assert stream.event().result["sum"] == 3
        agent.define_capability(name="new", description="New", handler=lambda: 1)
        assert "new" in {skill["id"] for skill in ask(url + CARD).json["skills"]}
        with pytest.raises(InvalidStateError, match="without a mesh"):
            mesh.connect()
    assert mesh.state.name == "closed"
    mesh.close()


def test_an_endpoint_and_a_capability_for_texts_can_be_chosen() -> None:
    agent = desk_at(None)

    @agent.capability
    def echo(text: str) -> str:
        "Says it again."
        return text

    options = {"endpoint_path": "/call", "default_capability": "echo"}
    with MeshConnector(agent, local=True, listen="127.0.0.1:0", **options) as mesh:
        url = f"http://{mesh.listening}"
        assert ask(url + CARD).json["url"] == f"{url}/call"
        assert post(f"{url}/call", call(None, text="hello")).result == "hello"
        assert post(f"{url}/send", call("echo", {"text": "x"})).status == 404
    mesh.close()


def test_a_port_that_is_taken_is_named_where_the_connector_is_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NetworkError, match=place) as refused:
            MeshConnector(desk_at(None), local=True, listen=place)
    assert refused.value.code == "ADDRESS_IN_USE"


def test_a_certificate_that_is_not_there_is_named_where_the_connector_is_made(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    listen = {"address": "127.0.0.1:0", "certificate_file": file, "key_file": tmp_path / "key.pem"}
    with pytest.raises(SvanticError, match=str(file)):
        MeshConnector(desk_at(None), local=True, listen=listen)


@pytest.mark.parametrize(
    "options",
    [{"listen": "somewhere"}, {"endpoint_path": "call"}, {"clock_skew_s": 301}, {"signing_secret": ""}],
    ids=lambda options: next(iter(options)),
)
def test_a_wrong_option_is_named_where_the_connector_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        MeshConnector(desk_at(None), **{"local": True, **options})


@pytest.mark.parametrize(
    "name", ["signing_secret", "signing_secret_next", "shared_secret", "shared_secret_next"]
)
def test_a_secret_of_bytes_is_refused_without_being_shown(name: str) -> None:
    options: dict[str, Any] = {name: b"canary"}
    with pytest.raises(TypeError, match=f"^{name} is of type bytes, and must be a str$"):
        MeshConnector(desk_at(None), local=True, **options)


def test_a_program_without_a_mesh_and_without_an_address_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="would serve nobody"):
        desk_at(None).run(local=True)


def test_a_connected_agent_listens_nowhere(gateway: Gateway) -> None:
    mesh = MeshConnector(desk_at(None), **gateway.options)
    assert mesh.listening is None
    mesh.close()
