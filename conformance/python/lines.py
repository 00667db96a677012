"""What the driver prints, in the order in which the library said it.

The package delivers events and the ends of operations on different threads, as its users want them. The library hands
them out in one order, which is part of what the scenarios expect, so that a line waits here for those before it: for
every item that the library handed out, the package has to deliver what became of it, or the driver does not end well.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from typing import Any

#: ("event", its number) or ("done", the number of its command).
Key = tuple[str, int]


class Lines:
    """The lines of the driver. Any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._expected: deque[Key] = deque()
        self._waiting: dict[Key, dict[str, Any]] = {}
        self._is_over = False

    def print_now(self, line: dict[str, Any]) -> None:
        """For what has no place in the library's order: the lines of handlers."""
        with self._changed:
            self._print(line)

    def expect(self, key: Key) -> None:
        """The library has handed this out."""
        with self._changed:
            self._expected.append(key)
            self._print_those_in_turn()

    def expect_no_more(self) -> None:
        """The library has handed out its last item. What the package says from now on it says by itself."""
        with self._changed:
            self._is_over = True
            self._expected.extend(key for key in self._waiting if key not in self._expected)
            self._print_those_in_turn()

    def print_in_turn(self, key: Key, line: dict[str, Any]) -> None:
        """The package has delivered this."""
        with self._changed:
            self._waiting[key] = line
            if self._is_over and key not in self._expected:
                self._expected.append(key)
            self._print_those_in_turn()

    def wait_for_all(self, timeout: float) -> bool:
        """Whether everything that the library handed out was delivered, and nothing else."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._expected and not self._waiting, timeout)

    def missing(self) -> str:
        """For people: what was handed out and not delivered, or the other way round."""
        with self._changed:
            return f"handed out and not delivered: {list(self._expected)}; delivered: {self._waiting}"

    def _print_those_in_turn(self) -> None:
        while self._expected and self._expected[0] in self._waiting:
            self._print(self._waiting.pop(self._expected.popleft()))
        self._changed.notify_all()

    @staticmethod
    def _print(line: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
