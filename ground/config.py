"""The [ground] section of mission.toml, and the port at which a client finds the ground process."""

# A client imports this module for API_PORT alone. So nothing here may import what reads a mission, which takes longer
# to load than a command takes to be answered.

from __future__ import annotations

from dataclasses import dataclass

from flight.core.config import key

API_PORT = 10020


@dataclass(frozen=True, slots=True)
class GroundConfig:
    """What the ground process needs beyond the mission itself."""

    api_port: int = key(API_PORT, minimum=1, maximum=65535, text="TCP port on 127.0.0.1 for cmd, tm and events")
    folder: str = key("out/ground", text="folder of the archive and the products")
    node_host: str = key("", text="host to which CLTUs go; empty for the one in the link's driver")
    command_timeout_s: float = key(
        30.0, minimum=0.1, maximum=86400.0, text="a command without a final report counts as lost after this"
    )
    silence_s: float = key(5.0, minimum=0.5, maximum=3600.0, text="a contact is over after this long without a frame")
    path_delay_s: float = key(
        0.0, minimum=0.0, maximum=3600.0, text="how long a frame travels from the node, for the correlation"
    )
    products_octets_max: int = key(
        10**12, minimum=10**6, maximum=10**18, text="octets of files that one ground process takes at most"
    )
    leap_seconds: str = key("", text="leap-seconds.list of IERS; empty for this machine's, or the one built in")
    clients: int = key(32, minimum=1, maximum=1024, text="connections of cmd, tm, events and others at a time")
