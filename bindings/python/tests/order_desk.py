"""The smallest agent: what `cargo xtask package python` runs from the installed wheel."""

from __future__ import annotations

from svantic import Agent, CapabilityError

agent = Agent(name="order-desk", description="Knows every order")


@agent.capability
def find_order(order_id: str) -> dict[str, str]:
    """Says where an order is."""
    if order_id != "A17":
        raise CapabilityError("no such order")
    return {"order_id": order_id, "state": "shipped"}


agent.run()
