"""A concierge on the asyncio face: coroutine handlers, a session, and the connector's events.

It takes SVANTIC_URL, SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET. Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from enum import Enum

from svantic import Agent, CapabilityError, Context
from svantic.aio import MeshConnector

agent = Agent(name="concierge", description="Plans evenings")
TABLES = {"Rome": "Da Enzo", "Lisbon": "Taberna"}


class Mood(Enum):
    """Members become an `enum` in the schema; the mesh refuses any other value before the handler runs."""

    QUIET = "quiet"
    LIVELY = "lively"


@dataclass
class Evening:
    """What the handler returns: a dataclass is an object on the wire."""

    table: str
    show: str
    guests: int


@agent.capability
async def plan_evening(city: str, context: Context, mood: Mood = Mood.QUIET, guests: int = 2) -> Evening:
    """Plans an evening: a table and a show."""
    # Both questions are asked at once, and the loop serves other calls meanwhile. When the mesh gives this
    # one up (its deadline has passed, or we are leaving) the task is cancelled, and with it what it awaits.
    table, show = await asyncio.gather(find_table(city, guests), find_show(mood))
    print(f"planned {city} for session {context.session_id}", flush=True)
    return Evening(table, show, guests)


@agent.capability
def print_menu(city: str) -> str:
    """Prints the menu of the table in a city."""
    # A plain function may block: it runs on a thread beside the loop.
    time.sleep(0.01)
    return f"menu of {TABLES.get(city, 'no table')}"


async def find_table(city: str, guests: int) -> str:
    await asyncio.sleep(0)  # stands for a database or an HTTP call
    if city not in TABLES or guests > 8:
        # The mesh sees this text; the text of any other exception too, unless `redact_handler_errors` is set.
        raise CapabilityError(f"no table for {guests} in {city}", code="NO_TABLE")
    return TABLES[city]


async def find_show(mood: Mood) -> str:
    await asyncio.sleep(0)
    return "chamber music" if mood is Mood.QUIET else "a brass band"


async def tell_events(mesh: MeshConnector) -> None:
    # Ends with the connector. Logs are no events here: they go to `logging`, under the name `svantic`.
    async for event in mesh.events():
        print(f"event {event.name} {event.data}", flush=True)


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Without a handler SIGTERM would end the process in the middle of running calls.
        loop.add_signal_handler(number, stop.set)

    mesh = MeshConnector(agent)
    # Subscribed before it connects, so that the first events are told as well.
    telling = asyncio.create_task(tell_events(mesh))
    async with mesh:  # connects, and at the end lets running calls finish
        session_id = await mesh.create_session({"user_id": "u1"})
        print(f"session {session_id}", flush=True)
        # A lost connection comes back by itself. What ends the wait is a signal, or what no retry mends.
        stopping = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(mesh.wait_closed())
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if ended.done():
            ended.result()  # raises why the mesh has refused us for good
        await mesh.close_session(session_id)
    await telling
    await ended


if __name__ == "__main__":
    asyncio.run(main())
