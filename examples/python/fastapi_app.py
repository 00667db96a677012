"""Two agents in one FastAPI process: calls from the mesh and requests over HTTP work on the same data.

    pip install svantic fastapi uvicorn
    uvicorn fastapi_app:app

It takes SVANTIC_URL, SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET. Nothing is connected when this module is
imported: a server that forks its workers would do it in the parent, and a connection does not survive a fork.
With the lifespan each worker connects for itself, under an instance id of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from svantic import Agent, CapabilityError, NotFoundError, SvanticError
from svantic.aio import MeshConnector

orders = Agent(name="order-desk", description="Knows every order")
stock = Agent(name="stock-desk", description="Knows the shelves")

# What a database would hold. Coroutine handlers and routes run on one loop, so it needs no lock.
ORDERS = {"A17": "shipped"}


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


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Both agents are there before the first request, and leave after the last one."""
    async with contextlib.AsyncExitStack() as connected:
        app.state.order_desk = await connected.enter_async_context(MeshConnector(orders))
        app.state.stock_desk = await connected.enter_async_context(MeshConnector(stock))
        yield


app = FastAPI(lifespan=lifespan)


def order_desk(request: Request) -> MeshConnector:
    mesh = request.app.state.order_desk
    assert isinstance(mesh, MeshConnector)
    return mesh


OrderDesk = Annotated[MeshConnector, Depends(order_desk)]


@app.put("/orders/{order_id}")
async def put_order(order_id: str, state: str) -> dict[str, str]:
    """Changes what the mesh is told from now on."""
    ORDERS[order_id] = state
    return {"order_id": order_id, "state": state}


@app.post("/sessions", status_code=201)
async def open_session(user_id: str, mesh: OrderDesk) -> dict[str, str]:
    """Opens a session with the mesh for a user."""
    try:
        # Less patience than the connector's own: somebody waits for the page.
        session_id = await mesh.create_session({"user_id": user_id}, timeout=5)
    except SvanticError as error:
        # `retryable` tells an outage from a refusal. The text names what failed, and never a secret.
        raise HTTPException(503 if error.retryable else 502, str(error)) from error
    return {"session_id": session_id}


@app.delete("/sessions/{session_id}", status_code=204)
async def close_session(session_id: str, mesh: OrderDesk) -> None:
    """Closes it."""
    try:
        await mesh.close_session(session_id, timeout=5)
    except NotFoundError as error:
        raise HTTPException(404, str(error)) from error


@app.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """For a load balancer: whether calls from the mesh can arrive.

    An outage passes by itself and is no reason to restart: a check that kills should look at `health.live`.
    """
    meshes: list[MeshConnector] = [request.app.state.order_desk, request.app.state.stock_desk]
    answer = {mesh.agent.name: mesh.health.reason or "ready" for mesh in meshes}
    if not all(mesh.health.ready for mesh in meshes):
        response.status_code = 503
    return answer
