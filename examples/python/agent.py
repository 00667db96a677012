"""An order desk on the Svantic mesh. Ctrl-C or SIGTERM lets running calls finish and ends it."""

from svantic import Agent, CapabilityError

agent = Agent(name="order-desk", description="Knows every order")


@agent.capability
def find_order(order_id: str) -> dict[str, str]:
    """Says where an order is."""
    if order_id != "A17":
        raise CapabilityError("no such order")
    return {"order_id": order_id, "state": "shipped"}


if __name__ == "__main__":
    # Where the mesh is and who we are: SVANTIC_URL, SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET.
    agent.run()
