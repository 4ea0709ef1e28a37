"""The sections of mission.toml that say what the node is: [node], [drivers] and [[link]].

Every other section belongs to one service, and is declared beside its code.
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.config import key
from flight.link.downlink_config import DownlinkConfig
from flight.link.kinds import LINK_KINDS
from flight.link.stack import LinkConfig
from hal.kinds import EPS, GOVERNOR, HEATER, IMAGER, RADIO, THERMOMETER


@dataclass(frozen=True, slots=True)
class NodeConfig:
    name: str = key(text="the node's name, in every log line and file")
    spacecraft_id: int = key(0x1AB, minimum=0, maximum=0x3FF)
    frame_octets: int = key(1115, minimum=128, maximum=2048, text="length of a TM frame")
    app: str = key("", text='payload app as "module:class", empty for none')
    node_apid: int = key(1, minimum=1, maximum=2039)
    app_apid: int = key(2, minimum=1, maximum=2039)
    file_apid: int = key(3, minimum=1, maximum=2039)

    def faults(self) -> list[tuple[str, str]]:
        apids = [self.node_apid, self.app_apid, self.file_apid]
        if len(set(apids)) < len(apids):
            return [("app_apid", f"node_apid, app_apid and file_apid are {apids}, should all differ")]
        return []


@dataclass(frozen=True, slots=True)
class LinkSection:
    """One `[[link]]`: the node's modem, and what the two ends agree on. The keys of both stand in one table; which they
    are, `kind` says (flight.link.kinds). Spacecraft and frame length are the node's."""

    config: DownlinkConfig
    name: str = key(text="the link's name")
    driver: str = key(text='modem as "scheme:address"', device=RADIO)
    kind: str = key(LinkConfig.kind, choices=tuple(LINK_KINDS))
    rate_bps: int = key(256_000, minimum=1_000, maximum=10_000_000_000)
    idle_s: float = key(0.0, minimum=0, maximum=10, text="without packets a frame that often; 0: fill the link")


# Of a link's config, what [node] says.
NODE_KEYS = ("spacecraft_id", "frame_octets")


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """Which driver serves which device, as "scheme:address"; empty if there is no such device."""

    eps: str = key(text='electrical power system, such as "serial:/dev/ttyS0"', device=EPS)
    board_thermometer: str = key(device=THERMOMETER)
    radiator_thermometer: str = key(device=THERMOMETER)
    heater: str = key("", device=HEATER)
    governor: str = key("", text="power limiter of the payload processor", device=GOVERNOR)
    imager: str = key("", device=IMAGER)
