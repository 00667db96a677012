"""An echo agent for a load generator: echo_python.py [sync|inline|asyncio|uvloop].

BENCH_URL is where the gateway is, BENCH_CONNS how many agents join it, each over the full connect(): token, register, dial.
Which library is loaded is SVANTIC_LIBRARY's say; orjson is used when it is installed, unless BENCH_JSON=json.
"""

from __future__ import annotations

import os
import sys
from typing import Any

if os.environ.get("BENCH_JSON") == "json":
    sys.modules["orjson"] = None  # type: ignore[assignment]

from svantic import Agent, MeshConnector, aio

mode = sys.argv[1] if len(sys.argv) > 1 else "sync"
connections = int(os.environ.get("BENCH_CONNS", "1"))
schema = {"type": "object"}


def options(number: int) -> dict[str, Any]:
    return {"svantic_url": os.environ["BENCH_URL"], "client_id": "bench", "client_secret": "bench-secret"}


def agent(number: int) -> Agent:
    made = Agent(name="bench", description="Echoes", instance_id=f"bench-{os.getpid()}-{number}")

    def echo(**args: Any) -> Any:
        return args

    async def echo_async(**args: Any) -> Any:
        return args

    handler = echo_async if mode in ("asyncio", "uvloop") else echo
    made.define_capability(
        name="echo", description="Echoes", parameters=schema, handler=handler, inline=mode == "inline"
    )
    return made


def serve() -> None:
    connectors = [MeshConnector(agent(number), **options(number)) for number in range(connections)]
    for connector in connectors:
        connector.connect()
    connectors[0].wait_closed()


async def serve_async() -> None:
    connectors = [aio.MeshConnector(agent(number), **options(number)) for number in range(connections)]
    for connector in connectors:
        await connector.connect()
    await connectors[0].wait_closed()


if mode in ("sync", "inline"):
    serve()
else:
    import asyncio

    if mode == "uvloop":
        import uvloop

        uvloop.run(serve_async())
    else:
        asyncio.run(serve_async())
