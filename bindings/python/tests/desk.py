"""The agent of the tests of hosted mode."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from gateway import GUARD_S

from svantic import Agent, CapabilityError, Context

#: Of the gateway's forgeries one of each kind; all of them are in the library's own tests.
FORGERIES = [
    "missing_envelope",
    "malformed_envelope",
    "unsupported_scheme",
    "bad_signature",
    "flipped_bit",
    "alg_none",
    "expired",
    "wrong_issuer",
    "wrong_audience",
    "registration_token",
]


def desk_at(url: str | None, name: str = "desk") -> Agent:
    """An agent that adds, in a thread, on a loop, at once; and fails."""
    agent = Agent(name=name, description="Adds", public_url=url)

    @agent.capability
    def add(a: int, b: int) -> int:
        "Adds in a thread."
        return a + b

    @agent.capability
    async def add_later(a: int, b: int, context: Context) -> dict[str, Any]:
        "Adds on a loop."
        await asyncio.sleep(0)
        return {"sum": a + b, "tenant": context.tenant_id, "who": name}

    @agent.capability(inline=True)
    def add_now(a: int, b: int) -> int:
        "Adds at once."
        return a + b

    @agent.capability
    def fail(how: str) -> None:
        "Fails."
        if how == "declared":
            raise CapabilityError("out of stock", code="NO_STOCK")
        raise ValueError("no such order")

    return agent


class Gate:
    """A handler that waits until it may go on, and counts its runs."""

    def __init__(self, agent: Agent) -> None:
        self.started, self.go_on, self.runs = threading.Semaphore(0), threading.Event(), 0
        agent.define_capability(name="wait", description="Waits", handler=self.wait)

    def wait(self) -> str:
        self.runs += 1
        self.started.release()
        assert self.go_on.wait(GUARD_S)
        return "done"

    def wait_started(self) -> None:
        assert self.started.acquire(timeout=GUARD_S)
