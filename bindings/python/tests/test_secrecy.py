"""S-14: of a failed handler the mesh learns the message alone. S-02: no secret comes out anywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gateway import Gateway

import svantic.aio
from svantic import Agent, CapabilityError, MeshConnector

if TYPE_CHECKING:
    from conftest import RunPython, StartGateway

#: What must stay here: in a cause, in a local, in the name of a function, in a note, in a repr.
CANARIES = {
    name: f"canary-{name}-5f1e7a" for name in ("cause", "context", "local", "repr", "note", "attribute")
}
MESSAGE = "message-of-the-error-33c0"
FUNCTION = "canary_function_91d2"


class Talkative(Exception):
    """Says much in its repr and its attributes, little in its str."""

    def __init__(self) -> None:
        super().__init__(MESSAGE, CANARIES["attribute"])
        self.detail = CANARIES["attribute"]
        if hasattr(self, "add_note"):
            self.add_note(CANARIES["note"])

    def __str__(self) -> str:
        return MESSAGE

    def __repr__(self) -> str:
        return CANARIES["repr"]


class Mute(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError(CANARIES["repr"])


def canary_function_91d2(how: str) -> None:
    local = CANARIES["local"]
    try:
        try:
            raise KeyError(CANARIES["context"])
        except KeyError:
            raise ValueError(CANARIES["cause"]) from None
    except ValueError as cause:
        if how == "talkative":
            raise Talkative from cause
        if how == "declared":
            raise CapabilityError(MESSAGE) from cause
        if how == "mute":
            raise Mute from cause
        if how == "context":
            # An exception inside another one, without a word about it.
            raise RuntimeError(MESSAGE)  # noqa: B904
        assert local


def wire(gateway: Gateway) -> str:
    """All that the mesh was told."""
    return json.dumps([gateway.frames(), gateway.ledger(), gateway.requests(), gateway.violations()])


def failing_agent(kind: str) -> Agent:
    agent = Agent(name="failing", description="Fails with much to hide")

    def fail(how: str) -> Any:
        local = CANARIES["local"]
        if how == "not_json":
            return {"value": object(), "local": Talkative()}
        canary_function_91d2(how)
        return local

    async def fail_on_a_loop(how: str) -> Any:
        return fail(how)

    handler = fail_on_a_loop if kind == "on_a_loop" else fail
    agent.define_capability(
        name="fail", description="Fails as asked", handler=handler, inline=kind == "inline"
    )
    return agent


def fail_in_every_way(gateway: Gateway, kind: str, face: str, **options: Any) -> dict[str, Any]:
    ways = ("talkative", "declared", "mute", "context", "not_json")

    def ask() -> dict[str, Any]:
        return {how: gateway.dispatch("fail", {"how": how}) for how in ways}

    async def serve() -> dict[str, Any]:
        async with svantic.aio.MeshConnector(failing_agent(kind), **gateway.options, **options):
            return await asyncio.get_running_loop().run_in_executor(None, ask)

    if face == "aio":
        return asyncio.run(serve())
    with MeshConnector(failing_agent(kind), **gateway.options, **options):
        return ask()


@pytest.mark.parametrize("kind", ["thread", "inline", "on_a_loop"])
@pytest.mark.parametrize("face", ["sync", "aio"])
def test_s14_of_a_failed_handler_the_mesh_learns_the_message_alone(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, kind: str, face: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = fail_in_every_way(gateway, kind, face)
    told = wire(gateway)
    for name in ("talkative", "declared", "context"):
        wanted = f'capability "fail" failed: {MESSAGE}'
        assert (answers[name].code, answers[name].message) == ("HANDLER_ERROR", wanted), answers[name]
    assert answers["mute"].code == "HANDLER_ERROR"
    assert answers["mute"].message
    assert answers["not_json"].code == "INVALID_RESULT"
    assert "fail" in answers["not_json"].message
    for hidden in (*CANARIES.values(), FUNCTION, Path(__file__).name, "Traceback", "Talkative("):
        assert hidden not in told, hidden
    # The person at the log needs all of it.
    log = caplog.text
    for shown in (MESSAGE, FUNCTION, CANARIES["cause"], answers["talkative"].dispatch_id):
        assert shown in log, shown


@pytest.mark.parametrize("kind", ["thread", "inline", "on_a_loop"])
@pytest.mark.parametrize("face", ["sync", "aio"])
def test_s14_with_redaction_only_a_declared_error_keeps_its_message(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, kind: str, face: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = fail_in_every_way(gateway, kind, face, redact_handler_errors=True)
    assert answers["declared"].message.endswith(MESSAGE)
    told = wire(gateway)
    assert told.count(MESSAGE) == wire_count_of_declared(gateway, answers["declared"].dispatch_id)
    for name in ("talkative", "context", "mute"):
        answer = answers[name]
        assert answer.code == "HANDLER_ERROR"
        assert MESSAGE not in answer.message
        # The id that leads the person at the log to it.
        ids = re.findall(r"[0-9a-zA-Z-]{8,}", answer.message)
        assert any(error_id in caplog.text for error_id in ids), answer.message
    for hidden in (*CANARIES.values(), FUNCTION, Path(__file__).name, "Traceback"):
        assert hidden not in told, hidden


def wire_count_of_declared(gateway: Gateway, dispatch_id: str) -> int:
    """How often the message of the declared error is on the wire: its frame and the ledger's copy."""
    frames = [f for f in gateway.frames() if isinstance(f["content"], dict)]
    of_frames = sum(
        MESSAGE in json.dumps(f) for f in frames if f["content"].get("in_reply_to") == dispatch_id
    )
    of_ledger = sum(MESSAGE in json.dumps(e) for e in gateway.ledger() if e["id"] == dispatch_id)
    return of_frames + of_ledger


