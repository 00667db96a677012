"""The asyncio connector: an agent's place in the mesh for programs with an event loop."""

from __future__ import annotations

import _thread
import asyncio
import functools
import inspect
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ._coroutines import Coroutines
from ._crew import LOOK_AGAIN_SECONDS, Crew
from ._event_lines import is_told, tell
from ._event_thread import call, report
from ._face import Face, check_callback
from ._loop_events import EventStream
from ._mesh import NOTHING
from ._session import CLOSED, FAILED, LAST_ITEMS_SECONDS, Session, milliseconds
from .connector import give_token, tell_token_failure
from .errors import InvalidStateError, SvanticError
from .errors import TimeoutError as SvanticTimeoutError
from .events import Event, EventName

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ._options import ConnectorOptions
    from ._serving import Work
    from .agent import Agent

__all__ = ["EventStream", "MeshConnector"]

_LOOP_LOOK_SECONDS = 0.02
_BATCHES_A_TURN = 2
"""What one turn of the loop takes at most, so that its other work goes on; the descriptor stays readable."""


async def _awaited(token: Any) -> Any:
    return await token


class _Receiver:
    """What takes the items of one session on one loop, and runs what they ask for. For that loop's thread."""

    def __init__(
        self, session: Session, token_provider: Callable[[], Any] | None, max_workers: int | None
    ) -> None:
        self.session = session
        self.crew = Crew(session.serving, max_workers)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.callbacks: list[list[Callable[[Event], Any]]] = []
        self.streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self.waiters: set[asyncio.Future[None]] = set()
        self._coroutines: Coroutines | None = None
        self._descriptor = -1
        self._token_provider = token_provider
        self._tasks: set[asyncio.Future[Any]] = set()
        self._looking = False
        session.give = self._give
        session.on_event = self._on_event
        session.on_end = self._on_end
        session.on_abandoned = self._on_abandoned

    def start(self) -> asyncio.AbstractEventLoop:
        """Binds the session to the running loop, once. RuntimeError on another loop."""
        running = asyncio.get_running_loop()
        if self.loop is running:
            return running
        if self.loop is not None:
            raise RuntimeError(
                "this connector belongs to another event loop: an aio.MeshConnector lives on the loop of its "
                "connect(); make one for each loop"
            )
        if self.session.ended:
            return running
        descriptor = self.session.mesh.notify_fd()
        try:
            running.add_reader(descriptor, self._drain)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self.loop = running
        self._coroutines = Coroutines(self.session.serving, running)
        return running

    def _drain(self) -> None:
        session = self.session
        for _ in range(_BATCHES_A_TURN):
            try:
                batch = session.mesh.take_batch()
            except SvanticError as error:
                session.fail(error)
                return
            if batch is None:
                session.end()
            may_be_more = batch is not None and batch is not NOTHING and session.take(batch)
            if session.ended:
                return
            if not may_be_more:
                break  # what comes behind one that is not full shows by the descriptor
        if session.answers:
            session.answers.flush()  # what tasks answered at once; it saves a turn
        if self.crew.busy and not self._looking:
            self._look()

    def _look(self) -> None:
        self._looking = self.crew.busy
        if self._looking and self.loop is not None:
            self.loop.call_later(LOOK_AGAIN_SECONDS, self._look)  # first: the rest may raise
            self.crew.look_again()

    def _give(self, work: list[Work]) -> None:
        if self.session.simple:
            self.crew.give(work)
            return
        plain, coroutines = self.session.serving.apart(work)
        if plain:
            self.crew.give(plain)
        if coroutines and self._coroutines is not None:
            self._coroutines.start(coroutines)

    def _on_event(self, event: Event) -> None:
        if is_told(event):
            tell(event, self.session.agent_name)
        if event.name == EventName.TOKEN_WANTED and self._token_provider is not None:
            self._want_token(self._token_provider)
        for stream in list(self.streams):
            stream.queue.push(event)
        for (callback,) in self.callbacks:
            outcome = call(callback, event)
            if inspect.isawaitable(outcome):
                self._keep(asyncio.ensure_future(outcome), functools.partial(report, event))

    def _want_token(self, provider: Callable[[], Any]) -> None:
        if inspect.iscoroutinefunction(provider):

            async def give() -> None:
                try:
                    token = await provider()
                    if self.session.mesh.handle is not None:
                        self.session.mesh.give_token(token)
                except Exception as error:
                    tell_token_failure(error)

            self._keep(asyncio.ensure_future(give()), lambda error: None)
        else:
            loop = asyncio.get_running_loop()

            def ask() -> Any:  # a function may hand out what is to be awaited, such as a lambda
                token = provider()
                if not inspect.isawaitable(token):
                    return token
                return asyncio.run_coroutine_threadsafe(_awaited(token), loop).result()

            threading.Thread(target=give_token, args=(self.session, ask), daemon=True).start()

    def _keep(self, task: asyncio.Future[Any], failed: Callable[[BaseException], None]) -> None:
        def done(task: asyncio.Future[Any]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                failed(error)

        self._tasks.add(task)
        task.add_done_callback(done)

    def _on_end(self) -> None:
        try:
            self.release()
        finally:
            self.crew.end()
        if self._coroutines is not None:
            self._coroutines.cancel_all()
        for stream in list(self.streams):
            stream.close()
        for waiter in list(self.waiters):
            if not waiter.done():
                waiter.set_result(None)

    async def wait_end(self, timeout: float | None) -> bool:
        """Waits until the last item has been taken; ``False`` when that takes too long."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, timeout)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            self.waiters.discard(waiter)

    def _on_abandoned(self) -> None:
        if self._descriptor < 0:
            return  # it was never on a loop, or is off it again
        # A finalizer must not wait, and may interrupt anything: no Thread, whose start() takes locks.
        try:
            _thread.start_new_thread(self._take_rest, ())
        except RuntimeError:
            pass  # the interpreter is ending, which ends everything

    def _take_rest(self) -> None:
        session, loop = self.session, self.loop
        # A loop that runs takes the rest itself, unless it closes before that: nobody is told of it.
        while loop is not None and not loop.is_closed() and not session.ended:
            time.sleep(_LOOP_LOOK_SECONDS)
        while not session.ended:
            try:
                batch = session.mesh.next_batch(60_000)
            except SvanticError:
                batch = None
            if batch is None:  # what was left is taken by nobody, the end behind it included
                session.end()

    def release(self) -> None:
        """Lets go of the loop's reader and the descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self.loop is not None and not self.loop.is_closed():
                self.loop.remove_reader(descriptor)
            os.close(descriptor)


class MeshConnector(Face):
    """Connects an agent to the mesh and runs its coroutine handlers on the event loop, plain ones on threads.

    Options are those of :class:`svantic.ConnectorOptions`; ``token_provider`` may be a coroutine function.
    The connector belongs to the loop of its first awaited call; use from another raises RuntimeError. All
    methods are for that loop's thread, properties for any. Use it in an ``async with`` block, which connects
    and disconnects.

    Cancelling an awaited call ends that operation.
    """

    _HAS_LOOP = True

    def __init__(self, agent: Agent, **options: Unpack[ConnectorOptions]) -> None:
        super().__init__(agent, options)
        chosen = self._options
        self._receiver = _Receiver(self._session, chosen.token_provider, chosen.max_workers)

    # ---- operations ----

    async def connect(self, timeout: float | None = None) -> None:
        """Gets a token, registers the agent and opens the WebSocket; a lost connection then comes back by
        itself.

        ``timeout``: seconds; None is the option ``timeout_ms``. Raises AuthError, RejectedError,
        NetworkError, TlsError, TimeoutError, ProtocolError, InvalidStateError when already connected or
        closed.
        """
        limit = milliseconds(timeout)
        await self._run(lambda tag: self._session.mesh.connect(limit, tag))

    async def disconnect(self, timeout: float | None = None) -> None:
        """Lets running dispatches finish for ``timeout`` seconds (None: the option ``drain_timeout_ms``),
        answers the rest with AGENT_SHUTDOWN, and leaves the mesh. Final.

        Raises InvalidStateError when closed or failed.
        """
        limit = milliseconds(timeout)
        await self._run(lambda tag: self._session.mesh.disconnect(limit, tag))

    async def re_register(self, timeout: float | None = None) -> None:
        """Announces today's capabilities to the mesh. Raises what :meth:`connect` raises."""
        limit = milliseconds(timeout)
        await self._run(lambda tag: self._session.mesh.re_register(limit, tag))

    async def refresh_token(self, jwt: str | None = None, timeout: float | None = None) -> None:
        """Replaces the token without a reconnect: by ``jwt``, or by a new one for the credentials.

        With a ``jwt`` it never waits. Raises AuthError for one that is of no use.
        """
        limit = milliseconds(timeout)
        self._session.check_open()
        if jwt is not None:
            self._session.mesh.give_token(jwt)
        else:
            await self._run(lambda tag: self._session.mesh.refresh_token(limit, tag))

    async def create_session(
        self, options: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> str:
        """Opens a session with the mesh and returns its id. ``options`` are sent along, such as ``{"user_id":
        "u1"}``."""
        limit = milliseconds(timeout)
        reply = await self._run(lambda tag: self._session.mesh.create_session(options, limit, tag))
        return str(reply["session_id"])

    async def close_session(self, session_id: str, *, timeout: float | None = None) -> None:
        """Closes a session. Raises NotFoundError when the mesh knows no such session."""
        limit = milliseconds(timeout)
        await self._run(lambda tag: self._session.mesh.close_session(session_id, limit, tag))

    async def close(self) -> None:
        """Disconnects if that is still to be done, and frees everything. May be called again."""
        session = self._session
        if session.mesh.handle is None:
            return
        session.check_open()
        if session.state() not in (CLOSED, FAILED):
            try:
                await self.disconnect()
            except InvalidStateError:
                pass  # it has ended meanwhile
        if self._receiver.loop is not None and not session.ended:
            await self._receiver.wait_end(LAST_ITEMS_SECONDS)
        if session.mesh.handle is None:
            return
        self._finalizer.detach()
        self._receiver.release()
        session.free()
        session.end()

    async def wait_closed(self, timeout: float | None = None) -> None:
        """Waits until the connector has ended: returns after a disconnect, raises what ended it otherwise.

        Raises TimeoutError after ``timeout`` seconds; None waits for as long as it takes.
        """
        session = self._session
        if session.mesh.handle is not None and not session.ended:
            session.check_open()
            self._receiver.start()
            if not await self._receiver.wait_end(timeout):
                raise SvanticTimeoutError(f"the connector has not ended within {timeout} s", retryable=True)
        session.raise_failure()

    def _start(self) -> None:
        if self._receiver.loop is None:
            self._receiver.start()

    def _can_serve(self) -> bool:
        loop = self._receiver.loop
        return (loop is None or not loop.is_closed()) and super()._can_serve()

    async def _run(self, start: Callable[[int], None]) -> Any:
        session = self._session
        session.check_open()
        future: asyncio.Future[Any] = self._receiver.start().create_future()

        def settle(result: Any, error: SvanticError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        tag = session.begin(start, settle)
        try:
            return await future
        except BaseException:  # cancelled, or closed with its loop; nothing is pending after an error
            session.give_up(tag)
            raise

    # ---- events ----

    def on_event(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``callback``, which may be a coroutine function, with each event on the loop, in order.

        Returns a function that ends it. An exception in it is logged.
        """
        self._session.check_open()
        check_callback(callback)
        receiver = self._receiver
        entry: list[Callable[[Event], Any]] = [callback]
        receiver.callbacks = [*receiver.callbacks, entry]

        def unsubscribe() -> None:
            receiver.callbacks = [kept for kept in receiver.callbacks if kept is not entry]

        return unsubscribe

    def events(self) -> EventStream:
        """The events from now on, for ``async for``; ends with the connector."""
        self._session.check_open()
        stream = EventStream()
        self._receiver.streams.add(stream)
        if self._session.ended:
            stream.close()
        return stream

    async def __aenter__(self) -> Self:
        try:
            if self._options.local:
                self._start()
            else:
                await self.connect()
        except BaseException:
            self._leave_unentered()
            raise
        return self

    def _leave_unentered(self) -> None:
        """Of an ``async with`` that was cancelled when it had just connected, nobody would disconnect."""
        session = self._session
        try:
            if session.mesh.handle is not None and session.mesh.connected():
                session.mesh.disconnect(0, 0)
        except SvanticError:
            pass  # it has ended meanwhile

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session.state() not in (CLOSED, FAILED):
            try:
                await self.disconnect()
            except InvalidStateError:
                pass
