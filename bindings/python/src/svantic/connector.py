"""The synchronous connector: an agent's place in the mesh for programs with threads."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ._crew import LOOK_AGAIN_SECONDS, Crew
from ._event_thread import EventThread
from ._face import ConnectorState, Face, Health, WsTransport, check_callback
from ._log import CRITICAL, ERROR, say
from ._mesh import NOTHING
from ._session import CLOSED, FAILED, LAST_ITEMS_SECONDS, Session, milliseconds
from .errors import InvalidStateError, SvanticError, TimeoutError, WouldDeadlockError
from .events import Event, EventName, EventStream

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ._coroutines import LoopThread
    from ._options import ConnectorOptions
    from ._serving import Work
    from .agent import Agent

__all__ = ["ConnectorState", "Health", "MeshConnector", "WsTransport"]

_PULL_MS = 60_000


class _Outcome:
    """The outcome of one operation. Waits on a lock, which Ctrl-C interrupts and a signal handler cannot
    deadlock."""

    __slots__ = ("_gate", "error", "result")

    def __init__(self) -> None:
        self._gate = _thread.allocate_lock()
        self._gate.acquire()
        self.result: Any = None
        self.error: SvanticError | None = None

    def settle(self, result: Any, error: SvanticError | None) -> None:
        self.result, self.error = result, error
        self._gate.release()

    def wait(self) -> Any:
        self._gate.acquire()
        if self.error is not None:
            raise self.error
        return self.result


class _Receiver:
    """The threads behind one session: the one that takes items, the crew, the event thread, the loop
    thread."""

    def __init__(
        self, session: Session, token_provider: Callable[[], str] | None, max_workers: int | None
    ) -> None:
        self.session = session
        self.crew = Crew(session.serving, max_workers)
        self.events = EventThread(session)
        self.finished = threading.Event()
        self._token_provider = token_provider
        self._loop_thread: LoopThread | None = None
        self._waiting: list[Callable[[], None]] = []
        self._guard = threading.Lock()
        self.started = False
        self._ident = 0
        session.give = self._give
        session.on_event = self._on_event
        session.on_end = self._on_end

    def start(self) -> None:
        """Starts to take items, once."""
        with self._guard:
            if self.started:
                return
            threading.Thread(target=self._receive, name="svantic-receive", daemon=True).start()
            self.started = True  # where no thread could be started, the next operation tries again

    def _receive(self) -> None:
        session, crew = self.session, self.crew
        take, next_batch = session.take, session.mesh.next_batch
        soon = round(LOOK_AGAIN_SECONDS * 1000)
        self._ident = threading.get_ident()
        while not session.ended:
            try:
                batch = next_batch(soon if crew.busy else _PULL_MS)
            except SvanticError as error:
                session.fail(error)
                return
            try:
                if batch is None:
                    session.end()
                elif batch is not NOTHING:
                    take(batch)
                if crew.busy:
                    crew.look_again()
            except BaseException as error:
                # An inline handler's SystemExit, which was answered, or a bug: work must go on coming.
                say(CRITICAL, f"the receiving thread: {error!r}", error)

    def check_may_wait(self) -> None:
        """Raises WouldDeadlockError on the thread that takes what others wait for."""
        if self.started and threading.get_ident() == self._ident:
            raise WouldDeadlockError(
                "an inline handler would wait for the thread that it runs on",
                hint="leave out inline=True, or wait on a thread of your own",
            )

    def _give(self, work: list[Work]) -> None:
        if self.session.simple:
            self.crew.give(work)
            return
        plain, coroutines = self.session.serving.apart(work)
        if coroutines:
            try:
                if self._loop_thread is None:
                    from ._coroutines import LoopThread

                    self._loop_thread = LoopThread(self.session.serving)
                self._loop_thread.give(coroutines)
            except RuntimeError as error:  # the system has no more threads, or the interpreter is ending
                self.session.refuse(coroutines, error)
        if plain:
            self.crew.give(plain)

    def _on_event(self, event: Event) -> None:
        provider = self._token_provider
        if event.name == EventName.TOKEN_WANTED and provider is not None:
            threading.Thread(target=give_token, args=(self.session, provider), daemon=True).start()
        self.events.push(event)

    def _on_end(self) -> None:
        try:
            self.crew.end()
            self.events.end()
            if self._loop_thread is not None:
                self._loop_thread.end()
        finally:
            self.finished.set()
            with self._guard:
                waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Calls this, which must not raise, when the session has ended."""
        with self._guard:
            if not self.finished.is_set():
                self._waiting.append(callback)
                return
        callback()


