"""Operator scripts of spacecraft that fly together: each sends commands that no other script sends."""

from __future__ import annotations

from ground.operator import COMPLETED, Operator

CONTACT_WAIT_S = 600.0


async def pings(operator: Operator) -> None:
    """Send three pings as soon as the node is heard."""
    assert await operator.wait_contact(CONTACT_WAIT_S)
    for _ in range(3):
        assert (await operator.send("ping")).outcome == COMPLETED


async def settings(operator: Operator) -> None:
    """Set a parameter and ask for its report as soon as the node is heard."""
    assert await operator.wait_contact(CONTACT_WAIT_S)
    assert (await operator.send("set_parameters", parameters={"soc_safe_frac": 0.55})).outcome == COMPLETED
    assert (await operator.send("report_parameters", parameters=["soc_safe_frac"])).outcome == COMPLETED
