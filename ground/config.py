"""The [ground] section of mission.toml, and the UDP ports of a link as the ground needs them."""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.sections import LinkSection
from flight.core.config import key
from flight.core.errors import SetupError
from flight.mission import Mission

API_PORT = 10020


@dataclass(frozen=True, slots=True)
class GroundConfig:
    """What the ground process needs beyond the mission itself."""

    api_port: int = key(API_PORT, minimum=1, maximum=65535, text="TCP port on 127.0.0.1 for cmd, tm and events")
    folder: str = key("out/ground", text="folder of the archive and the products")
    node_host: str = key("", text="host that CLTUs go to; empty for the one in the link's driver")
    command_timeout_s: float = key(30.0, minimum=0.1, maximum=86400.0, text="a command without final report is lost")
    silence_s: float = key(5.0, minimum=0.5, maximum=3600.0, text="a contact without frames is over")
    path_delay_s: float = key(0.0, minimum=0.0, maximum=3600.0, text="a frame's way from the node, for the correlation")
    clients: int = key(32, minimum=1, maximum=1024, text="connections of cmd, tm and events at a time")


@dataclass(frozen=True, slots=True)
class UdpLink:
    """Where telemetry frames come in, and where CLTUs go."""

    listen_host: str
    listen_port: int
    node_host: str
    node_port: int


def chosen_link(mission: Mission, name: str) -> LinkSection:
    """The mission's link of that name, the first for an empty one; raises SetupError where there is none."""
    for link in mission.links:
        if name in ("", link.name):
            return link
    raise SetupError(f"no link {name!r} in {mission.path}, have {', '.join(one.name for one in mission.links)}")


def udp_link(section: LinkSection, node_host: str = "") -> UdpLink:
    """From a driver such as "udp:127.0.0.1:10015:10018"; raises SetupError for any other."""
    scheme, _, address = section.driver.partition("?")[0].partition(":")
    host, _, ports = address.partition(":")
    down, _, up = ports.partition(":")
    if scheme != "udp" or not host or not down.isdecimal() or not up.isdecimal():
        raise SetupError(
            f"link {section.name}: driver {section.driver!r} is no UDP link such as udp:127.0.0.1:10015:10018, "
            "which is what `orbitnode ground` listens to"
        )
    # A link within this machine is not opened to the network around it.
    listen = "127.0.0.1" if host in ("127.0.0.1", "localhost") else "0.0.0.0"
    return UdpLink(listen, int(down), node_host or host, int(up))
