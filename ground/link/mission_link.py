"""Which links of the mission this ground works and listens to, and the UDP ports of them."""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.sections import LinkSection
from flight.core.errors import SetupError
from flight.mission import Mission


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


def listened_links(mission: Mission, own: LinkSection) -> tuple[LinkSection, ...]:
    """What the ground receives beside its own link: every simplex link of the mission."""
    return tuple(link for link in mission.links if link.config.simplex and link.name != own.name)


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
