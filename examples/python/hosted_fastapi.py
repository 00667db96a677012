"""Two hosted agents in one FastAPI process: the mesh POSTs its calls to the URLs of this application.

    pip install svantic fastapi uvicorn
    PUBLIC_URL=https://agents.example.com uvicorn hosted_fastapi:app

It takes SVANTIC_URL, SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET, and SVANTIC_DISPATCH_SECRET, by which every call is
verified before a handler runs. Without PUBLIC_URL both agents join in connected mode: nothing else has to change.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Response

from svantic import Agent, CapabilityError

PUBLIC_URL = os.environ.get("PUBLIC_URL")

# What a database would hold. Coroutine handlers and routes run on one loop, so it needs no lock.
ORDERS = {"A17": "shipped"}


def url_of(path: str) -> str | None:
    """Where the mesh reaches an agent that is mounted at this path."""
    return f"{PUBLIC_URL}{path}" if PUBLIC_URL else None


orders = Agent(name="order-desk", description="Knows every order", public_url=url_of("/orders-agent"))
stock = Agent(name="stock-desk", description="Knows the shelves", public_url=url_of("/stock-agent"))


@orders.capability
async def find_order(order_id: str) -> dict[str, str]:
    """Says where an order is."""
    if order_id not in ORDERS:
        raise CapabilityError("no such order")
    return {"order_id": order_id, "state": ORDERS[order_id]}


@stock.capability
async def count_items(item: str) -> int:
    """Counts the items on the shelf."""
    return len(item)


# Applications that answer for one agent each: its card, and the calls by POST.
order_desk = orders.asgi()
stock_desk = stock.asgi()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """The lifespan of a mounted application is nobody's but ours to run. With one agent: FastAPI(lifespan=desk.lifespan)."""
    # The agents join the mesh while the server starts, since the mesh asks it for their cards.
    async with order_desk.lifespan(), stock_desk.lifespan():
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/orders-agent", order_desk)
app.mount("/stock-agent", stock_desk)


@app.put("/orders/{order_id}")
async def put_order(order_id: str, state: str) -> dict[str, str]:
    """Changes what the mesh is told from now on."""
    ORDERS[order_id] = state
    return {"order_id": order_id, "state": state}


@app.get("/ready")
async def ready(response: Response) -> dict[str, Any]:
    """For a load balancer: whether calls from the mesh can arrive."""
    answer: dict[str, str] = {}
    for desk in (order_desk, stock_desk):
        if desk.mesh is not None:
            answer[desk.mesh.agent.name] = desk.mesh.health.reason or "ready"
    if set(answer.values()) != {"ready"}:
        response.status_code = 503
    return answer