SECRET = 'kanarie-SECRET/9f+e7%22"quoted"-b1d4c0ffee'
NEXT_SECRET = 'kanarie-SECRET/9f+e7%22"quoted"-b1d4c0ffee'

TALKING = """
import asyncio, json, logging, os, sys, threading, traceback, warnings

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
logging.captureWarnings(True)
warnings.simplefilter("always")

import svantic
import svantic.aio
from svantic import *

secret, token_file, url, client_id, next_secret = json.loads(sys.stdin.readline())


def print(*values):
    "In one piece: callbacks print on threads of their own."
    sys.stdout.write(" ".join(map(str, values)) + "\\n")


def show(thing, depth=3):
    "Everything a program might print of an object."
    print(repr(thing), str(thing), ascii(thing))
    if depth and hasattr(thing, "__dict__"):
        print(vars(thing))
    if depth and not isinstance(thing, (str, bytes, int, float, type(None), type)):
        for name in dir(thing):
            # The token is handed out to who asks for it by name.
            if name.startswith("_") or name == "token":
                continue
            try:
                value = getattr(thing, name)
            except Exception as error:
                value = error
            if not callable(value):
                print(name, repr(value))


def attempt(call):
    try:
        show(call())
    except BaseException as error:
        traceback.print_exc(file=sys.stdout)
        print("".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()))
        show(error)


agent = Agent(name="talking", description="Tells everything")


@agent.capability
def fail(context: Context) -> None:
    "Fails."
    show(context)
    raise RuntimeError("as planned")


@agent.capability
async def fail_too(context: Context) -> None:
    "Fails."
    raise RuntimeError("as planned")


options = {"svantic_url": url, "client_id": client_id, "client_secret": secret}
attempt(lambda: MeshConnector(agent, **options, tokem=secret))
attempt(lambda: MeshConnector(agent, **options, timeout_ms=secret))
attempt(lambda: MeshConnector(agent, **dict(options, client_secret=[secret])))
other_url = "http://u:" + next_secret + "@nowhere.invalid"
attempt(lambda: MeshConnector(agent, **dict(options, svantic_url=other_url)))
attempt(lambda: MeshConnector(agent, **dict(options, client_secret=secret + "wrong")).connect())
attempt(lambda: MeshConnector(agent, **dict(options, client_id=None, client_secret=None)).connect())
made_up = "eyJhbGciOiJub25lIn0." + next_secret + ".x"
attempt(lambda: MeshConnector(agent, svantic_url=url, token=made_up).connect())


def failing_provider():
    raise RuntimeError("no token today")


provided = {"svantic_url": url, "token_provider": failing_provider, "timeout_ms": 500}
attempt(lambda: MeshConnector(agent, **provided).connect())

mesh = MeshConnector(agent, **options, client_secret_next=next_secret, reconnect_delays_ms=[5])
seen = []
mesh.on_event(lambda event: (seen.append(event), show(event)))
mesh.connect()
with open(token_file, "w") as file:
    file.write(mesh.token)
print("CONNECTED")
sys.stdin.readline()
for thing in (agent, mesh, mesh.ws_transport, mesh.snapshot(), mesh.stats, mesh.health, mesh.agent_card):
    show(thing)
attempt(lambda: mesh.refresh_token(jwt=made_up))
mesh.refresh_token()
mesh.re_register()
mesh.close_session(mesh.create_session())
attempt(lambda: mesh.close_session("none"))
mesh.disconnect()
attempt(mesh.connect)
attempt(mesh.create_session)
mesh.close()
attempt(mesh.create_session)
show(mesh)


async def on_a_loop():
    other = svantic.aio.MeshConnector(agent, **options)
    async with other:
        show(other)
        await other.refresh_token()
    show(other)


asyncio.run(on_a_loop())
MeshConnector(agent, **options).connect()
import gc

gc.collect()
print("DONE", len(seen))
"""


