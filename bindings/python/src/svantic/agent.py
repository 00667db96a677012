"""An agent: who it is and what it can do."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._face import Face
    from ._options import ConnectorOptions
    from ._signature import Signature
    from .asgi import AsgiApp
    from .wsgi import WsgiApp

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Capability:
    """One thing an agent can do. Made by ``@agent.capability`` or ``agent.define_capability``; read only."""

    __slots__ = ("description", "handler", "inline", "name", "signature", "tags")

    name: str
    """The ``skill_id`` that the mesh calls."""
    description: str
    """What it does, for whoever chooses it."""
    tags: tuple[str, ...]
    """Words that the mesh shows with it."""
    handler: Callable[..., Any]
    """The function."""
    inline: bool
    """Whether it runs on the receiving thread or the loop."""
    signature: Signature
    """How it is called."""

    def __init__(
        self,
        name: str,
        description: str,
        parameters: Mapping[str, Any] | None,
        tags: Sequence[str],
        handler: Callable[..., Any],
        inline: bool,
    ) -> None:
        if not isinstance(name, str) or not _NAME.match(name):
            raise ValueError(
                f"the capability name {name!r} is not snake_case (a-z, 0-9 and _, starting with a letter); "
                "give one with name="
            )
        if not callable(handler):
            raise TypeError(f"the handler of capability {name!r} is {handler!r}, and must be a function")
        if not isinstance(description, str) or not description:
            raise ValueError(
                f"capability {name!r} has no description: give its function a docstring, or description="
            )
        if _CONTROL.search(description):
            raise ValueError(
                f"the description of capability {name!r} has a line break or another control character; "
                "write it in one line"
            )
        given: Any = tags  # whatever the hint says
        if isinstance(given, str) or not _is_list_of_texts(given):
            raise TypeError(f"the tags of capability {name!r} are {given!r}, and must be a list of strings")
        # Here, as it is a fifth of the package's import time.
        from ._signature import signature_of

        self.name = name
        self.description = description
        self.tags = tuple(tags)
        self.handler = handler
        self.inline = inline
        self.signature = signature_of(handler, parameters=parameters, capability=name)
        if inline and self.signature.is_coroutine:
            raise TypeError(f"capability {name!r} is a coroutine function, and inline is for plain functions")

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        return self.signature.parameters

    def spec(self) -> dict[str, Any]:
        """What the mesh is told."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "tags": list(self.tags),
        }

    def __repr__(self) -> str:
        return f"<svantic.Capability {self.name}>"


def _is_list_of_texts(given: Any) -> bool:
    return isinstance(given, Iterable) and all(isinstance(item, str) for item in given)


