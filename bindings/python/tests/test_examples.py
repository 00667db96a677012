"""Every example of `examples/python`, a process against a gateway, doing what its comments say."""

from __future__ import annotations

import ast
import http.client
import json
import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import RunPython
from gateway import GUARD_S, REPOSITORY, Gateway, wait_for
from hosting import CARD, call, wait_joined
from interpreters import Program, interpreters
from listeners import SECRET

EXAMPLES = REPOSITORY / "examples" / "python"

#: With a socket of ours: port 0 has no race, and the first request waits in it until the agents are there.
SERVE = """
import os, socket, sys, uvicorn
folder, module = sys.argv[1:]
sys.path.insert(0, folder)
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
if module == "hosted_fastapi":
    os.environ["PUBLIC_URL"] = f"http://127.0.0.1:{port}"
print("port", port, flush=True)
uvicorn.Server(uvicorn.Config(f"{module}:app", log_level="warning")).run(sockets=[listener])
"""


def ask(url: str, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    """One HTTP request; the status and the JSON of the reply."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=GUARD_S)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


def user_token(gateway: Gateway, seconds: int) -> str:
    """A JWT as an identity provider would issue it for a user."""
    credentials = {"client_id": gateway.client_id, "client_secret": gateway.client_secret}
    wanted = {**credentials, "agent_type": "assistant", "expires_in": seconds}
    return str(ask(gateway.url, "POST", "/auth/get_token", wanted)[1]["token"])


def is_refused(gateway: Gateway, instance_id: str, token: str) -> bool:
    """Whether the mesh no longer takes this token."""
    body = {"instance_id": instance_id, "status": "available"}
    return ask(gateway.url, "POST", "/agents/heartbeat", body, token)[0] == 401


@pytest.mark.parametrize("version", list(interpreters()))
def test_the_twenty_lines_answer_calls_and_say_goodbye_on_every_cpython(
    version: str, gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(EXAMPLES / "agent.py", python=interpreters()[version], gateway=gateway)
    instance = gateway.wait_ready()["instance_id"]
    assert gateway.dispatch("find_order", {"order_id": "A17"}).result == {
        "order_id": "A17",
        "state": "shipped",
    }
    unknown = gateway.dispatch("find_order", {"order_id": "Z99"})
    assert (unknown.code, unknown.message) == (
        "HANDLER_ERROR",
        'capability "find_order" failed: no such order',
    )
    assert gateway.dispatch("find_order", {"order_id": 17}).code == "INVALID_ARGS"
    assert gateway.dispatch("find_order", {}).code == "INVALID_ARGS"
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.story()
    assert gateway.wait_gone(instance)["deregistrations"] == 1
    assert gateway.violations() == []
    # It tells a person where it is connected, and nobody the secret.
    assert gateway.url in program.stderr, program.story()
    assert gateway.client_secret not in program.stdout + program.stderr


def test_the_twenty_lines_are_told_the_mesh_as_they_are_written(
    gateway: Gateway, run_python: RunPython
) -> None:
    run_python(EXAMPLES / "agent.py", gateway=gateway)
    card = gateway.wait_ready()["agent_card"]
    assert (card["name"], card["description"]) == ("order-desk", "Knows every order")
    (skill,) = card["skills"]
    assert (skill["id"], skill["description"]) == ("find_order", "Says where an order is.")
    assert skill["parameters"]["properties"]["order_id"] == {"type": "string"}
    assert skill["parameters"]["required"] == ["order_id"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_asyncio_agent_serves_coroutines_keeps_a_session_and_tells_its_events(
    number: signal.Signals, gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(EXAMPLES / "async_agent.py", gateway=gateway)
    session_id = program.wait_line("session ")
    (session,) = gateway.sessions()
    assert (session["session_id"], session["status"]) == (session_id, "active")

    evening = gateway.dispatch(
        "plan_evening",
        {"city": "Rome", "mood": "lively", "guests": 4},
        session_context={"session_id": session_id},
    )
    assert evening.result == {"table": "Da Enzo", "show": "a brass band", "guests": 4}, evening
    assert program.wait_line("planned Rome for session ") == session_id
    assert gateway.dispatch("plan_evening", {"city": "Rome"}).result["show"] == "chamber music"
    assert gateway.dispatch("plan_evening", {"city": "Rome", "mood": "loud"}).code == "INVALID_ARGS"
    full = gateway.dispatch("plan_evening", {"city": "Atlantis"})
    assert full.code == "NO_TABLE" and "no table for 2 in Atlantis" in (full.message or "")
    assert gateway.dispatch("print_menu", {"city": "Lisbon"}).result == "menu of Taberna"

    program.signal(number)
    assert program.wait() == 0, program.story()
    assert [session["status"] for session in gateway.sessions()] == ["completed"]
    told = [line.split()[1] for line in program.lines if line.startswith("event ")]
    assert "registered" in told and "connected" in told and "disconnected" in told, told
    gateway.wait_gone()
    assert gateway.violations() == []


def test_the_asyncio_agent_ends_with_the_reason_when_the_mesh_refuses_it_for_good(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(EXAMPLES / "async_agent.py", gateway=gateway)
    program.wait_line("session ")
    instance = gateway.wait_ready()["instance_id"]
    gateway.set_faults(refuse=[{"endpoint": "connect", "status": 403, "code": "TENANT_MISMATCH"}])
    gateway.abort(instance)
    assert program.wait() == 1, program.story()
    assert "TENANT_MISMATCH" in program.stderr, program.story()


def forward(way: str, gateway: Gateway, run_python: RunPython, file: Path, token: str) -> tuple[Program, str]:
    """The example with this token in its file, connected; and its instance id."""
    file.write_text(token)
    environment = {"SVANTIC_URL": gateway.url}
    arguments = [way, str(file)]
    program = run_python(EXAMPLES / "forward_token.py", environment=environment, arguments=arguments)
    return program, str(gateway.wait_ready()["instance_id"])


def assert_leaves_well(program: Program, gateway: Gateway, instance: str) -> None:
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.story()
    gateway.wait_gone(instance)
    assert gateway.violations() == []


def test_a_handed_over_token_is_rotated_on_the_open_connection(
    gateway: Gateway, run_python: RunPython, tmp_path: Path
) -> None:
    file, first, second = tmp_path / "jwt", user_token(gateway, 10), user_token(gateway, 3600)
    program, instance = forward("hand-over", gateway, run_python, file, first)
    file.write_text(second + "\n")
    answer = gateway.dispatch("draft_reply", {"subject": "tea"}, session_context={"tenant_id": "t-7"})
    assert answer.result == {"tenant_id": "t-7", "draft": "Thank you for writing about tea."}, answer

    assert program.wait_line("token 2 is in use") == ""
    assert gateway.agent(instance)["connections"] == 1, "the rotation must not need a new connection"
    # The next dial shows the new token: the first one is of no use by then.
    wait_for(lambda: is_refused(gateway, instance, first), "the end of the first token")
    gateway.abort(instance)
    gateway.wait_ready(instance, welcomes=2)
    assert gateway.dispatch("draft_reply", {"subject": "ink"}).result["draft"].endswith("ink.")
    assert_leaves_well(program, gateway, instance)
    for token in (first, second):
        assert token not in program.stdout + program.stderr


@pytest.mark.parametrize("way", ["hand-over", "on-demand"])
def test_a_refused_token_is_replaced_by_the_one_that_is_there_by_then(
    way: str, gateway: Gateway, run_python: RunPython, tmp_path: Path
) -> None:
    file, first = tmp_path / "jwt", user_token(gateway, 3600)
    program, instance = forward(way, gateway, run_python, file, first)
    gateway.set_script({"at": 0, "do": "expire_token"})
    wait_for(lambda: is_refused(gateway, instance, first), "the end of the first token")
    file.write_text(user_token(gateway, 3600))
    gateway.abort(instance)
    gateway.wait_ready(instance, welcomes=2)
    assert gateway.dispatch("draft_reply", {"subject": "ink"}).result["draft"].endswith("ink.")
    assert_leaves_well(program, gateway, instance)
    asked = [request["path"] for request in gateway.requests() if request["path"] == "/auth/get_token"]
    assert len(asked) == 2, "only this test asks for tokens; the agent has no credentials"


def test_a_token_example_without_arguments_says_how_it_is_used(run_python: RunPython) -> None:
    program = run_python(EXAMPLES / "forward_token.py")
    assert program.wait() == 1
    assert "forward_token.py hand-over FILE" in program.stderr


def test_two_agents_in_a_fastapi_process_share_its_data_and_its_farewell(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(SERVE, gateway=gateway, arguments=[str(EXAMPLES), "fastapi_app"])
    url = f"http://127.0.0.1:{program.wait_line('port ')}"
    # Answered once the application has started, that is, with both agents there.
    assert ask(url, "GET", "/ready") == (200, {"order-desk": "ready", "stock-desk": "ready"})
    agents = {agent["agent_type"]: agent for agent in gateway.agents()}
    assert sorted(agents) == ["order-desk", "stock-desk"]
    assert all(agent["ready"] for agent in agents.values()), agents

    desk = agents["order-desk"]["instance_id"]
    shelf = agents["stock-desk"]["instance_id"]
    assert gateway.dispatch("find_order", {"order_id": "B2"}, instance_id=desk).code == "HANDLER_ERROR"
    assert ask(url, "PUT", "/orders/B2?state=packed")[0] == 200
    found = gateway.dispatch("find_order", {"order_id": "B2"}, instance_id=desk)
    assert found.result == {"order_id": "B2", "state": "packed"}, found
    assert gateway.dispatch("count_items", {"item": "cup"}, instance_id=shelf).result == 3
    assert gateway.dispatch("find_order", {"order_id": "B2"}, instance_id=shelf).code == "UNKNOWN_SKILL"

    status, opened = ask(url, "POST", "/sessions?user_id=u1")
    assert status == 201, opened
    (session,) = gateway.sessions()
    assert (session["session_id"], session["instance_id"]) == (opened["session_id"], desk)
    assert ask(url, "DELETE", f"/sessions/{opened['session_id']}") == (204, None)
    assert ask(url, "DELETE", "/sessions/never-there")[0] == 404

    gateway.set_faults(refuse=[{"endpoint": "session_init", "status": 403, "code": "FORBIDDEN"}])
    status, refusal = ask(url, "POST", "/sessions?user_id=u2")
    assert status == 502, refusal

    program.signal(signal.SIGTERM)
    # Uvicorn ends the lifespan, and then itself by the signal that it was sent.
    assert program.wait() == -signal.SIGTERM, program.story()
    for instance in (desk, shelf):
        gateway.wait_gone(instance)
    assert gateway.violations() == []


@pytest.mark.parametrize("version", list(interpreters()))
def test_the_hosted_twenty_lines_are_called_at_their_url_on_every_cpython(
    version: str, signing_gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(
        EXAMPLES / "hosted.py",
        python=interpreters()[version],
        gateway=signing_gateway,
        environment={"LISTEN": "127.0.0.1:0", "SVANTIC_DISPATCH_SECRET": SECRET},
    )
    agent = wait_joined(signing_gateway)["order-desk"]
    shipped = {"order_id": "A17", "state": "shipped"}
    assert signing_gateway.dispatch("find_order", {"order_id": "A17"}).result == shipped
    assert signing_gateway.dispatch("find_order", {"order_id": 17}).failed
    assert signing_gateway.dispatch("find_order", {"order_id": "A17"}, forge="bad_signature").failed
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.story()
    assert signing_gateway.wait_gone(agent["instance_id"])["deregistrations"] == 1
    assert signing_gateway.violations() == []
    assert "listening at 127.0.0.1:" in program.stderr, program.story()
    assert SECRET not in program.stdout + program.stderr


def test_the_hosted_twenty_lines_are_tried_without_a_mesh(run_python: RunPython) -> None:
    environment = {"LISTEN": "127.0.0.1:0"}
    program = run_python(EXAMPLES / "hosted.py", environment=environment, arguments=["--local"])
    place = wait_for(
        lambda: re.search(r"serves without a mesh, listening at (\S+): find_order", program.stderr),
        "its address",
    )
    url = f"http://{place[1]}"
    assert ask(url, "GET", CARD)[1]["name"] == "order-desk"
    assert ask(url, "POST", "/send", call("find_order", {"order_id": "A17"}))[0] == 200
    program.signal(signal.SIGINT)
    assert program.wait() == 0, program.story()


def test_two_hosted_agents_in_a_fastapi_process_are_called_at_their_urls(
    signing_gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(
        SERVE,
        gateway=signing_gateway,
        environment={"SVANTIC_DISPATCH_SECRET": SECRET},
        arguments=[str(EXAMPLES), "hosted_fastapi"],
    )
    url = f"http://127.0.0.1:{program.wait_line('port ')}"
    agents = wait_joined(signing_gateway, 2)
    wait_for(lambda: ask(url, "GET", "/ready")[0] == 200, "that both are ready")
    desk, shelf = (agents[name]["instance_id"] for name in ("order-desk", "stock-desk"))
    assert ask(url, "PUT", "/orders/B2?state=packed")[0] == 200
    found = signing_gateway.dispatch("find_order", {"order_id": "B2"}, instance_id=desk)
    assert found.result == {"order_id": "B2", "state": "packed"}, found
    assert signing_gateway.dispatch("count_items", {"item": "cup"}, instance_id=shelf).result == 3
    assert signing_gateway.dispatch("count_items", {"item": "cup"}, instance_id=desk).failed
    program.signal(signal.SIGTERM)
    assert program.wait() == -signal.SIGTERM, program.story()
    for instance in (desk, shelf):
        signing_gateway.wait_gone(instance)
    assert signing_gateway.violations() == []


def test_the_hosted_fastapi_process_is_connected_without_a_url(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(
        SERVE.replace('if module == "hosted_fastapi"', "if False"),
        gateway=gateway,
        arguments=[str(EXAMPLES), "hosted_fastapi"],
    )
    url = f"http://127.0.0.1:{program.wait_line('port ')}"
    wait_for(lambda: len(gateway.agents()) == 2, "both agents")
    agents = {agent["agent_type"]: agent for agent in gateway.agents()}
    gateway.wait_ready(agents["order-desk"]["instance_id"])
    desk = agents["order-desk"]["instance_id"]
    assert gateway.dispatch("find_order", {"order_id": "A17"}, instance_id=desk).result["state"] == "shipped"
    assert ask(url, "GET", "/ready")[0] == 200
    program.signal(signal.SIGTERM)
    assert program.wait() == -signal.SIGTERM, program.story()


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert example.stem in here, f"{example.name} has no test"
        assert ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))), (
            f"{example.name} says nothing"
        )