def forms(secret: str) -> list[str]:
    """The secret as it might be written by somebody: plain, JSON, percent, base64, hex."""
    raw = secret.encode()
    return [
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        raw.hex(),
        repr(secret)[1:-1],
    ]


def pieces(secret: str) -> set[str]:
    """Every piece of 12 characters of every form."""
    return {form[at : at + 12] for form in forms(secret) for at in range(len(form) - 11)}


def test_s02_a_program_that_prints_and_logs_everything_shows_no_secret_and_no_token(
    start_gateway: StartGateway, run_python: RunPython, tmp_path: Path
) -> None:
    gateway = start_gateway(client_secret=SECRET)
    token_file = tmp_path / "token"
    program = run_python(TALKING)
    said = [SECRET, str(token_file), gateway.url, gateway.client_id, NEXT_SECRET]
    program.say(json.dumps(said))
    program.wait_line("CONNECTED")
    for skill in ("fail", "fail_too"):
        assert gateway.dispatch(skill).message.endswith("as planned")
    instance_id = gateway.wait_ready()["instance_id"]
    gateway.abort(instance_id)
    gateway.wait_ready(instance_id, welcomes=2)
    program.say("")
    assert int(program.wait_line("DONE")) > 5
    assert program.wait() == 0, program.story()
    shown = program.stdout + program.stderr
    # The run did what it was meant to: failures of every kind, logs and events are in what it shows.
    for expected in ("UNAUTHORIZED", "ResourceWarning", "as planned", "MeshConnector", "Event("):
        assert expected in shown, expected
    token = token_file.read_text()
    # The beginning of a token is the same for all of them: what is secret begins with its claims.
    segments = token.split(".")
    for secret in (SECRET, NEXT_SECRET, segments[1], segments[2]):
        leaked = [piece for piece in pieces(secret) if piece in shown]
        lines = [line for line in shown.splitlines() if leaked and leaked[0] in line]
        assert not leaked, lines[:3]
