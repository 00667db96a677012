"""A real ``svantic-gateway serve`` process and its control face, for tests.

Whatever waits here waits for a condition, with ``GUARD_S`` as the bound after which the test is broken.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

REPOSITORY = Path(__file__).resolve().parents[3]
#: After this long a wait is a failure; generous, because nobody waits for it unless something is broken.
GUARD_S = float(os.environ.get("SVANTIC_TEST_GUARD_S", "60"))
LOOK_AGAIN_S = 0.01

T = TypeVar("T")


def built(name: str) -> Path:
    """A file of ``cargo build``'s debug profile."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    return target / "debug" / name


def binary() -> Path:
    """``SVANTIC_GATEWAY``, else what ``cargo build -p svantic-gateway`` made."""
    return Path(os.environ.get("SVANTIC_GATEWAY") or built("svantic-gateway"))


def library() -> Path:
    """``SVANTIC_LIBRARY``, else what ``cargo build -p svantic --lib`` made."""
    return Path(os.environ.get("SVANTIC_LIBRARY") or built("libsvantic.so"))


def wait_for(condition: Callable[[], T], what: str, guard: float | None = None) -> T:
    """The first true value of ``condition()``; AssertionError that names ``what`` after the guard."""
    deadline = time.monotonic() + (GUARD_S if guard is None else guard)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what} (last seen: {value!r})")
        time.sleep(LOOK_AGAIN_S)


class Answer(NamedTuple):
    """What the mesh heard: a result, or an error's code (None otherwise) and message ("" otherwise)."""

    dispatch_id: str
    result: Any
    code: str | None
    message: str

    @property
    def failed(self) -> bool:
        return self.code is not None


