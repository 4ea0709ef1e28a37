"""Which link of the mission this ground commands over, which it listens to, and their UDP ports."""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.sections import LinkSection
from flight.core.errors import SetupError
from flight.mission import Mission


@dataclass(frozen=True, slots=True)
class UdpLink:
    """The address at which telemetry frames come in, and the one to which CLTUs go; `name` is that of the link."""

    listen_host: str
    listen_port: int
    node_host: str
    node_port: int
    name: str = ""


def chosen_link(mission: Mission, name: str) -> LinkSection:
    """Return the mission's link of that name, the first if it is empty; raises SetupError if there is none."""
    for link in mission.links:
        if name in ("", link.name):
            return link
    raise SetupError(f"no link {name!r} in {mission.path}, known: {', '.join(link.name for link in mission.links)}")


def listened_links(mission: Mission, own: LinkSection) -> tuple[LinkSection, ...]:
    """Return what the ground receives beside its own link: every simplex link of the mission."""
    return tuple(link for link in mission.links if link.config.simplex and link.name != own.name)


def udp_link(section: LinkSection, node_host: str = "") -> UdpLink:
    """Read the addresses from a driver such as "udp:127.0.0.1:10015:10018"; raises SetupError for any other."""
    scheme, _, address = section.driver.partition("?")[0].partition(":")
    host, _, ports = address.partition(":")
    down, _, up = ports.partition(":")
    if scheme != "udp" or not host or not down.isdecimal() or not up.isdecimal():
        raise SetupError(
            f"link {section.name}: driver {section.driver!r} is not UDP, should be like udp:127.0.0.1:10015:10018, "
            "because `orbitnode ground` listens to nothing else"
        )
    # A link within this machine is not opened to the network around it. Over any other link frames may come in on any
    # of this machine's addresses.
    listen = "127.0.0.1" if host in ("127.0.0.1", "localhost") else "0.0.0.0"
    return UdpLink(listen, int(down), node_host or host, int(up), section.name)
