"""The harness: a real gateway as a process, programs on any CPython of this machine.

| variable | meaning | default |
|---|---|---|
| ``SVANTIC_GATEWAY`` | the gateway's binary | ``cargo``'s debug build |
| ``SVANTIC_LIBRARY`` | the shared library | ``cargo``'s debug build |
| ``SVANTIC_TEST_PYTHONS`` | the interpreters, joined by ``:`` | those that are found |
| ``SVANTIC_TEST_GUARD_S`` | seconds after which a wait is a failure | 60 |
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import pytest
from gateway import Gateway, binary, library
from interpreters import SOURCE, Program, environment_of
from listeners import SECRET, listener

os.environ["SVANTIC_LIBRARY"] = str(library())
if str(SOURCE) not in sys.path:
    sys.path.insert(0, str(SOURCE))

#: Makes a gateway: ``start_gateway("--server-ping", "0.1", faults={"no_pong": True})``.
StartGateway = Callable[..., Gateway]
#: Runs a program: ``run_python(code_or_path, python=…, environment=…, arguments=…)``.
RunPython = Callable[..., Program]


def pytest_sessionstart() -> None:
    for what, path in (("gateway", binary()), ("library", library())):
        if not path.exists():
            raise pytest.UsageError(
                f"no {what} at {path}: `cargo build -p svantic -p svantic-gateway`, or say where it is"
                " with SVANTIC_GATEWAY and SVANTIC_LIBRARY"
            )


@pytest.fixture(autouse=True)
def no_credentials_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has in their environment must not lead a test anywhere."""
    ours = ("SVANTIC_LIBRARY", "SVANTIC_GATEWAY")
    for name in list(os.environ):
        if name.startswith("SVANTIC_") and name not in ours and not name.startswith("SVANTIC_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def start_gateway() -> Iterator[StartGateway]:
    """Starts gateways with arguments, faults or a script of their own; ends them after the test."""
    started: list[Gateway] = []

    def start(*arguments: str, **options: Any) -> Gateway:
        gateway = Gateway(arguments, **options)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.kill()


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway without faults, of this test's own."""
    return start_gateway()


@pytest.fixture
def signing_gateway(start_gateway: StartGateway) -> Gateway:
    """One that signs what it dispatches."""
    return start_gateway("--dispatch-secret", SECRET)


@pytest.fixture
def at() -> Iterator[tuple[socket.socket, str]]:
    """Where a server will be: its socket and its URL."""
    listening, url = listener()
    yield listening, url
    listening.close()


@pytest.fixture
def run_python(tmp_path: Path) -> Iterator[RunPython]:
    """Runs programs against the package's source, on this or another interpreter; ends what is left of them.

    ``gateway=`` gives the program its credentials.
    """
    started: list[Program] = []
    numbers = itertools.count(1)

    def run(
        code_or_file: str | Path,
        *,
        python: str = sys.executable,
        gateway: Gateway | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        flags: Sequence[str] = (),
    ) -> Program:
        if isinstance(code_or_file, Path):
            file = code_or_file
        else:
            # A file, not -c: multiprocessing's spawn needs one to import.
            file = tmp_path / f"program_{next(numbers)}.py"
            file.write_text(textwrap.dedent(code_or_file), encoding="utf-8")
        extra = {**(gateway.environment if gateway else {}), **(environment or {})}
        command = [python, "-X", "faulthandler", *flags, str(file), *arguments]
        program = Program(command, environment_of(extra), tmp_path)
        started.append(program)
        return program

    yield run
    for program in started:
        program.kill()
        # Shown where the test has failed.
        print(f"{program.process.args!r}: {program.story()}")