class Refused(Exception):
    """The control face said no: nobody there, no answer in time, a bad request."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class Gateway:
    """One process of the local gateway.

    ``arguments`` are those of ``svantic-gateway serve``; ``faults`` and ``script`` as ``set_faults`` and
    ``set_script`` take them.
    A gateway with ``port=0`` picks a free one and keeps it over ``kill()`` and ``start()``.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        port: int = 0,
        client_secret: str | None = None,
        faults: Mapping[str, Any] | None = None,
        script: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self._arguments = list(arguments)
        self._port = port
        self._client_secret = client_secret
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        if faults:
            self.set_faults(**faults)
        if script:
            self.set_script(*script)

    # The process

    def start(self) -> None:
        """Starts it, or starts it again on its port and with its secret: nothing else is remembered."""
        assert self._process is None, "it runs already"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SVANTIC_")}
        if self._client_secret is not None:
            environment["SVANTIC_GATEWAY_CLIENT_SECRET"] = self._client_secret
        command = [str(binary()), "serve", "--json", "--port", str(self._port), *self._arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], GUARD_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self.kill()
            raise AssertionError(f"the gateway did not start: {' '.join(command)}")
        told = json.loads(line)
        self.url: str = told["url"]
        self.client_id: str = told["client_id"]
        self.client_secret: str = told["client_secret"]
        self._client_secret = self.client_secret
        self._address = urlsplit(self.url)
        self._port = self._address.port or 0

    def stop(self) -> None:
        """Ends it in an orderly way: sockets get 1001."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once: sockets are cut, and what it knew is gone."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stops the process (SIGSTOP): the kernel still takes bytes, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(GUARD_S)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    # What an agent needs

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead an agent here."""
        return {
            "SVANTIC_URL": self.url,
            "SVANTIC_CLIENT_ID": self.client_id,
            "SVANTIC_CLIENT_SECRET": self.client_secret,
        }

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of a connector."""
        return {"svantic_url": self.url, "client_id": self.client_id, "client_secret": self.client_secret}

    def issue_token(self, agent_type: str = "tested") -> str:
        """A token as an agent gets it."""
        body = {"client_id": self.client_id, "client_secret": self.client_secret, "agent_type": agent_type}
        reply = self._request("POST", "/auth/get_token", body)
        token = reply.get("token") or reply.get("access_token")
        assert isinstance(token, str), sorted(reply)
        return token

    # Dispatches

    def dispatch(self, skill: str, args: Any = None, *, timeout: float = GUARD_S, **fields: Any) -> Answer:
        """Sends one dispatch and waits for its answer.

        ``fields`` are those of the control face: ``instance_id``, ``id``, ``session_context``, …
        Raises ``Refused`` when nobody is there (503) or answers in time (504).
        """
        body = {"skill_id": skill, "args": {} if args is None else args, "timeout": timeout, **fields}
        reply = self._control("POST", "dispatch", body, guard=timeout + GUARD_S)
        error = reply.get("error") or {}
        return Answer(reply["dispatch_id"], reply.get("result"), error.get("code"), error.get("message", ""))

    def dispatch_many(
        self, skill: str, args: Any = None, *, count: int, instance_id: str | None = None
    ) -> list[str]:
        """Sends ``count`` dispatches at once, without waiting for answers; their ids."""
        prefix = f"many{next(self._numbers)}"
        step: dict[str, Any] = {"at": 0}
        # One id stays as it is, several are numbered.
        name = prefix if count > 1 else f"{prefix}-1"
        fields = {"skill_id": skill, "args": {} if args is None else args, "id": name, "count": count}
        step["do"] = {"dispatch": fields}
        if instance_id is not None:
            step["instance"] = instance_id
        self.set_script(step)
        return [f"{prefix}-{number}" for number in range(1, count + 1)]

    def answers(self, ids: Sequence[str], guard: float | None = None) -> list[Answer]:
        """The first answers to these dispatches, in this order, once all are there."""
        wanted = set(ids)
        # Counters are cheap to ask for; the ledger is looked at when it may be all there.
        wait_for(lambda: self.answered() >= len(wanted), f"{len(wanted)} answers at all", guard)

        def all_answered() -> list[Answer]:
            entries = {
                entry["id"]: entry for entry in self.ledger() if entry["id"] in wanted and entry["answers"]
            }
            if len(entries) < len(wanted):
                return []
            return [_answer_of(entries[dispatch_id]) for dispatch_id in ids]

        return wait_for(all_answered, f"answers to all of {len(wanted)} dispatches", guard)

    def answered(self) -> int:
        """How many dispatches have an answer."""
        totals = self.totals()
        return int(totals["results"] + totals["errors"])

    # What it saw

    def agents(self) -> list[dict[str, Any]]:
        """All instances that ever registered."""
        return list(self._control("GET", "agents"))

    def agent(self, instance_id: str | None = None) -> dict[str, Any]:
        """One instance; without an id the only one. Empty if there is none."""
        agents = [a for a in self.agents() if instance_id in (None, a["instance_id"])]
        assert len(agents) < 2, "several agents: say which"
        return agents[0] if agents else {}

    def ledger(self) -> list[dict[str, Any]]:
        """Every dispatch with its sendings and answers."""
        return list(self._control("GET", "ledger")["entries"])

    def violations(self) -> list[str]:
        """What agents did against the protocol."""
        return list(self._control("GET", "ledger")["violations"])

    def requests(self) -> list[dict[str, Any]]:
        """Every HTTP request."""
        return list(self._control("GET", "requests"))

    def frames(self, instance_id: str | None = None) -> list[dict[str, Any]]:
        """Every frame of an instance, oldest first: ``at``, ``direction``, ``frame``, ``content``."""
        instance_id = instance_id or self.agent().get("instance_id", "")
        return list(self._control("GET", f"frames?instance_id={quote(instance_id, safe='')}"))

    def heartbeats(self, instance_id: str | None = None) -> list[dict[str, Any]]:
        """The heartbeat frames: ``at`` and ``status``."""
        return [
            {"at": frame["at"], "status": frame["content"]["payload"]["status"]}
            for frame in self.frames(instance_id)
            if isinstance(frame["content"], dict) and frame["content"].get("type") == "heartbeat"
        ]

    def statuses(self, instance_id: str | None = None) -> list[str]:
        """The statuses that heartbeats told, each as long as it held."""
        told: list[str] = []
        for heartbeat in self.heartbeats(instance_id):
            if told[-1:] != [heartbeat["status"]]:
                told.append(heartbeat["status"])
        return told

    def sessions(self) -> list[dict[str, Any]]:
        """Every session."""
        return list(self._control("GET", "sessions"))

    def totals(self) -> dict[str, Any]:
        """The counters."""
        return dict(self._control("GET", "totals"))

    def wait_ready(self, instance_id: str | None = None, *, welcomes: int = 1) -> dict[str, Any]:
        """Waits until the instance has a welcomed socket, its ``welcomes``th or a later one."""

        def ready() -> dict[str, Any]:
            agent = self.agent(instance_id)
            return agent if agent and agent["ready"] and agent["welcomes"] >= welcomes else {}

        return wait_for(ready, f"a welcomed socket of {instance_id or 'the agent'}")

    def wait_gone(self, instance_id: str | None = None) -> dict[str, Any]:
        """Waits until the instance has said goodbye: deregistered, no socket open."""

        def gone() -> dict[str, Any]:
            agent = self.agent(instance_id)
            return agent if agent and not agent["registered"] and not agent["open_sockets"] else {}

        return wait_for(gone, f"the farewell of {instance_id or 'the agent'}")

    # What it does wrong on purpose

    def set_faults(self, **faults: Any) -> None:
        """Replaces all faults (``stall``, ``refuse``, ``drop_every``, ``no_pong``, …); none is none."""
        self._control("POST", "faults", faults)

    def set_script(self, *steps: Mapping[str, Any]) -> None:
        """Replaces the script: ``{"at": SECONDS, "do": …}`` or ``{"on": EVENT, "nth": N, "do": …}``."""
        self._control("POST", "script", list(steps))

    def close(self, instance_id: str, code: int = 1000, reason: str = "") -> None:
        """A close frame to the instance's sockets."""
        self._control("POST", "close", {"instance_id": instance_id, "code": code, "reason": reason})

    def abort(self, instance_id: str) -> None:
        """Resets the instance's sockets."""
        self._control("POST", "abort", {"instance_id": instance_id})

    def forget(self, instance_id: str) -> None:
        """Drops the instance's registration."""
        self._control("POST", "forget", {"instance_id": instance_id})

    def _control(self, method: str, what: str, body: Any = None, guard: float = GUARD_S) -> Any:
        return self._request(method, f"/_gateway/{what}", body, guard)

    def _request(self, method: str, path: str, body: Any = None, guard: float = GUARD_S) -> Any:
        # Not urllib: no proxy of the environment may come between.
        connection = http.client.HTTPConnection(self._address.hostname or "", self._port, timeout=guard)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())
        except socket.timeout as error:
            raise AssertionError(f"the gateway did not answer {method} {path}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Refused(response.status, value)
        return value


def _answer_of(entry: Mapping[str, Any]) -> Answer:
    frame = json.loads(entry["answers"][0]["text"])
    payload = frame["payload"]
    if frame["type"] == "error":
        return Answer(entry["id"], None, payload["code"], payload["message"])
    return Answer(entry["id"], payload.get("result"), None, "")
