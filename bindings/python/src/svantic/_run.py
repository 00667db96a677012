"""``agent.run()``: an agent as a whole program."""

from __future__ import annotations

import inspect
import logging
import signal
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ._session import CLOSED, FAILED
from .errors import InvalidArgumentError, InvalidStateError

if TYPE_CHECKING:
    from ._face import Face
    from .agent import Agent
    from .aio import MeshConnector as AsyncConnector

_log = logging.getLogger("svantic")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(agent: Agent, options: Mapping[str, Any]) -> None:
    """See ``Agent.run``."""
    if not logging.getLogger().handlers and not _log.handlers:
        logging.basicConfig(level=logging.INFO)
    if options.get("local") and not options.get("listen"):
        raise InvalidArgumentError(
            "agent.run(local=True) would serve nobody",
            hint='say where with listen="127.0.0.1:8080", or give agent.asgi(local=True) to a server',
        )
    coroutines = [capability.signature.is_coroutine for capability in agent.capabilities.values()]
    if any(coroutines) or inspect.iscoroutinefunction(options.get("token_provider")):
        import asyncio

        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "agent.run() is a whole program and cannot run on an event loop that runs already; "
                "use `async with svantic.aio.MeshConnector(agent):`"
            )
        asyncio.run(_serve_async(agent, options))
    else:
        _serve(agent, options)


class _Gate:
    """Where the main thread waits for other threads and for signals.

    A descriptor and no lock: the system may hand a signal to any thread of the process, which wakes whoever waits for a
    descriptor (by ``set_wakeup_fd``), and nobody who waits for a lock.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def knock(self) -> None:
        """Has the conditions looked at again. Any thread, and signal handlers."""
        try:
            self._writer.send(b"\0")
        except OSError:
            pass  # it is full, so somebody has knocked; or it is closed, so nobody waits

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds, which is looked at after each knock and each signal."""
        while not condition():
            self.pass_on()

    def fileno(self) -> int:
        """Readable after a knock and after a signal."""
        return self._reader.fileno()

    def pass_on(self) -> None:
        """Waits until it is readable, and no longer is."""
        self._reader.recv(4096)

    def close(self) -> None:
        if self._is_main:
            signal.set_wakeup_fd(self._before)
        self._writer.close()
        self._reader.close()


def _serve(agent: Agent, options: Mapping[str, Any]) -> None:
    from .connector import MeshConnector

    mesh = MeshConnector(agent, **options)
    receiver = mesh._receiver
    gate = _Gate()
    asked = settled = False

    def stop() -> None:
        nonlocal asked
        asked = True
        gate.knock()

    def settle() -> None:
        nonlocal settled
        settled = True
        gate.knock()

    restore = _catch_signals(stop)
    try:
        if mesh._options.local:
            mesh._start()
        else:
            connecting = mesh._begin_connect(settle)
            gate.wait_for(lambda: settled or asked)
            if not asked:
                connecting()  # raises what it failed with
        if not asked:
            _say_there(mesh)
            receiver.call_at_end(gate.knock)
            gate.wait_for(lambda: asked or receiver.finished.is_set())
        if asked and mesh.state not in (CLOSED, FAILED):
            _say_leaving()
            try:
                mesh.disconnect()
            except InvalidStateError:
                pass
        mesh.wait_closed()
    finally:
        restore()
        gate.close()
    mesh.close()


async def _serve_async(agent: Agent, options: Mapping[str, Any]) -> None:
    import asyncio

    from .aio import MeshConnector

    loop = asyncio.get_running_loop()
    mesh = MeshConnector(agent, **options)
    stopping = asyncio.Event()
    # The handler runs between two byte codes of the loop's thread, which sleeps on when another thread takes the signal.
    gate = _Gate()
    loop.add_reader(gate, gate.pass_on)
    restore = _catch_signals(lambda: loop.call_soon_threadsafe(stopping.set))
    stop = asyncio.ensure_future(stopping.wait())
    try:
        connecting = asyncio.ensure_future(_connect_async(mesh))
        await asyncio.wait({connecting, stop}, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
            _say_there(mesh)
            closed = asyncio.ensure_future(mesh.wait_closed())
            await asyncio.wait({closed, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():
                _say_leaving()
                try:
                    await mesh.disconnect()
                except InvalidStateError:
                    pass  # it has ended meanwhile
            await closed
        else:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
    finally:
        restore()
        loop.remove_reader(gate)
        gate.close()
        stop.cancel()
    await mesh.close()


async def _connect_async(mesh: AsyncConnector) -> None:
    if mesh._options.local:
        mesh._start()
    else:
        await mesh.connect()


def _catch_signals(stop: Callable[[], object]) -> Callable[[], None]:
    """The first SIGINT or SIGTERM calls ``stop``; the next has the effect that it had before."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # signals are the main thread's, and whoever runs that stops this one otherwise
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def caught(number: int, frame: object) -> None:
        restore()
        stop()

    for number in _SIGNALS:
        signal.signal(number, caught)
    return restore


def _say_there(mesh: Face) -> None:
    names = ", ".join(mesh.agent.capabilities) or "no capabilities"
    if mesh._options.local:
        place = "serves without a mesh"
    else:
        place = f"is connected to {mesh.svantic_url} as {mesh.instance_id}"
    if mesh.listening is not None:
        place = f"{place}, listening at {mesh.listening}"
    _log.info("agent %s %s: %s", mesh.agent.name, place, names)


def _say_leaving() -> None:
    _log.info("leaving the mesh; running calls may finish, and a second signal ends at once")
