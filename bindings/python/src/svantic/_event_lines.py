"""What the log `svantic` says about events: an outage must not be silent in a program that watches no events."""

from __future__ import annotations

import sys
from typing import Any, Callable

from ._log import DEBUG, ERROR, INFO, TRACE, WARNING, say
from .events import Event, EventName

_LEVELS = {"error": ERROR, "warn": WARNING, "info": INFO, "debug": DEBUG, "trace": TRACE}


def _after(data: dict[str, Any]) -> str:
    return f"{data['message']}; attempt {data['attempt'] + 1} follows in {data['delay_ms'] / 1000:.1f} s"


def _connected(data: dict[str, Any]) -> str:
    resumed = ", and goes on where it was" if data["resumed"] else ""
    return f"connection {data['connection']} to the mesh is open{resumed}"


def _stalled(data: dict[str, Any]) -> str:
    if data["stalled"]:
        return f"a call has waited {data['oldest_ms'] / 1000:.1f} s to be taken: this process is too busy"
    return "calls are taken in time again"


# Not the events of single calls, of which an overload brings thousands: `stats` counts them.
_LINES: dict[str, tuple[int, Callable[[dict[str, Any]], str]]] = {
    EventName.CONNECTED: (INFO, _connected),
    EventName.BACKOFF: (WARNING, _after),
    EventName.AUTH_FAILED: (ERROR, lambda data: f"{data['message']} [{data['code']}]"),
    EventName.TOKEN_EXPIRING: (
        WARNING,
        lambda data: f"the token expires in {data['seconds_left']} s; give a new one with refresh_token(jwt)",
    ),
    EventName.TOKEN_EXPIRED: (
        ERROR,
        lambda data: "the token has expired; give a new one with refresh_token(jwt)",
    ),
    EventName.INSTANCE_FORGOTTEN: (
        WARNING,
        lambda data: "the mesh had lost the registration; it is made again",
    ),
    EventName.SUPERSEDED: (
        ERROR,
        lambda data: "another process has taken this instance id; give each process one of its own",
    ),
    EventName.SESSION_CLOSED: (
        WARNING,
        lambda data: f"session {data['session_id']} has ended: {data['reason']}",
    ),
    EventName.STALLED: (WARNING, _stalled),
    EventName.MISSED: (WARNING, lambda data: f"{data['count']} events were dropped"),
    EventName.FAILED: (ERROR, lambda data: f"given up: {data['message']} [{data['code']}]"),
}


def is_told(event: Event) -> bool:
    """Whether the log takes a line about this event."""
    if event.name == EventName.LOG:
        return True
    found = _LINES.get(event.name)
    if found is None:
        return False
    if found[0] >= WARNING:
        return True
    if "logging" not in sys.modules:  # nobody has configured it, so it shows no more than warnings
        return False
    import logging  # not from sys.modules: another thread may be in the middle of importing it

    return logging.getLogger("svantic").isEnabledFor(found[0])


def tell(event: Event, agent: str) -> None:
    """Writes it. ``agent`` is the agent's name, since one process may have several."""
    if event.name == EventName.LOG:
        level, text = _LEVELS.get(event.data.get("level", ""), INFO), str(event.data.get("message", ""))
    else:
        level, line = _LINES[event.name]
        try:
            text = line(event.data)
        except (KeyError, TypeError):  # a library of another version says it with other fields
            text = f"{event.name} {event.data}"
    say(level, f"agent {agent}: {text}")
