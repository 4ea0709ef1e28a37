"""The sections of mission.toml that say what the node is: [node], [[app]], [drivers] and [[link]].

Every other section belongs to one service or app, and is declared beside its code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from flight.contract.names import OWNER_CHARACTERS_MAX, is_name, name_rule
from flight.core.config import key
from flight.link.downlink_config import DownlinkConfig
from flight.link.kinds import LINK_KINDS
from flight.link.security.associations import LinkPlan
from flight.link.tm_tc_stack import LinkConfig
from hal.kinds import EPS, GOVERNOR, HEATER, IMAGER, RADIO, THERMOMETER

# 0 is for time packets (PUS), 2040 to 2046 are reserved by CCSDS, 2047 is for idle packets (133.0-B-2, 4.1.3.3.4).
APID_MIN, APID_MAX = 1, 2039
NODE_NAME_OCTETS_MAX = 64  # names of files and folders are made of it
# Missions from before there could be several apps have these keys in [node].
_AS_A_LIST = "apps are listed as [[app]], each with name, app and apid"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The section `[node]`: what the node is called, and the numbers by which its packets and frames are known."""

    ELSEWHERE: ClassVar[Mapping[str, str]] = {"app": _AS_A_LIST, "app_apid": _AS_A_LIST}

    name: str = key(text="the node's name, in every log line and file: letters, digits, - and _")
    spacecraft_id: int = key(0x1AB, minimum=0, maximum=0x3FF, text="spacecraft id in every frame (427 is 0x1AB)")
    frame_octets: int = key(1115, minimum=128, maximum=2048, text="length of a TM frame")
    node_apid: int = key(1, minimum=APID_MIN, maximum=APID_MAX, text="APID of the node's own packets")
    file_apid: int = key(3, minimum=APID_MIN, maximum=APID_MAX, text="APID of CFDP packets")

    def faults(self) -> list[tuple[str, str]]:
        """Return what is wrong with the name, and with APIDs that are the same."""
        found = []
        if not self.name.replace("-", "").replace("_", "").isalnum():
            found.append(("name", f"is {self.name!r}, should be letters, digits, - and _"))
        elif len(self.name.encode()) > NODE_NAME_OCTETS_MAX:
            octets = len(self.name.encode())
            found.append(
                ("name", f"has {octets} octets, should have {NODE_NAME_OCTETS_MAX} at most: it becomes a file name")
            )
        if self.node_apid == self.file_apid:
            found.append(("file_apid", f"is {self.file_apid}, as node_apid is; the two should differ"))
        return found


@dataclass(frozen=True, slots=True)
class AppSection:
    """One `[[app]]`: a payload app. Its own keys stand in the section named after it."""

    name: str = key(text="the app's name, and that of its section")
    app: str = key(text='what it is, as "module:class"')
    apid: int = key(minimum=APID_MIN, maximum=APID_MAX, text="APID of its packets")

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for a name that others could not begin with."""
        if not is_name(self.name, OWNER_CHARACTERS_MAX):
            return [("name", f"is {self.name!r}, should be {name_rule(OWNER_CHARACTERS_MAX)}")]
        return []


@dataclass(frozen=True, slots=True)
class LinkSection:
    """One `[[link]]`: the node's modem, and what the two ends of the link agree on.

    The keys of both stand in one table. Which keys the ends have follows from `kind` (flight.link.kinds). Spacecraft id
    and frame length are those of the node.
    """

    config: DownlinkConfig
    name: str = key(text="the link's name")
    driver: str = key(text='modem as "scheme:address"', device=RADIO)
    kind: str = key(
        LinkConfig.kind,
        choices=tuple(LINK_KINDS),
        text="`tm-tc`: TM frames down, telecommands up by COP-1; `aos`: AOS frames down, nothing up",
    )
    rate_bps: int = key(256_000, minimum=1_000, maximum=10_000_000_000, text="downlink, bit/s")
    idle_s: float = key(0.0, minimum=0, maximum=10, text="without packets a frame that often; 0: fill the link")


def link_plans(links: Sequence[LinkSection]) -> tuple[LinkPlan, ...]:
    """Return how each link of a mission is protected, in the order of the file, by which keys are found."""
    return tuple(LinkPlan(link.name, link.config.up_suite, link.config.down_suite) for link in links)


# What a link's config has from [node].
NODE_KEYS = ("spacecraft_id", "frame_octets")


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """Which driver serves which device, as "scheme:address"; empty if there is no such device."""

    eps: str = key(text='electrical power system, such as "serial:/dev/ttyS0"', device=EPS)
    board_thermometer: str = key(text="temperature sensor of the compute board", device=THERMOMETER)
    radiator_thermometer: str = key(text="temperature sensor of the radiator", device=THERMOMETER)
    heater: str = key("", text="heater of the board, empty for none", device=HEATER)
    governor: str = key("", text="power limiter of the payload processor", device=GOVERNOR)
    imager: str = key("", text="camera, empty for none", device=IMAGER)
