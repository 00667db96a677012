"""The official client of A2A 0.3, a2a-sdk 0.3.x: `python_0_3.py URL`."""

import asyncio
import sys
from importlib.metadata import version
from typing import Any

import httpx
from a2a.client import A2ACardResolver, A2AClientHTTPError, Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientJSONRPCError
from a2a.types import Message, Task, TaskQueryParams, TaskState
from check import AT_ONCE, SECRET, Outcome, Run, cases, message_id, outcome_of_data

URL = sys.argv[1]


def message(parts: list[dict[str, Any]]) -> Message:
    kinds = {"data": "data", "text": "text", "url": "file"}
    old = []
    for part in parts:
        ((member, value),) = part.items()
        content = {"file": {"uri": value}} if member == "url" else {member: value}
        old.append({"kind": kinds[member], **content})
    return Message.model_validate(
        {"messageId": message_id(), "role": "user", "contextId": "c-1", "parts": old}
    )


async def outcome(client: Client, wanted: Message) -> Outcome:
    try:
        events = [event async for event in client.send_message(wanted)]
    except (A2AClientJSONRPCError, A2AClientHTTPError) as error:
        return refusal(error)
    (event,) = events
    if isinstance(event, Message):
        answer = event
        assert answer.role.value == "agent"
    else:
        task, _ = event
        assert isinstance(task, Task) and task.status.state == TaskState.failed and task.context_id == "c-1"
        answer = task.status.message
        assert answer is not None and answer.task_id == task.id
    assert answer.context_id == "c-1" and answer.message_id
    found = outcome_of_data(answer.parts[-1].root.data)
    if "failed" in found:
        assert answer.parts[0].root.text == found["failed"]["message"]
    return found


def refusal(error: Exception) -> Outcome:
    if isinstance(error, A2AClientHTTPError):
        return {"http": error.status_code}
    assert error.error.message
    return {"error": error.error.code, **(error.error.data or {})}


async def main() -> None:
    run = Run(f"Python a2a-sdk {version('a2a-sdk')} in A2A 0.3")
    async with httpx.AsyncClient(timeout=60) as http:
        card = await A2ACardResolver(http, URL).get_agent_card()
        assert {skill.id for skill in card.skills} >= {"find_order", "count", "recite"}, card
        assert card.capabilities.streaming and card.protocol_version == "0.3.0", card
        for streaming in (False, True):
            client = ClientFactory(ClientConfig(streaming=streaming, httpx_client=http)).create(card)
            how = "streamed" if streaming else "sent"
            for name, parts, expected in cases():
                await run.expect(
                    f"{name} ({how})", lambda c=client, p=parts: outcome(c, message(p)), expected
                )
            if SECRET is not None:
                find = message([{"data": {"skill_id": "find_order", "args": {"order_id": "A17"}}}])
                await run.expect(f"no secret ({how})", lambda c=client, m=find: outcome(c, m), {"http": 401})
                continue

            async def at_once(client: Client = client) -> list[Outcome]:
                wanted = [
                    message([{"data": {"skill_id": "count", "args": {"n": n}}}]) for n in range(AT_ONCE)
                ]
                return await asyncio.gather(*[outcome(client, each) for each in wanted])

            answers = [{"result": {"next": n + 1}} for n in range(AT_ONCE)]
            await run.expect(f"each has its own answer ({how})", at_once, answers)

        async def get_task() -> Outcome:
            try:
                await client.get_task(TaskQueryParams(id="t-1"))
            except A2AClientJSONRPCError as error:
                return refusal(error)
            return {}

        if SECRET is None:
            await run.expect("no tasks are kept", get_task, {"error": -32001})
    run.end()


asyncio.run(main())