class Agent:
    """Who the agent is and what it can do. Holds no connection: several connectors may serve one.

    ``name`` and ``description`` are for people and for the mesh; ``agent_type`` (default: the name) is the
    type under which the mesh knows it, ``instance_id`` tells this process from others of its type (default:
    ``SVANTIC_INSTANCE_ID``, else ``<hostname>-<port>`` with a ``public_url``, also one that follows from
    ``listen``, else ``<hostname>-<pid>``; where another agent of this process has the same, ``-2`` comes after
    it, and so on). ``context``, ``learning`` and ``mcp_servers`` go to the mesh as they are. Any thread.
    """

    def __init__(
        self,
        name: str,
        description: str,
        *,
        version: str | None = None,
        agent_type: str | None = None,
        instance_id: str | None = None,
        public_url: str | None = None,
        context: Mapping[str, Any] | None = None,
        learning: Mapping[str, Any] | None = None,
        mcp_servers: Mapping[str, Any] | None = None,
        max_concurrent_sessions: int | None = None,
    ) -> None:
        self._identity: dict[str, Any] = {
            "name": name,
            "description": description,
            "version": version,
            "agent_type": agent_type,
            "instance_id": instance_id,
            "public_url": public_url,
            "context": context,
            "learning": learning,
            "mcp_servers": mcp_servers,
            "max_concurrent_sessions": max_concurrent_sessions,
        }
        self._capabilities: dict[str, Capability] = {}
        self._connectors: weakref.WeakSet[Face] = weakref.WeakSet()

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self._identity["name"])

    @property
    def description(self) -> str:
        """What the agent does, in a sentence."""
        return str(self._identity["description"])

    @property
    def version(self) -> str | None:
        """The agent's own version, if it was given."""
        version: str | None = self._identity["version"]
        return version

    @property
    def agent_type(self) -> str:
        """The type under which the mesh knows it: as it was given, else the name."""
        return str(self._identity["agent_type"] or self.name)

    @property
    def instance_id(self) -> str | None:
        """The instance id, if it was given. The one in use is the connector's ``instance_id``."""
        instance_id: str | None = self._identity["instance_id"]
        return instance_id

    @property
    def capabilities(self) -> Mapping[str, Capability]:
        """What it can do, by name. Read only; follows what is defined later."""
        return MappingProxyType(self._capabilities)

    def _configuration(self) -> dict[str, Any]:
        """The part of a connector's configuration that is the agent's."""
        return {key: value for key, value in self._identity.items() if value is not None}

    @overload
    def capability(self, handler: _Handler) -> _Handler: ...

    @overload
    def capability(
        self,
        *,
        name: str | None = ...,
        description: str | None = ...,
        parameters: Mapping[str, Any] | None = ...,
        tags: Sequence[str] = ...,
        inline: bool = ...,
    ) -> Callable[[_Handler], _Handler]: ...

    def capability(
        self,
        handler: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        inline: bool = False,
    ) -> Any:
        """Makes a function something the agent can do. Returns the function unchanged.

        Without arguments, the name is the function's, the description its docstring's first paragraph and the
        parameters its type hints'. ``inline=True`` promises that a plain function returns at once: it then
        runs on the receiving thread (or the loop), which saves a hand-over, and while it runs nothing else is
        received.
        """

        if isinstance(handler, str):
            raise TypeError(
                f"agent.capability() takes a function, not {handler!r}; "
                f'write @agent.capability(name="{handler}")'
            )

        def define(function: _Handler) -> _Handler:
            self.define_capability(
                name=getattr(function, "__name__", "") if name is None else name,
                description=description,
                parameters=parameters,
                tags=tags,
                handler=function,
                inline=inline,
            )
            return function

        return define if handler is None else define(handler)

    def define_capability(
        self,
        *,
        name: str,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        handler: Callable[..., Any],
        inline: bool = False,
    ) -> Capability:
        """Adds a capability. ``parameters`` is a JSON Schema (default: from the handler's type hints).

        Live connectors get it too, and announce it with ``re_register()``. Raises ValueError or TypeError for
        what cannot work, such as a name that is taken, or a handler that cannot take a required property.
        """
        if description is None:
            import inspect  # by now the signatures need it too; importing the package does not

            description = (inspect.getdoc(handler) or "").strip().split("\n\n")[0].replace("\n", " ")
        if name in self._capabilities:
            raise ValueError(f"the agent {self.name!r} has a capability {name!r} already")
        capability = Capability(name, description, parameters, tags, handler, inline)
        live = [connector for connector in list(self._connectors) if connector._takes_capabilities()]
        for connector in live:
            connector._define(capability)
        self._capabilities[name] = capability
        return capability

    def run(self, **options: Unpack[ConnectorOptions]) -> None:
        """Connects, serves until SIGINT or SIGTERM (which let running dispatches finish; a second one ends at
        once), and returns when the agent has left the mesh.

        For the main thread of a program that does nothing else. Raises what :meth:`MeshConnector.connect`
        raises, and what ended the connector if it gave up. With coroutine handlers it is ``asyncio.run`` of
        the asyncio connector.
        """
        from ._run import run

        run(self, options)

    def asgi(self, **options: Unpack[ConnectorOptions]) -> AsgiApp:
        """The agent as an ASGI application, for uvicorn, hypercorn, FastAPI, Starlette and Quart. It answers what the
        mesh, or any A2A client, asks of a hosted agent.

        As an application of its own it connects and disconnects with its server, by an asyncio connector with these
        options. Mounted in another application, that one has to run its ``lifespan``. Opens nothing by itself.
        """
        from .asgi import AsgiApp

        return AsgiApp(self, options)

    def wsgi(self, **options: Unpack[ConnectorOptions]) -> WsgiApp:
        """The agent as a WSGI application, for Flask, Django and their servers; :meth:`asgi` says what it answers.

        WSGI knows no beginning and no end, so a program has to say them: by a ``with`` block around the server, or by
        ``start()`` and ``stop()`` in the server's hooks. Opens nothing by itself.
        """
        from .wsgi import WsgiApp

        return WsgiApp(self, options)

    def _server(self) -> Face | None:
        """A connector that HTTP requests can be handed to."""
        for connector in list(self._connectors):
            if connector._can_serve():
                return connector
        return None

    def _attach(self, connector: Face) -> None:
        """Gives a new connector what is defined by now, and later what will be."""
        for capability in list(self._capabilities.values()):
            connector._define(capability)
        self._connectors.add(connector)

    def __repr__(self) -> str:
        return f"<svantic.Agent {self.name!r}, {len(self._capabilities)} capabilities>"
