"""What the clients in Python have in common: the cases, and the comparison."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

CASES = json.loads((Path(__file__).parent.parent / "cases.json").read_text(encoding="utf-8"))
AT_ONCE = 50
SECRET = os.environ.get("A2A_SHARED_SECRET")

Outcome = dict[str, Any]


def cases() -> Iterator[tuple[str, list[dict[str, Any]], Outcome]]:
    """Name, parts and what is expected; with the secret, if the agent wants one."""
    for case in CASES:
        parts = json.loads(json.dumps(case["parts"]))
        if SECRET is not None:
            if not any("data" in part for part in parts):
                continue
            for part in parts:
                if "data" in part:
                    part["data"]["svantic_auth"] = {"scheme": "shared_secret", "token": SECRET}
        yield case["name"], parts, case["expect"]


def message_id() -> str:
    return f"m-{uuid4()}"


def outcome_of_data(data: Any) -> Outcome:
    """The data part of an answer, whose members are the names of outcomes."""
    ((name, value),) = data.items()
    return {"failed" if name == "error" else name: value}


class Run:
    """One client against one agent: every case is played, then it says how many there were."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.played = 0
        self.failed = 0

    async def expect(self, name: str, play: Callable[[], Awaitable[Any]], expected: Any) -> None:
        self.played += 1
        try:
            seen = await asyncio.wait_for(play(), 60)
        except Exception as error:  # whatever a client raises that nobody has thought of
            seen = f"{type(error).__name__}: {error}"
        if seen != expected:
            self.failed += 1
            print(f"FAILED  {self.client}: {name}\n  expected {expected}\n  seen     {seen}")

    def end(self) -> None:
        print(f"{self.client}: {self.played - self.failed} of {self.played} passed")
        sys.exit(1 if self.failed or not self.played else 0)
