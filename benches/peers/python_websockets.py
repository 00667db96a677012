"""What a Python program does without this library: `python_websockets.py PORT`, on asyncio, websockets and json.

It answers, and keeps no promise besides: no token, no registration, no reconnect, no answer twice over a lost connection.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from datetime import datetime, timezone
from typing import Any

from websockets.asyncio.client import connect


async def echo(args: Any, context: Any) -> Any:
    return args


HANDLERS = {"echo": echo}


def frame(kind: str, payload: Any, in_reply_to: str | None = None) -> str:
    ts = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = {"v": 1, "type": kind, "id": str(uuid.uuid4()), "ts": ts, "payload": payload}
    if in_reply_to is not None:
        made["in_reply_to"] = in_reply_to
    return json.dumps(made)


async def main() -> None:
    url = f"ws://127.0.0.1:{sys.argv[1]}/agents/connect?instance_id=python"
    headers = {"Authorization": "Bearer bench"}
    async with connect(url, subprotocols=["svantic.v1"], additional_headers=headers, max_size=None) as socket:
        hello = {"instance_id": "python", "agent_type": "bench", "agent_version": "1.0.0"}
        await socket.send(frame("hello", hello | {"sdk_version": "websockets", "agent_card": {}}))
        async for message in socket:
            received = json.loads(message)
            if received["type"] != "dispatch":
                continue
            asked = received["payload"]
            handler = HANDLERS.get(asked["skill_id"])
            if handler is None:
                await socket.send(frame("error", {"code": "UNKNOWN_SKILL"}, received["id"]))
                continue
            result = await handler(asked["args"], asked["session_context"])
            await socket.send(frame("dispatch_result", {"result": result}, received["id"]))


asyncio.run(main())