def _warn_on_a_loop() -> None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        import warnings

        # Shown at the caller's line: that of connect(), or of the `with` that led there.
        through_with = sys._getframe(2).f_globals.get("__name__") == __name__
        warnings.warn(
            "MeshConnector.connect() blocks the event loop that runs on this thread; "
            "svantic.aio.MeshConnector does not",
            RuntimeWarning,
            stacklevel=4 if through_with else 3,
        )


def give_token(session: Session, provider: Callable[[], str]) -> None:
    """Asks the application for a token and hands it over. What goes wrong is logged; the library asks
    again."""
    try:
        token = provider()
        if not isinstance(token, str):
            raise NoToken(f"token_provider returned {type(token).__name__}, and must return a str")
        if session.mesh.handle is not None:
            session.mesh.give_token(token)
    except Exception as error:
        tell_token_failure(error)


class NoToken(TypeError):
    """What a token_provider returned is no token."""


def tell_token_failure(error: Exception) -> None:
    """Logs why there is no token."""
    # Without the text of another's error: it may hold what was sent to the issuer.
    text = str(error) if isinstance(error, (SvanticError, NoToken)) else type(error).__name__
    say(ERROR, f"token_provider gave no token: {text}")


class MeshConnector(Face):
    """Connects an agent to the mesh and runs its handlers on threads.

    Options are those of :class:`ConnectorOptions`. A wrong one fails here: TypeError for an unknown name,
    InvalidArgumentError for a wrong value. Opens nothing before :meth:`connect`.

    Any thread may call any method; those that wait can be interrupted by Ctrl-C. Use it in a ``with`` block,
    which connects and disconnects.
    """

    def __init__(self, agent: Agent, **options: Unpack[ConnectorOptions]) -> None:
        super().__init__(agent, options)
        chosen = self._options
        self._receiver = _Receiver(self._session, chosen.token_provider, chosen.max_workers)

    # ---- operations ----

    def connect(self, timeout: float | None = None) -> None:
        """Gets a token, registers the agent and opens the WebSocket; a lost connection then comes back by
        itself.

        ``timeout``: seconds; None is the option ``timeout_ms``. Raises AuthError, RejectedError,
        NetworkError, TlsError, TimeoutError, ProtocolError, InvalidStateError when already connected or
        closed.
        """
        limit = milliseconds(timeout)
        _warn_on_a_loop()
        self._run(lambda tag: self._session.mesh.connect(limit, tag))

    def disconnect(self, timeout: float | None = None) -> None:
        """Lets running dispatches finish for ``timeout`` seconds (None: the option ``drain_timeout_ms``),
        answers the rest with AGENT_SHUTDOWN, and leaves the mesh. Final.

        Raises InvalidStateError when closed or failed, WouldDeadlockError in an inline handler.
        """
        limit = milliseconds(timeout)
        self._run(lambda tag: self._session.mesh.disconnect(limit, tag))

    def re_register(self, timeout: float | None = None) -> None:
        """Announces today's capabilities to the mesh. Raises what :meth:`connect` raises."""
        limit = milliseconds(timeout)
        self._run(lambda tag: self._session.mesh.re_register(limit, tag))

    def refresh_token(self, jwt: str | None = None, timeout: float | None = None) -> None:
        """Replaces the token without a reconnect: by ``jwt``, or by a new one for the credentials.

        With a ``jwt`` it never waits. Raises AuthError for one that is of no use.
        """
        limit = milliseconds(timeout)
        self._session.check_open()
        if jwt is not None:
            self._session.mesh.give_token(jwt)
        else:
            self._run(lambda tag: self._session.mesh.refresh_token(limit, tag))

    def create_session(
        self, options: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> str:
        """Opens a session with the mesh and returns its id. ``options`` are sent along, such as ``{"user_id":
        "u1"}``."""
        limit = milliseconds(timeout)
        reply = self._run(lambda tag: self._session.mesh.create_session(options, limit, tag))
        return str(reply["session_id"])

    def close_session(self, session_id: str, *, timeout: float | None = None) -> None:
        """Closes a session. Raises NotFoundError when the mesh knows no such session."""
        limit = milliseconds(timeout)
        self._run(lambda tag: self._session.mesh.close_session(session_id, limit, tag))

    def close(self) -> None:
        """Disconnects if that is still to be done, and frees everything. May be called again."""
        session = self._session
        if session.mesh.handle is None:
            return
        session.check_open()
        self._receiver.check_may_wait()
        if session.state() not in (CLOSED, FAILED):
            try:
                self.disconnect()
            except InvalidStateError:
                pass  # it has ended meanwhile
        self._finalizer.detach()
        self._receiver.finished.wait(LAST_ITEMS_SECONDS if self._receiver.started else 0)
        session.free()

    def wait_closed(self, timeout: float | None = None) -> None:
        """Waits until the connector has ended: returns after a disconnect, raises what ended it otherwise.

        Raises TimeoutError after ``timeout`` seconds; None waits for as long as it takes.
        """
        if self._session.mesh.handle is not None:
            self._session.check_open()
            self._receiver.check_may_wait()
            self._receiver.start()
            if not self._receiver.finished.wait(timeout):
                raise TimeoutError(f"the connector has not ended within {timeout} s", retryable=True)
        self._session.raise_failure()

    def _run(self, start: Callable[[int], None]) -> Any:
        session = self._session
        session.check_open()
        self._receiver.check_may_wait()
        self._receiver.start()
        outcome = _Outcome()
        tag = session.begin(start, outcome.settle)
        try:
            return outcome.wait()
        except BaseException:
            session.give_up(tag)  # Ctrl-C; nothing is pending after an error
            raise

    def _start(self) -> None:
        self._receiver.start()

    def _begin_connect(self, done: Callable[[], None]) -> Callable[[], Any]:
        """Starts to connect and calls ``done`` when that is over; then the function returned has the
        outcome."""
        outcome = _Outcome()

        def settle(result: Any, error: SvanticError | None) -> None:
            outcome.settle(result, error)
            done()

        self._receiver.start()
        self._session.begin(lambda tag: self._session.mesh.connect(0, tag), settle)
        return outcome.wait

    # ---- events ----

    def on_event(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``callback`` with each event, in order, on one thread of their own. Returns a function that
        ends it.

        An exception in it is logged.
        """
        self._session.check_open()
        check_callback(callback)
        import inspect  # which is slow to import

        if inspect.iscoroutinefunction(callback):
            raise TypeError(
                "the callback is a coroutine function, which svantic.aio.MeshConnector takes; "
                "this one needs a plain function"
            )
        return self._receiver.events.subscribe(callback)

    def events(self) -> EventStream:
        """The events from now on, one after another; ends with the connector."""
        self._session.check_open()
        return self._receiver.events.stream(self._session.check_open)

    def __enter__(self) -> Self:
        if self._options.local:
            self._start()
        else:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session.state() not in (CLOSED, FAILED):
            try:
                self.disconnect()
            except InvalidStateError:
                pass
