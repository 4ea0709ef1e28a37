"""What tests ask of a node's end of a link: the octets that leave, and the packets that came."""

from __future__ import annotations

from collections.abc import Sequence

from flight.link.actions import LinkAction, PacketReceived, SendUnit
from flight.link.link import Link
from flight.link.stack import LinkConfig

# A link of kind "tm-tc" whose frames go bare.
BARE = LinkConfig(coding="frame")


def unit_of(link: Link) -> bytes:
    """The octets of the link's next unit, which is all that it may ask for."""
    (action,) = link.next_unit()
    assert isinstance(action, SendUnit), action
    return action.octets


def packets_of(actions: Sequence[LinkAction]) -> list[bytes]:
    """The packets among what came."""
    return [action.packet for action in actions if isinstance(action, PacketReceived)]
