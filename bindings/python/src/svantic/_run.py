"""``agent.run()``: an agent as a whole program."""

from __future__ import annotations

import _thread
import inspect
import logging
import signal
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


def _serve(agent: Agent, options: Mapping[str, Any]) -> None:
    from .connector import MeshConnector, release

    # A lock and no Event: its release is safe inside a signal handler that interrupts the very wait for it.
    gate = _thread.allocate_lock()
    gate.acquire()
    mesh = MeshConnector(agent, **options)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        release(gate)

    restore = _catch_signals(stop)
    try:
        if mesh._options.local:
            mesh._start()
        else:
            connecting = mesh._begin_connect(lambda: release(gate))
            gate.acquire()
            if not asked:
                connecting()  # raises what it failed with
        if not asked:
            _say_there(mesh)
            mesh._receiver.release_at_end(gate)
            gate.acquire()
        if asked and mesh.state not in (CLOSED, FAILED):
            _say_leaving()
            try:
                mesh.disconnect()
            except InvalidStateError:
                pass
        mesh.wait_closed()
    finally:
        restore()
    mesh.close()


async def _serve_async(agent: Agent, options: Mapping[str, Any]) -> None:
    import asyncio

    from .aio import MeshConnector

    loop = asyncio.get_running_loop()
    mesh = MeshConnector(agent, **options)
    stopping = asyncio.Event()
    # The handler runs between two byte codes of the loop's thread, and wakes it through the loop's own pipe.
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
