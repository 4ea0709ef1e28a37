"""The ground's end for each kind of link in flight.link.kinds."""

# One row per kind, as in flight/link/kinds.py; nothing else of the ground names a kind (ADR 0028).

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flight.link.aos_stack import AosConfig
from flight.link.downlink_config import DownlinkConfig
from flight.link.security.link_security import LinkSecurity
from flight.link.tm_tc_stack import LinkConfig
from ground.link.aos_session import AosSession
from ground.link.ground_link import GroundLink
from ground.link.tm_tc_session import GroundSession

SESSIONS: Mapping[str, Callable[[Any, LinkSecurity | None, int], GroundLink]] = {
    LinkConfig.kind: GroundSession,
    AosConfig.kind: AosSession,
}


def open_session(config: DownlinkConfig, security: LinkSecurity | None = None, index: int = 0) -> GroundLink:
    """Return a new ground's end of a link with this config, the mission's link `index` counted from 0.

    `security` may be None only for a link that is clear both ways.
    """
    assert security is not None or not config.is_protected, config
    return SESSIONS[config.kind](config, security, index)
