"""The CPythons of this machine, and programs that run on one of them as a process of their own."""

from __future__ import annotations

import functools
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from gateway import GUARD_S, library

SOURCE = Path(__file__).resolve().parents[1] / "src"
#: What this package says it runs on.
OLDEST = (3, 9)
NEWEST = (3, 14)
PROBE = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.executable, sep='\\n')"


@functools.cache
def interpreters() -> dict[str, str]:
    """One CPython a minor version, 3.9 to 3.14, as ``{"3.12": path}``.

    Found are the running one, ``python3.9`` to ``python3.14`` on the PATH and those of pyenv; a name that
    does not start (pyenv's shims of versions that are not active) is none. ``SVANTIC_TEST_PYTHONS`` (paths
    joined by ``:``) replaces the search.
    """
    named = os.environ.get("SVANTIC_TEST_PYTHONS")
    candidates: list[str | None]
    if named:
        candidates = list(named.split(os.pathsep))
    else:
        candidates = [sys.executable]
        candidates += [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], NEWEST[1] + 1)]
        root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        candidates += [str(path) for path in sorted(root.glob("versions/3.*/bin/python"))]
    found: dict[str, str] = {}
    for candidate in candidates:
        version = _version(candidate) if candidate else None
        if version and OLDEST <= version[0] <= NEWEST:
            found.setdefault("{}.{}".format(*version[0]), version[1])
    return dict(sorted(found.items(), key=lambda item: int(item[0].split(".")[1])))


def _version(python: str) -> tuple[tuple[int, int], str] | None:
    try:
        told = subprocess.run(
            [python, "-c", PROBE], capture_output=True, text=True, timeout=GUARD_S, check=False
        )
    except OSError:
        return None
    lines = told.stdout.splitlines()
    if told.returncode != 0 or len(lines) != 4 or lines[0] != "cpython":
        return None
    return (int(lines[1]), int(lines[2])), lines[3]


class Ended(Exception):
    """A program ended before it said what was waited for."""


class Program:
    """A Python program in a process of its own, whose lines are read as they come."""

    def __init__(self, command: list[str], environment: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=str(cwd),
            text=True,
            errors="replace",
        )
        #: What it wrote to stdout and stderr so far.
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines, self._coming.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors, None)),
        ]
        for reader in self._readers:
            reader.daemon = True
            reader.start()

    @staticmethod
    def _read(pipe: Any, into: list[str], tell: Callable[[str | None], None] | None) -> None:
        for line in pipe:
            into.append(line.rstrip("\n"))
            if tell:
                tell(into[-1])
        if tell:
            tell(None)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def stdout(self) -> str:
        """All of it so far."""
        return "\n".join(self.lines)

    @property
    def stderr(self) -> str:
        """All of it so far."""
        return "\n".join(self.errors)

    def wait_line(self, start: str, guard: float = GUARD_S) -> str:
        """The next line that begins with ``start``, without that beginning; ``Ended`` if it ends before."""
        deadline = time.monotonic() + guard
        while True:
            try:
                line = self._coming.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError(f"no line {start!r} came\n{self.story()}") from None
            if line is None:
                self.wait(guard)
                raise Ended(f"it ended without a line {start!r}\n{self.story()}")
            if line.startswith(start):
                return line[len(start) :].strip()

    def say(self, line: str) -> None:
        """One line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self, guard: float = GUARD_S) -> int:
        """The exit status, negative for a signal; a program that hangs tells where and fails the test."""
        try:
            self.process.wait(guard)
        except subprocess.TimeoutExpired:
            # faulthandler is on: this writes where every thread is.
            self.process.send_signal(signal.SIGABRT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
            self.kill()
            raise AssertionError(f"it hangs\n{self.story()}") from None
        self._close()
        return self.process.returncode

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            # A grandchild may hold the pipe; what it writes is not waited for.
            reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None and not pipe.closed and not any(r.is_alive() for r in self._readers):
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def story(self) -> str:
        """Everything a person wants to see of a program that did wrong."""
        status = self.process.poll()
        return f"exit status {status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def environment_of(extra: Mapping[str, str]) -> dict[str, str]:
    """Of a program: ours without what would lead it elsewhere, with the package's source and the library."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SVANTIC_", "PYTHON", "COV_")) and not name.lower().endswith("_proxy")
    }
    environment.update(
        PYTHONPATH=str(SOURCE),
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        SVANTIC_LIBRARY=str(library()),
    )
    environment.update(extra)
    return environment
