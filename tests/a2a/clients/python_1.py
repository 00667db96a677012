"""The official client, a2a-sdk 1.x: `python_1.py URL 1.0`, or with 0.3 as it talks to agents of that version."""

import asyncio
import sys
from importlib.metadata import version
from typing import Any

import httpx
from a2a.client import A2ACardResolver, A2AClientError, Client, ClientConfig, ClientFactory
from a2a.types import AgentCard, GetTaskRequest, SendMessageRequest
from a2a.utils.errors import JSON_RPC_ERROR_CODE_MAP, A2AError
from check import AT_ONCE, SECRET, Outcome, Run, cases, message_id, outcome_of_data
from google.protobuf.json_format import MessageToDict, ParseDict

URL, WIRE = sys.argv[1:]


def request(parts: list[dict[str, Any]], **more: Any) -> SendMessageRequest:
    message = {"messageId": message_id(), "role": "ROLE_USER", "contextId": "c-1", "parts": parts}
    return ParseDict({"message": message, **more}, SendMessageRequest())


async def outcome(client: Client, wanted: SendMessageRequest) -> Outcome:
    try:
        events = [event async for event in client.send_message(wanted)]
    except A2AError as error:
        return refusal(error)
    (event,) = events
    if event.HasField("message"):
        answer = event.message
        assert MessageToDict(answer)["role"] == "ROLE_AGENT"
    else:
        assert MessageToDict(event.task)["status"]["state"] == "TASK_STATE_FAILED"
        answer = event.task.status.message
        assert event.task.context_id == "c-1" and event.task.id == answer.task_id
    assert answer.context_id == "c-1" and answer.message_id
    found = outcome_of_data(MessageToDict(answer.parts[-1].data))
    if "failed" in found:
        assert answer.parts[0].text == found["failed"]["message"]
    return found


def refusal(error: A2AError) -> Outcome:
    code = JSON_RPC_ERROR_CODE_MAP.get(type(error))
    if code is None:
        # Of an answer that is not 200 this client shows nothing but the status.
        assert isinstance(error, A2AClientError), error
        return {"http": int("".join(filter(str.isdigit, error.message))[:3])}
    assert error.message
    return {"error": code, **(error.data or {})}


async def main() -> None:
    run = Run(f"Python a2a-sdk {version('a2a-sdk')} in A2A {WIRE}")
    async with httpx.AsyncClient(timeout=60) as http:
        card = await A2ACardResolver(http, URL).get_agent_card()
        assert {skill.id for skill in card.skills} >= {"find_order", "count", "recite"}, card
        assert card.capabilities.streaming, card
        others = [each for each in card.supported_interfaces if each.protocol_version != WIRE]
        assert len(card.supported_interfaces) == 2 and len(others) == 1, card
        if WIRE == "0.3":
            card.supported_interfaces.remove(*others)
        for streaming in (False, True):
            config = ClientConfig(streaming=streaming, httpx_client=http)
            await play(run, ClientFactory(config).create(card), card, "streamed" if streaming else "sent")
    run.end()


async def play(run: Run, client: Client, card: AgentCard, how: str) -> None:
    for name, parts, expected in cases():
        if WIRE == "0.3" and "error" in expected:
            # It hands on `data` of 1.0 only.
            expected = {"error": expected["error"]}
        await run.expect(f"{name} ({how})", lambda p=parts: outcome(client, request(p)), expected)

    async def get_task() -> Outcome:
        try:
            await client.get_task(GetTaskRequest(id="t-1"))
        except A2AError as error:
            return refusal(error)
        return {}

    find = {"skill_id": "find_order", "args": {"order_id": "A17"}}
    if SECRET is not None:
        without = request([{"data": find}])
        await run.expect(f"no secret ({how})", lambda: outcome(client, without), {"http": 401})
        return
    await run.expect(f"no tasks are kept ({how})", get_task, {"error": -32001})

    async def at_once() -> list[Outcome]:
        wanted = [request([{"data": {"skill_id": "count", "args": {"n": n}}}]) for n in range(AT_ONCE)]
        return await asyncio.gather(*[outcome(client, each) for each in wanted])

    await run.expect(
        f"each has its own answer ({how})", at_once, [{"result": {"next": n + 1}} for n in range(AT_ONCE)]
    )
    push = {"taskPushNotificationConfig": {"url": "http://127.0.0.1:9/"}}
    wanted = request([{"data": find}], configuration=push)
    await run.expect(f"nobody is called back ({how})", lambda: outcome(client, wanted), {"error": -32003})


asyncio.run(main())
