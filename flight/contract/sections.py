"""The sections of mission.toml that say what the node is: [node], [drivers] and [[link]].

Every other section belongs to one service, and is declared beside its code.
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.config import key
from flight.link.coding.cltu import ERROR_MODES
from flight.link.coding.tm_coding import CODINGS, RANDOMIZERS
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
    """One `[[link]]`: what node and ground agree on, and the node's modem."""

    name: str = key(text="the link's name")
    driver: str = key(text='modem as "scheme:address"', device=RADIO)
    kind: str = key("radio", choices=("radio", "optical", "inter-satellite"))
    coding: str = key("cadu", choices=CODINGS)
    interleave: int = key(5, minimum=1, maximum=8)
    randomizer: str = key("short", choices=RANDOMIZERS)
    convolutional: bool = key(False)
    rate_bps: int = key(256_000, minimum=1_000, maximum=10_000_000_000)
    uplink_rate_bps: int = key(16_000, minimum=100, maximum=10_000_000_000)
    tc_randomizer: bool = key(False)
    cltu_errors: str = key("correct", choices=tuple(ERROR_MODES))
    playback_min_frac: float = key(0.0, minimum=0.0, maximum=1.0)
    products_min_frac: float = key(0.0, minimum=0.0, maximum=1.0)
    idle_s: float = key(0.0, minimum=0, maximum=10, text="without packets a frame that often; 0: fill the link")

    def config(self, node: NodeConfig) -> LinkConfig:
        """What the two ends of this link agree on."""
        return LinkConfig(
            spacecraft_id=node.spacecraft_id,
            frame_octets=node.frame_octets,
            coding=self.coding,
            interleave=self.interleave,
            randomizer=self.randomizer,
            convolutional=self.convolutional,
            uplink_bit_s=float(self.uplink_rate_bps),
            tc_randomizer=self.tc_randomizer,
            cltu_errors=self.cltu_errors,
            playback_min_frac=self.playback_min_frac,
            products_min_frac=self.products_min_frac,
        )


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """Which driver serves which device, as "scheme:address"; empty if there is no such device."""

    eps: str = key(text='electrical power system, such as "serial:/dev/ttyS0"', device=EPS)
    board_thermometer: str = key(device=THERMOMETER)
    radiator_thermometer: str = key(device=THERMOMETER)
    heater: str = key("", device=HEATER)
    governor: str = key("", text="power limiter of the payload processor", device=GOVERNOR)
    imager: str = key("", device=IMAGER)
