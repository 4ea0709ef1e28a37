"""What tests take from the node's end of a link: the octets that leave, and the packets that came."""

from __future__ import annotations

from collections.abc import Sequence

from flight.link.actions import LinkAction, PacketReceived, SendUnit
from flight.link.link import Link
from flight.link.tm_tc_stack import LinkConfig

# A link of kind "tm-tc" whose frames go bare.
BARE = LinkConfig(coding="frame")


def unit_of(link: Link) -> bytes:
    """Return the octets of the link's next unit, which must be its only action."""
    (action,) = link.next_unit()
    assert isinstance(action, SendUnit), action
    return action.octets


def packets_of(actions: Sequence[LinkAction]) -> list[bytes]:
    """Return the packets among the actions."""
    return [action.packet for action in actions if isinstance(action, PacketReceived)]
