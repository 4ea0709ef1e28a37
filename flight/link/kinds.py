"""The kinds of link that a mission can name in `[[link]] kind`: what both ends agree on, and the node's stack."""

# A kind is one row here and one in ground/link/kinds.py. Nothing else in the node, the station or the mission reader
# names a kind: they see a `Link`, a `GroundLink` and a `DownlinkConfig` (ADR 0028).

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flight.link.aos_stack import AosConfig, AosFlightLink
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import Link
from flight.link.security.link_security import LinkSecurity
from flight.link.tm_tc_stack import FlightLink, LinkConfig


@dataclass(frozen=True, slots=True)
class LinkKind:
    """One row of the table. `stack` takes a config of exactly the class `config`, which no type can say here."""

    config: type[DownlinkConfig]
    stack: Callable[[Any, LinkSecurity | None, int], Link]


LINK_KINDS: Mapping[str, LinkKind] = {
    LinkConfig.kind: LinkKind(LinkConfig, FlightLink),
    AosConfig.kind: LinkKind(AosConfig, AosFlightLink),
}


def open_stack(config: DownlinkConfig, security: LinkSecurity | None = None, index: int = 0) -> Link:
    """Return a new node's end of a link with this config, the mission's link `index` counted from 0.

    `security` may be None only for a link that is clear both ways: nothing protected is ever opened without keys.
    """
    assert security is not None or not config.is_protected, config
    return LINK_KINDS[config.kind].stack(config, security, index)
