"""An order desk behind a URL of its own: the library serves it. Try it without a mesh: `python hosted.py --local`."""

import os
import sys

from svantic import Agent

# PUBLIC_URL is what leads here from outside; without one it is the address below.
agent = Agent("order-desk", "Knows every order", public_url=os.environ.get("PUBLIC_URL"))


@agent.capability
def find_order(order_id: str) -> dict[str, str]:
    """Says where an order is."""
    return {"order_id": order_id, "state": "shipped"}


if __name__ == "__main__":
    # The mesh as in agent.py; calls are verified by SVANTIC_DISPATCH_SECRET.
    agent.run(listen=os.environ.get("LISTEN", "127.0.0.1:8080"), local="--local" in sys.argv)
