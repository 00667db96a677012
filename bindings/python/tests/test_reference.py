"""`docs/reference.md` has every name that a user may use: a new one without a line there fails here."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import svantic
import svantic.aio
from svantic import ConnectorOptions, ConnectorState, SvanticError, errors, events
from svantic.agent import Capability
from svantic.asgi import AsgiApp
from svantic.connector import Health, WsTransport
from svantic.wsgi import WsgiApp

REFERENCE = (Path(__file__).resolve().parents[1] / "docs" / "reference.md").read_text(encoding="utf-8")


PAGE = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading of the second level."""
    parts = re.split(r"^## (.+)$", REFERENCE, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    assert title in sections, f"docs/reference.md has no section {title!r}"
    return str(sections[title])


def rows(title: str) -> list[list[str]]:
    """The cells of the tables under a heading, without their head rows."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    table = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line, after in zip(lines, [*lines[1:], ""])
        if not set(line) <= set("|-: ") and not (after and set(after) <= set("|-: "))
    ]
    assert table, f"no table under {title!r}"
    return table


def names_in(text: str) -> set[str]:
    """The names that stand in code quotes."""
    # A fence is three quotes, after which inside and outside would be mixed up.
    quoted = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return {name for part in quoted for name in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", part)}


def first_cells(title: str) -> set[str]:
    return {name for row in rows(title) for name in names_in(row[0])}


def public_members(cls: type) -> set[str]:
    """What a class shows: its own names and those of our bases."""
    return {
        name
        for base in cls.__mro__
        if base.__module__.partition(".")[0] == "svantic"
        for name in vars(base)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("name", sorted(svantic.__all__))
def test_every_public_name_is_described(name: str) -> None:
    assert name in names_in(REFERENCE), f"docs/reference.md does not mention svantic.{name}"


@pytest.mark.parametrize(
    "cls", [svantic.MeshConnector, svantic.aio.MeshConnector], ids=["synchronous", "asyncio"]
)
def test_every_method_and_property_of_both_connectors_is_described(cls: type) -> None:
    missing = public_members(cls) - first_cells("MeshConnector")
    assert not missing, f"docs/reference.md has no row for {cls.__module__}.MeshConnector.{sorted(missing)}"


def test_both_connectors_have_the_same_names() -> None:
    assert public_members(svantic.MeshConnector) == public_members(svantic.aio.MeshConnector)


def test_every_method_and_property_of_an_agent_is_described() -> None:
    arguments = set(inspect.signature(svantic.Agent.__init__).parameters) - {"self"}
    described = first_cells("Agent")
    assert arguments <= described, sorted(arguments - described)
    assert public_members(svantic.Agent) <= described, sorted(public_members(svantic.Agent) - described)


def test_every_property_of_a_context_is_described() -> None:
    missing = public_members(svantic.Context) - first_cells("Context")
    assert not missing, f"docs/reference.md has no row for Context.{sorted(missing)}"


@pytest.mark.parametrize("cls", [Health, WsTransport, Capability])
def test_every_field_of_what_a_property_returns_is_described(cls: type) -> None:
    section_of = {Health: "MeshConnector", WsTransport: "MeshConnector", Capability: "Agent"}
    described = names_in(section(section_of[cls]))
    missing = ({cls.__name__} | public_members(cls)) - described
    assert not missing, f"docs/reference.md does not describe {cls.__name__}.{sorted(missing)}"


@pytest.mark.parametrize("cls", [AsgiApp, WsgiApp])
def test_every_member_of_an_application_is_described(cls: type) -> None:
    described = first_cells("Hosted")
    missing = ({cls.__name__} | public_members(cls)) - names_in(section("Hosted"))
    assert not missing and public_members(cls) <= described, sorted(public_members(cls) - described)


def test_every_option_has_a_row_and_every_row_is_an_option() -> None:
    options = set(ConnectorOptions.__annotations__)
    assert len(options) > 20
    assert first_cells("Options") == options


def test_every_state_has_its_row() -> None:
    described = {(int(row[0]), row[1].strip("`")) for row in rows("States")}
    assert described == {(int(state), state.name) for state in ConnectorState}


def test_every_event_has_its_row() -> None:
    names = {value for name, value in vars(events.EventName).items() if not name.startswith("_")}
    assert {row[0].strip("`") for row in rows("Events")} == names


def test_every_event_has_the_number_of_the_header() -> None:
    header = (Path(__file__).resolve().parents[3] / "include" / "svantic.h").read_text(encoding="utf-8")
    numbers = {
        name.lower(): int(number) for name, number in re.findall(r"SVANTIC_EVENT_(\w+) = (\d+)", header)
    }
    assert {row[0].strip("`"): int(row[1]) for row in rows("Events")} == numbers


def test_every_error_class_has_its_row_with_its_status_and_its_bases() -> None:
    classes = {
        cls.__name__: cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, SvanticError) and cls not in (SvanticError, errors.DispatchAuthVerifyError)
    }
    # The first table of the section has the attributes, the second the classes.
    described = {row[0].strip("`"): row for row in rows("Errors") if row[0].strip("`")[0].isupper()}
    assert set(described) == set(classes)
    for name, cls in classes.items():
        status, base = int(described[name][1]), described[name][2].strip("`").rpartition(".")[2]
        assert cls("x").status == status, name
        bases = {parent.__name__ for parent in cls.__mro__[1:]}
        assert not base or base in bases, f"{name} is not a {base}"
        assert base or not bases & {"ValueError", "RuntimeError", "LookupError", "OSError"}, name


def test_every_attribute_of_an_error_is_described() -> None:
    attributes = {name for name in vars(SvanticError("x")) if not name.startswith("_")}
    assert attributes <= first_cells("Errors"), sorted(attributes - first_cells("Errors"))


def test_the_code_of_the_front_page_is_python_and_its_handlers_are_capabilities() -> None:
    listings = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(listings) >= 5
    for listing in listings:
        compile(listing, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    (handlers,) = [listing for listing in listings if "class Evening" in listing]
    names: dict[str, Any] = {"__name__": "front_page"}
    exec(compile(handlers, "README.md", "exec", dont_inherit=True), names)
    capability = names["agent"].capabilities["plan_evening"]
    assert (capability.description, capability.tags) == ("Plans an evening.", ("travel",))
    mood = capability.parameters["properties"]["mood"]
    assert (mood["enum"], mood["description"]) == (["quiet", "lively"], "How loud it may be.")
    assert capability.parameters["required"] == ["city"]
