"""A backend that speaks to the mesh with the JWT of its user, and rotates it.

    python forward_token.py hand-over FILE    we hand the library each new token
    python forward_token.py on-demand FILE    the library asks for a token when it needs one

FILE holds the user's JWT and is replaced when there is a new one, as a sidecar or an identity provider's
client does it. No client secret is here: the mesh sees the user's rights, not the backend's. SVANTIC_URL says
where the mesh is.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

from svantic import Agent, Context, Event, EventName, MeshConnector

agent = Agent(name="assistant", description="Acts for one user")


@agent.capability
def draft_reply(subject: str, context: Context) -> dict[str, object]:
    """Drafts a reply in the user's name."""
    # The tenant comes with the call. Never take it from the arguments: those are what somebody typed.
    return {"tenant_id": context.tenant_id, "draft": f"Thank you for writing about {subject}."}


def hand_over(file: Path) -> None:
    """`token=`: the token is ours. The library warns before it expires, and never renews it by itself."""
    jwt = read(file)
    mesh = MeshConnector(agent, token=jwt)

    @mesh.on_event
    def rotate(event: Event) -> None:
        nonlocal jwt
        if event.name in (EventName.TOKEN_EXPIRING, EventName.TOKEN_EXPIRED, EventName.AUTH_FAILED):
            # Taken over in place: an open connection stays, and running calls go on. Once a token has expired
            # or was refused, the connector waits for this: it does not knock again with what is of no use.
            latest = read(file)
            if latest != jwt:
                jwt = latest
                mesh.refresh_token(jwt)
        elif event.name == EventName.TOKEN_REFRESHED:
            print(f"token {event.data['generation']} is in use", flush=True)

    # A web backend calls mesh.refresh_token() where it learns of a new token, such as in its login route.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), mesh:
        mesh.wait_closed()


def on_demand(file: Path) -> None:
    """`token_provider=`: asked at the start, before a token expires, and when the mesh has refused one.

    It runs on a thread of its own and may take `token_provider_timeout_ms`. What it raises counts as "none
    yet": the library asks again after a while.
    """
    agent.run(token_provider=lambda: read(file))


def read(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


if __name__ == "__main__":
    ways = {"hand-over": hand_over, "on-demand": on_demand}
    if len(sys.argv) != 3 or sys.argv[1] not in ways:
        sys.exit(__doc__)
    ways[sys.argv[1]](Path(sys.argv[2]))
