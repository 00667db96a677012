"""An order desk behind a URL of its own: the library serves it. Try it without a mesh: `python hosted.py --local`."""

import os
import sys

from svantic import Agent

url = os.environ.get("PUBLIC_URL")  # what leads here from outside; without one, this machine's own address
agent = Agent(name="order-desk", description="Knows every order", public_url=url)


@agent.capability
def find_order(order_id: str) -> dict[str, str]:
    """Says where an order is."""
    return {"order_id": order_id, "state": "shipped"}


if (
    __name__ == "__main__"
):  # the mesh as in agent.py, and SVANTIC_DISPATCH_SECRET, by which its calls are verified
    agent.run(listen=os.environ.get("LISTEN", "127.0.0.1:8080"), local="--local" in sys.argv)
