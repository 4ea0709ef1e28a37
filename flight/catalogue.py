"""What a mission says to both ends: the dictionary of its node, and the CFDP entities of both.

Node and ground read the same mission, and each works this out for itself; nothing is built and nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Iterable

import flight
from flight.apps import MissionApp, app_owner
from flight.contract.collect import Owned, collect
from flight.contract.dictionary import Dictionary
from flight.roster import ROSTER, MissionView
from flight.services.files.outbox import OutboxConfig
from flight.services.reporting import events, housekeeping
from flight.services.time import clock

OWN_APIDS = frozenset({"time", "node", "files"})  # by their names in the dictionary, where those of apps stand as well
_NODE = "the node"


def dictionary_of(mission: MissionView) -> Dictionary:
    """Everything a node with this mission can say and be told."""
    node = mission.node
    own = {"time": clock.TIME_APID, "node": node.node_apid, "files": node.file_apid}
    assert own.keys() == OWN_APIDS
    return collect(
        (one.part for one in parts_of(mission)),
        mission=node.name,
        spacecraft_id=node.spacecraft_id,
        version=flight.__version__,
        apids=own | {app.name: app.apid for app in mission.apps},
        frame_octets=node.frame_octets,
    )


def parts_of(mission: MissionView) -> list[Owned]:
    """What the node declares, and then its apps."""
    own = [part for row in ROSTER for part in row.declare(mission)]
    apps = declared_by(mission.apps)
    # The commands of housekeeping are about the structures of all others.
    structures = [structure for part in (*own, *(one.part for one in apps)) for structure in part.structures]
    own.append(housekeeping.declare(mission.node.node_apid, tuple(sorted(structures, key=lambda one: one.sid))))
    return [*(Owned(_NODE, part) for part in own), *apps]


def declared_by(apps: Iterable[MissionApp]) -> list[Owned]:
    """What `apps` declare, and what the node declares for each of them."""
    return [
        Owned(app_owner(app.name), part)
        for app in apps
        for part in (app.declarations, events.declare_switch(app.apid, switch_prefix(app.name)))
    ]


def switch_prefix(app: str) -> str:
    """What the names of commands begin with that the node serves for `app`, and has for itself as well."""
    return f"{app}_"


def file_entities(mission: MissionView) -> tuple[int, int]:
    """The CFDP entities of node and ground."""
    config = mission.section(OutboxConfig)
    return config.entity, config.ground_entity
