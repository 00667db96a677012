"""What goes wrong first for somebody new says, in one message, what to do."""

from __future__ import annotations

import asyncio
import re
import signal
import typing
import warnings
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import RunPython
from gateway import Gateway

import svantic
import svantic.aio
from svantic import Agent, Context, MeshConnector

CREDENTIALS: dict[str, Any] = {
    "svantic_url": "http://127.0.0.1:1",
    "client_id": "c",
    "client_secret": "s" * 20,
}


def desk() -> Agent:
    return Agent(name="desk", description="A desk")


def define(**fields: Any) -> None:
    """Defines a capability, of which only the fields given may be wrong."""
    desk().define_capability(**{"name": "look", "description": "Looks.", "handler": lambda: None, **fields})


def connected_with(**fields: Any) -> None:
    """The same for a connector, which the library is told of it by."""
    agent = desk()
    agent.define_capability(**{"name": "look", "description": "Looks.", "handler": lambda: None, **fields})
    MeshConnector(agent, **CREDENTIALS)


class Desk:
    def find(self, order_id: str) -> str:
        """Finds."""
        return order_id

    @classmethod
    def count(cls, order_id: str) -> int:
        """Counts."""
        return len(order_id)


def in_a_class_body() -> None:
    agent = desk()

    class Shelf:
        @agent.capability
        def find(self, order_id: str) -> str:
            """Finds."""
            return order_id


