"""The Python of the front page and the guide runs as it stands there, and does what the text around it says."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import RunPython
from gateway import Gateway
from hosting import CARD, ask, uvicorn_serves, wait_joined, werkzeug_serves
from listeners import SECRET, listener

import svantic
from svantic import Agent

PROJECT = Path(__file__).resolve().parents[1]


def listings(page: str) -> list[str]:
    text = (PROJECT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def listing(page: str, word: str) -> str:
    """The one with this word in it."""
    (found,) = [text for text in listings(page) if word in text]
    return found


def execute(text: str, **names: Any) -> dict[str, Any]:
    """Runs a listing as a module that is imported, with what the text takes for granted."""
    names["__name__"] = "listing"
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(text, "listing", "exec", flags=flags, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)
    return names


@pytest.fixture
def agent() -> Agent:
    return Agent(name="desk", description="A desk")


@pytest.fixture
def environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    return gateway


def test_the_front_page_shows_the_example_that_is_tested() -> None:
    example = PROJECT.parents[1] / "examples" / "python" / "agent.py"
    assert listings("README.md")[0] == example.read_text(encoding="utf-8")


def test_the_synchronous_connector_of_the_front_page(environment: Gateway, agent: Agent) -> None:
    names = execute(listing("README.md", "from svantic import MeshConnector"), agent=agent)
    assert [session["status"] for session in environment.sessions()] == ["completed"]
    names["mesh"].close()


def test_the_asyncio_connector_of_the_front_page(
    environment: Gateway, agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its loop over the events ends with the connector, which the mesh ends here once it is there.
    def refuse() -> None:
        instance = environment.wait_ready()["instance_id"]
        environment.set_faults(refuse=[{"endpoint": "connect", "status": 403, "code": "TENANT_MISMATCH"}])
        environment.abort(instance)

    ending = threading.Thread(target=refuse)
    ending.start()
    execute(listing("README.md", "from svantic.aio import MeshConnector"), agent=agent)
    ending.join()
    assert "failed {" in capsys.readouterr().out


def test_the_refused_secret_of_the_front_page(
    environment: Gateway, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SVANTIC_CLIENT_SECRET", "wrong" * 8)
    with pytest.raises(SystemExit, match="the client secret has been replaced"):
        execute(listing("README.md", "except AuthError"), mesh=svantic.MeshConnector(agent))


def test_the_unreachable_mesh_of_the_front_page(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {
        "svantic_url": "http://127.0.0.1:1",
        "client_id": "c",
        "client_secret": "s" * 20,
    }
    mesh = svantic.MeshConnector(agent, **options, fail_fast=True)
    execute(listing("README.md", "except AuthError"), mesh=mesh)
    assert "[UNREACHABLE]" in caplog.text
    mesh.close()


@pytest.mark.parametrize(("word", "serves"), [("FastAPI(", uvicorn_serves), ("Flask(", werkzeug_serves)])
def test_the_applications_of_the_front_page_serve_their_agents(word: str, serves: Any) -> None:
    names = execute(listing("README.md", word))
    listening, url = listener()
    # A connector of the program's own, so that neither of them joins a mesh.
    with svantic.MeshConnector(names["agent"], local=True) as mesh, serves(names["app"], listening):
        card = ask(f"{url}/desk{CARD}")
        assert (card.status, card.json["url"]) == (200, "https://agents.example.com/desk/send")
        assert names["desk"].mesh is None
    mesh.close()


ORDERS = """
import os
from svantic import Agent

agent = Agent(name="order-desk", description="Knows every order", public_url=os.environ["PUBLIC_URL"])

@agent.capability
def who() -> int:
    "Says which process it is."
    return os.getpid()

desk = agent.wsgi()
"""


def test_gunicorn_starts_and_stops_the_agent_by_the_hooks_of_the_guide(
    signing_gateway: Gateway, at: tuple[socket.socket, str], run_python: RunPython, tmp_path: Path
) -> None:
    listening, url = at
    (tmp_path / "orders.py").write_text(ORDERS)
    (tmp_path / "gunicorn.conf.py").write_text(listing("docs/guide.md", "post_worker_init"))
    address = url.rpartition("/")[2]
    listening.close()
    arguments = ["--bind", address, "--workers", "1", "--threads", "4", "--preload", "orders:desk"]
    program = run_python(
        "import sys; sys.path.insert(0, '.')\nfrom gunicorn.app.wsgiapp import run\nrun()\n",
        gateway=signing_gateway,
        environment={"PUBLIC_URL": url, "SVANTIC_DISPATCH_SECRET": SECRET},
        arguments=arguments,
    )
    wait_joined(signing_gateway)
    worker = signing_gateway.dispatch("who").result
    assert worker != program.process.pid, "a worker serves, and not what has forked it"
    assert signing_gateway.dispatch("who", forge="bad_signature").failed
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.story()
    signing_gateway.wait_gone()
    assert signing_gateway.violations() == []


def test_the_tests_of_the_guide_pass() -> None:
    names = execute(listing("docs/guide.md", "Context.for_test"))
    tests = [test for name, test in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_long_function_of_the_guide_ends_when_nobody_waits() -> None:
    names = execute(listing("docs/guide.md", "count_slowly"))
    assert names["count_slowly"](3, svantic.Context.for_test()) == 3
    assert names["count_slowly"](3, svantic.Context.for_test(is_cancelled=True)) == 0


def test_the_logging_of_the_guide_quiets_the_library() -> None:
    logger = logging.getLogger("svantic")
    before = logger.level
    try:
        execute(listing("docs/guide.md", "logging.basicConfig"))
        assert not logger.isEnabledFor(logging.INFO)
    finally:
        logger.setLevel(before)


def test_the_messages_of_the_guide_are_those_that_are_raised(
    environment: Gateway, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (PROJECT / "docs" / "guide.md").read_text(encoding="utf-8")
    with svantic.MeshConnector(agent) as mesh:
        with pytest.raises(svantic.InvalidStateError, match="already connected"):
            mesh.connect()
    monkeypatch.setenv("SVANTIC_CLIENT_SECRET", "wrong" * 8)
    with pytest.raises(svantic.AuthError) as refused:
        svantic.MeshConnector(agent).connect()
    assert f"AuthError: … [{refused.value.code}]" in table
    monkeypatch.delenv("SVANTIC_CLIENT_SECRET")
    monkeypatch.delenv("SVANTIC_CLIENT_ID")
    with pytest.raises(svantic.InvalidArgumentError, match="^there are no credentials"):
        svantic.MeshConnector(agent)
