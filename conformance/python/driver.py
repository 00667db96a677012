"""The conformance driver of the Python face: conformance/README.md says what a driver is told and what it prints.

Usage: driver.py sync|asyncio CONFIG [NAME:KIND:ARGUMENT ...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Callable

import capabilities
import observed
from lines import Lines

import svantic

#: The keys of the configuration that are the agent's. The others are options of the connector.
OF_AGENT = (
    "name",
    "description",
    "version",
    "agent_type",
    "instance_id",
    "public_url",
    "context",
    "learning",
    "mcp_servers",
    "max_concurrent_sessions",
)

#: How long what the library has handed out may take to be delivered, in seconds. Less than the runner's patience, so that
#: what is missing is still told.
GUARD = 20.0


class Driver:
    """What both deliveries have in common: the agent, its connector, and what is printed of them."""

    def __init__(self, delivery: str, config: str, specifications: Sequence[str]) -> None:
        options: dict[str, Any] = json.loads(config)
        del options["delivery"]  # The library's, which the package decides; here it named the driver's own.
        self.in_loop = delivery == "asyncio"
        self.lines = Lines()
        self.observer = observed.Observer(self.lines, options.get("max_frame_bytes", 4 << 20))
        self.agent = svantic.Agent(**{key: options.pop(key) for key in OF_AGENT if key in options})
        for specification in specifications:
            self.define(specification)
        self.options = options
        self.mesh: Any = None
        self._events = 0

    def open(self, connector: Callable[..., Any]) -> None:
        """Makes the connector, where it is going to be used."""
        self.mesh = connector(self.agent, **self.options)
        self.mesh.on_event(self.print_event)

    def define(self, specification: str) -> None:
        """Adds a capability to the agent, and through it to its connector."""
        capabilities.define(self.agent, self.lines, specification, self.in_loop)

    def operation(self, command: str) -> Callable[[], Any]:
        """The call that a command stands for."""
        mesh = self.mesh
        word, _, argument = command.partition(" ")
        calls: dict[str, Callable[[], Any]] = {
            "connect": mesh.connect,
            "re_register": mesh.re_register,
            "refresh_token": mesh.refresh_token,
            "define": lambda: self.define(argument),
            "create_session": lambda: mesh.create_session(json.loads(argument) if argument else None),
            "close_session": lambda: mesh.close_session(argument),
            "disconnect": lambda: (
                mesh.disconnect(timeout=int(argument) / 1000) if argument else mesh.disconnect()
            ),
        }
        return calls[word]

    def print_event(self, event: svantic.Event) -> None:
        """The callback of on_event."""
        if event.name == "dispatch_cancelled":
            dispatch_id = event.data["dispatch_id"]
            status = self.observer.answer_late(dispatch_id)
            self.lines.print_now({"type": "late", "dispatch_id": dispatch_id, "status": status})
        self._events += 1
        line = {"type": "event", "event": event.code, "name": event.name, "data": event.data}
        self.lines.print_in_turn(("event", self._events), line)

    def print_done(self, command: observed.Command, value: Any, error: svantic.SvanticError | None) -> None:
        """The outcome of a command, as its caller was told."""
        number = command.number
        line: dict[str, Any] = {"type": "done", "tag": number}
        if error is not None:
            fields = ("status", "code", "message", "hint", "http_status", "retryable")
            line.update(status=error.status, error={field: getattr(error, field) for field in fields})
        elif isinstance(value, str):  # Of the mesh's reply the caller is given the session's id.
            line.update(status=0, result={**self.observer.result(number), "session_id": value})
        else:
            line.update(status=0, result=value)
        if command.was_taken:
            self.lines.print_in_turn(("done", number), line)
        else:
            self.lines.print_now(line)


def main(delivery: str, config: str, *specifications: str) -> int:
    """Runs the driver; its exit code."""
    driver = Driver(delivery, config, specifications)
    if driver.in_loop:
        import asyncio

        import in_loop

        asyncio.run(in_loop.drive(driver))
    else:
        import blocking

        blocking.drive(driver)
    if driver.lines.wait_for_all(GUARD):
        return 0
    print(f"driver: {driver.lines.missing()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