def forwarding(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        """Calls."""
        return function(*args, **kwargs)

    return call


async def ask_issuer() -> str:
    return "x"


def takes_complex(x: complex) -> None:
    pass


async def watch(event: svantic.Event) -> None:
    pass


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no agent": (
        lambda: MeshConnector("desk", **CREDENTIALS),  # type: ignore[arg-type]
        TypeError,
        r"^agent is 'desk', and must be a svantic\.Agent$",
    ),
    "a coroutine function for the synchronous face": (
        lambda: MeshConnector(desk(), token_provider=ask_issuer),
        TypeError,
        r"^token_provider is a coroutine function, which svantic\.aio\.MeshConnector takes",
    ),
    "a text for a flag": (
        lambda: MeshConnector(desk(), **CREDENTIALS, redact_handler_errors="no"),  # type: ignore[arg-type]
        TypeError,
        r"^redact_handler_errors is 'no', and must be True or False$",
    ),
    "an option that is not JSON": (
        lambda: MeshConnector(desk(), **CREDENTIALS, dispatch_auth=object()),  # type: ignore[arg-type]
        TypeError,
        r"^`dispatch_auth` is not JSON: object is not JSON$",
    ),
    "a field of the agent that is not JSON": (
        lambda: MeshConnector(Agent(name="desk", description="x", context={"since": {1j}}), **CREDENTIALS),
        TypeError,
        r"^`context` is not JSON: complex is not JSON \(at \.since\[0\]\)$",
    ),
    "more than the library takes": (
        lambda: MeshConnector(
            Agent(name="desk", description="x", context={"notes": "n" * 1_050_000}), **CREDENTIALS
        ),
        svantic.InvalidArgumentError,
        r"^the configuration has \d+ bytes of JSON, and the limit is 1048576 ",
    ),
    "a capability that is more than the library takes": (
        lambda: connected_with(description="n" * 1_050_000),
        svantic.InvalidArgumentError,
        r"^the capability has \d+ bytes of JSON, and the limit is 1048576 ",
    ),
    "the token before there is one": (
        lambda: MeshConnector(desk(), **CREDENTIALS).token,
        svantic.InvalidStateError,
        r"^there is no token: .* \[NO_TOKEN\]\. connect, or give a new token$",
    ),
    "a time limit that is no number": (
        lambda: MeshConnector(desk(), **CREDENTIALS).connect("5"),  # type: ignore[arg-type]
        TypeError,
        r"^timeout is '5', and must be a number of seconds, or None$",
    ),
    "a token that is no text": (
        lambda: MeshConnector(desk(), **CREDENTIALS).refresh_token(5),  # type: ignore[arg-type]
        TypeError,
        r"^the token is of type int, and must be a str$",
    ),
    "a session id that is no text": (
        lambda: MeshConnector(desk(), **CREDENTIALS).close_session(5),  # type: ignore[arg-type]
        TypeError,
        r"^the session id is of type int, and must be a str$",
    ),
    "a session id with a NUL": (
        lambda: MeshConnector(desk(), **CREDENTIALS).close_session("x\0y"),
        svantic.InvalidArgumentError,
        r"^the session id holds a NUL",
    ),
    "a callback that is no function": (
        lambda: MeshConnector(desk(), **CREDENTIALS).on_event(5),  # type: ignore[arg-type]
        TypeError,
        r"^the callback is 5, and must be a function that takes an Event$",
    ),
    "a coroutine function as a callback of the synchronous face": (
        lambda: MeshConnector(desk(), **CREDENTIALS).on_event(watch),
        TypeError,
        r"^the callback is a coroutine function, which svantic\.aio\.MeshConnector takes",
    ),
    "no function for the asyncio face": (
        lambda: svantic.aio.MeshConnector(desk(), **CREDENTIALS).on_event(5),  # type: ignore[arg-type]
        TypeError,
        r"^the callback is 5, and must be a function",
    ),
    "a name instead of a function": (
        lambda: desk().capability("find_order"),  # type: ignore[type-var]
        TypeError,
        r'^agent\.capability\(\) takes a function, not \'find_order\'; write @agent\.capability\(name="find_order"\)$',
    ),
    "a lambda without a name": (
        lambda: desk().capability(lambda order_id: order_id),
        ValueError,
        r"^the capability name '<lambda>' is not snake_case .*; give one with name=$",
    ),
    "a method in its class": (
        in_a_class_body,
        TypeError,
        r"takes `self`, which the mesh cannot give: it is a method; register it on an instance, such as "
        r"agent\.capability\(desk\.find\)$",
    ),
    "a method of the class": (
        lambda: desk().capability(Desk.find),
        TypeError,
        r"takes `self`, which the mesh cannot give",
    ),
    "a decorator that hides the signature": (
        lambda: define(handler=forwarding(print)),
        TypeError,
        r"takes \*args, .*; take a list, or \*\*args \(a decorator needs functools\.wraps\)$",
    ),
    "tags that are no texts": (
        lambda: define(tags=[1]),
        TypeError,
        r"^the tags of capability 'look' are \[1\], and must be a list of strings$",
    ),
    "no tags": (
        lambda: define(tags=None),
        TypeError,
        r"^the tags of capability 'look' are None, and must be a list of strings$",
    ),
    "a description of several lines": (
        lambda: define(description="Looks.\nEverywhere."),
        ValueError,
        r"^the description of capability 'look' has a line break or another control character; "
        r"write it in one line$",
    ),
    "a hint without a schema": (
        lambda: define(handler=takes_complex),
        TypeError,
        r"^the parameter `x: complex` of the handler `takes_complex` of capability `look` has no JSON Schema; "
        r"give the capability `parameters=`, a JSON Schema of its arguments$",
    ),
    "a dispatch that is None": (
        lambda: svantic.verify_dispatch_auth(None, instance_id="x", signing_secret="s"),  # type: ignore[arg-type]
        TypeError,
        r"^data is of type NoneType, and must be the data part of the dispatch: a mapping, str or bytes$",
    ),
    "a number for a dispatch": (
        lambda: svantic.verify_dispatch_auth(5, instance_id="x", signing_secret="s"),  # type: ignore[arg-type]
        TypeError,
        r"^data is of type int, and must be",
    ),
    "a secret of bytes": (
        lambda: svantic.verify_dispatch_auth({}, instance_id="x", signing_secret=b"s"),  # type: ignore[arg-type]
        TypeError,
        r"^signing_secret is of type bytes, and must be a str$",
    ),
    "a header that is no text": (
        lambda: svantic.parse_traceparent(b"00-00"),  # type: ignore[arg-type]
        TypeError,
        r"^the header is of type bytes, and must be a str or None$",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_with_the_way_out(case: str) -> None:
    run, kind, text = WRONG[case]
    with pytest.raises(kind, match=text):
        run()


def test_bound_methods_of_an_instance_are_capabilities() -> None:
    agent, instance = desk(), Desk()
    agent.capability(instance.find)
    agent.capability(Desk.count)
    for capability in agent.capabilities.values():
        assert list(capability.parameters["properties"]) == ["order_id"]


def test_a_first_parameter_named_self_with_a_hint_is_an_argument() -> None:
    def look(self: str) -> str:
        return self

    agent = desk()
    agent.define_capability(name="look", description="Looks.", handler=look)
    assert agent.capabilities["look"].parameters["required"] == ["self"]


def test_no_message_names_a_function_of_the_c_interface() -> None:
    for case, (run, kind, _) in WRONG.items():
        with pytest.raises(kind) as failure:
            run()
        assert not re.search(r"svantic_(?!url)|_json|user_data|NULL", str(failure.value)), case


def test_an_agent_shows_what_it_was_given() -> None:
    agent = Agent(name="desk", description="A desk", version="2", instance_id="desk-1")
    assert (agent.agent_type, agent.instance_id, agent.version) == ("desk", "desk-1", "2")
    assert Agent(name="desk", description="x", agent_type="clerk").agent_type == "clerk"
    assert desk().instance_id is None
    assert not hasattr(agent, "identity")


def test_the_hints_of_the_options_can_be_evaluated() -> None:
    hints = typing.get_type_hints(svantic.ConnectorOptions)
    assert hints["timeout_ms"] is int


def test_a_path_is_as_good_as_its_text(tmp_path: Path) -> None:
    with pytest.raises(svantic.InvalidArgumentError, match="no.pem"):
        MeshConnector(desk(), **CREDENTIALS, ca_file=tmp_path / "no.pem")


@pytest.mark.parametrize("name", ["Capability", "DispatchAuth", "Health", "WsTransport"])
def test_what_users_get_instances_of_has_a_public_name(name: str) -> None:
    assert name in svantic.__all__ and isinstance(getattr(svantic, name), type)


def test_a_context_can_be_made_for_a_test_of_a_handler() -> None:
    def greet(name: str, context: Context) -> str:
        return f"{name} of {context.tenant_id}"

    context = Context.for_test(tenant_id="t1", baggage={"k": "v"}, deadline_ms=5_000)
    assert greet("Ann", context) == "Ann of t1"
    assert (context.session_id, context.baggage, context.is_cancelled) == (None, {"k": "v"}, False)
    assert 0 < context.time_left <= 5
    assert context.propagation_headers == {} and context.traceparent is None
    assert Context.for_test(is_cancelled=True).wait_cancelled(0) is True
    assert "test" in repr(context)


def test_a_blocking_connect_on_an_event_loop_warns(gateway: Gateway) -> None:
    async def main() -> None:
        mesh = MeshConnector(desk(), **gateway.options)
        with pytest.warns(
            RuntimeWarning, match=r"connect\(\) blocks .* svantic\.aio\.MeshConnector"
        ) as found:
            mesh.connect()
        mesh.close()
        with found, MeshConnector(desk(), **gateway.options):
            pass
        assert {warning.filename for warning in found} == {__file__}, "the place is the caller's"

    asyncio.run(main())


def test_run_on_an_event_loop_says_what_to_use_instead() -> None:
    agent = desk()

    @agent.capability
    async def look() -> None:
        """Looks."""

    async def main() -> None:
        agent.run(**CREDENTIALS)

    with pytest.raises(RuntimeError, match=r"async with svantic\.aio\.MeshConnector\(agent\)"):
        asyncio.run(main())


def test_a_handler_that_returns_a_coroutine_is_told_to_be_one(gateway: Gateway) -> None:
    agent = desk()
    agent.define_capability(name="look", description="Looks.", handler=lambda: ask_issuer())
    with MeshConnector(agent, **gateway.options) as mesh, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it was never awaited, as the text says
        answer = gateway.dispatch("look", {})
        assert (answer.code, answer.message) == (
            "INVALID_RESULT",
            "the result of capability 'look' is not JSON: it is a coroutine that nobody awaits; "
            "make the handler an async def",
        )
        mesh.disconnect()


def test_run_takes_a_coroutine_function_as_token_provider(gateway: Gateway, run_python: RunPython) -> None:
    program = run_python(
        """
        import os, svantic
        agent = svantic.Agent(name="tested", description="x")
        @agent.capability
        def look() -> int:
            "Looks."
            return 1
        async def provide() -> str:
            return os.environ["JWT"]
        agent.run(token_provider=provide)
        """,
        environment={"SVANTIC_URL": gateway.url, "JWT": gateway.issue_token()},
    )
    gateway.wait_ready()
    assert gateway.dispatch("look", {}).result == 1
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.story()


def test_python_m_svantic_says_what_is_installed(run_python: RunPython, tmp_path: Path) -> None:
    code = "import runpy; runpy.run_module('svantic', run_name='__main__')"
    program = run_python(code)
    assert program.wait() == 0, program.story()
    assert program.stdout.startswith(f"svantic {svantic.__version__}\n"), program.story()
    assert "library   " in program.stdout and "orjson    " in program.stdout, program.story()
    broken = run_python(code, environment={"SVANTIC_LIBRARY": str(tmp_path / "none.so")})
    assert broken.wait() == 1, broken.story()
    assert "none.so" in broken.stderr and "Traceback" not in broken.stderr, broken.story()
