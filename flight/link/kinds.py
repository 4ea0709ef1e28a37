"""The kinds of link that a mission can name in `[[link]] kind`: what both ends agree on, and the node's stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flight.link.aos_stack import AosConfig, AosFlightLink
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import Link
from flight.link.stack import FlightLink, LinkConfig


@dataclass(frozen=True, slots=True)
class LinkKind:
    """One row of the table. `stack` takes a `config` of just this class."""

    config: type[DownlinkConfig]
    stack: Callable[[Any], Link]


LINK_KINDS: Mapping[str, LinkKind] = {
    LinkConfig.kind: LinkKind(LinkConfig, FlightLink),
    AosConfig.kind: LinkKind(AosConfig, AosFlightLink),
}


def open_stack(config: DownlinkConfig) -> Link:
    """The node's end of a link with this config."""
    return LINK_KINDS[config.kind].stack(config)
