"""What a Yamcs instance must agree on with the node: read from the mission, or refused with the reason."""

# Yamcs can do less than our ground, and does not say so: frames of another coding are dropped without an event. So
# whatever its link classes cannot carry is refused here, all of it at once, with what would be right.
#
# - Frames come bare in UDP datagrams. Its Reed-Solomon decoder does not work over UDP (5.12.8).
# - Its own link security differs from ours in what the MAC covers. Such a node is commanded by our ground only.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flight.catalogue import dictionary_of, file_checksum, file_entities
from flight.contract.dictionary import Dictionary
from flight.contract.sections import LinkSection
from flight.core.errors import SetupError
from flight.link.cfdp.checksums import MODULAR
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import Mission
from ground.config import GroundConfig
from ground.link.mission_link import UdpLink, chosen_link, udp_link


@dataclass(frozen=True, slots=True)
class YamcsInstance:
    """A mission as Yamcs needs it.

    link: what both ends of the link agree on. entities: the CFDP entities of node and ground. checksum: the CFDP
    checksum type of files that come down.
    """

    name: str
    dictionary: Dictionary
    link: LinkConfig
    ports: UdpLink
    entities: tuple[int, int]
    checksum: int
    timeout_s: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What works less well than it could, and what to change in the mission."""
        if self.checksum == MODULAR:
            return ()
        return ('no file will come down whole: Yamcs knows no CFDP checksum but cfdp.checksum = "modular"',)


def yamcs_instance(mission: Mission, link_name: str = "") -> YamcsInstance:
    """Return the instance for the mission's link of that name, the first if it is empty.

    Raises SetupError, with every reason, if Yamcs cannot be the ground of that link.
    """
    section = chosen_link(mission, link_name)
    ground = mission.sections["ground"]
    assert isinstance(ground, GroundConfig)
    if faults := tuple(_faults(section)):
        raise SetupError(f"link {section.name} of {mission.path} is not for Yamcs: {'; '.join(faults)}")
    assert isinstance(section.config, LinkConfig)
    return YamcsInstance(
        name=mission.node.name,
        dictionary=dictionary_of(mission),
        link=section.config,
        ports=udp_link(section, ground.node_host),
        entities=file_entities(mission),
        checksum=file_checksum(mission),
        timeout_s=ground.command_timeout_s,
    )


def _faults(section: LinkSection) -> Iterator[str]:
    """Yield what Yamcs cannot do of the link, each with what would be right."""
    config = section.config
    if not section.driver.startswith("udp:"):
        yield f"driver is {section.driver!r}, should be UDP, like udp:127.0.0.1:10015:10018"
    if not isinstance(config, LinkConfig):
        yield f'kind is "{config.kind}", should be "tm-tc"'
        return
    if config.coding != "frame":
        yield f'frames are coded ({config.coding}), should be bare: coding = "frame"'
    for key in ("uplink_security", "downlink_security"):
        if (security := getattr(config, key, "clear")) != "clear":
            yield f'{key} is "{security}", should be "clear": Yamcs protects other parts of a frame than this node'
