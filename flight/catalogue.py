"""What a mission says to both ends: the dictionary of its node, and the CFDP entities of both.

Node and ground read the same mission, and each works this out for itself; nothing is built and nothing is opened here.
"""

from __future__ import annotations

import flight
from flight.contract.dictionary import Declarations, Dictionary, collect
from flight.mission import Mission
from flight.roster import ROSTER
from flight.services.files.outbox import OutboxConfig
from flight.services.reporting import events, housekeeping
from flight.services.time import clock

APP_PREFIX = "app_"  # of commands that node and app both have


def dictionary_of(mission: Mission) -> Dictionary:
    """Everything a node with this mission can say and be told."""
    apid = mission.node.node_apid
    parts: list[Declarations] = [part for row in ROSTER for part in row.declare(mission)]
    if mission.app is not None:
        parts.append(mission.app.declare(mission.node.app_apid, mission.payload))
        parts.append(events.declare_switch(mission.node.app_apid, APP_PREFIX))
    # Its commands are about the structures of all others.
    structures = [structure for part in parts for structure in part.structures]
    parts.append(housekeeping.declare(apid, tuple(sorted(structures, key=lambda one: one.sid))))
    return collect(
        parts,
        mission=mission.node.name,
        spacecraft_id=mission.node.spacecraft_id,
        version=flight.__version__,
        apids={"time": clock.TIME_APID, "node": apid, "app": mission.node.app_apid, "files": mission.node.file_apid},
        frame_octets=mission.node.frame_octets,
    )


def file_entities(mission: Mission) -> tuple[int, int]:
    """The CFDP entities of node and ground."""
    config = mission.section(OutboxConfig)
    return config.entity, config.ground_entity
