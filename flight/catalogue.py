"""What a mission says to both ends: the dictionary of its node, what in the mission does not fit that, and the CFDP
entities of both.

Node and ground read the same mission, and each works this out for itself; nothing is built and nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Iterable

import flight
from flight.apps import MissionApp, app_owner
from flight.contract.collect import Owned, collect, joined
from flight.contract.dictionary import Dictionary
from flight.core.config import Fault
from flight.roster import ROSTER, MissionView
from flight.services.automation.mission_sequences import sequence_faults
from flight.services.automation.sequence_declarations import SequenceConfig
from flight.services.board.power import PowerConfig
from flight.services.commanding.admission import mode_faults
from flight.services.commanding.commands import CommandsConfig
from flight.services.files.outbox import OutboxConfig
from flight.services.health import storage
from flight.services.reporting import events, housekeeping
from flight.services.reporting.housekeeping import HousekeepingConfig, period_faults
from flight.services.time import clock
from flight.store.quota import StorageConfig, share_faults

OWN_APIDS = ("time", "node", "files")  # by their names in the dictionary, where those of apps stand as well
_NODE = "the node"


def dictionary_of(mission: MissionView, *, faulty: bool = False) -> Dictionary:
    """Everything a node with this mission can say and be told. faulty: the mission is known to have faults, and its
    dictionary is wanted as far as that goes.
    """
    node = mission.node
    own = dict(zip(OWN_APIDS, (clock.TIME_APID, node.node_apid, node.file_apid), strict=True))
    return (joined if faulty else collect)(
        [one.part for one in parts_of(mission)],
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


def dictionary_faults(mission: MissionView, dictionary: Dictionary) -> list[Fault]:
    """What the mission's sections say of commands, events, structures and users of storage that there are not."""
    modes = [mode.name for mode in mission.section(PowerConfig).mode]
    declared = {command.name: command for command in dictionary.commands}
    return [
        *share_faults(storage.shares(0), mission.section(StorageConfig)),
        *mode_faults(mission.section(CommandsConfig).refused_in, declared, modes),
        *period_faults(mission.section(HousekeepingConfig), {one.name for one in dictionary.structures}),
        *sequence_faults(dictionary, mission.tables(SequenceConfig)),
    ]


def file_entities(mission: MissionView) -> tuple[int, int]:
    """The CFDP entities of node and ground."""
    config = mission.section(OutboxConfig)
    return config.entity, config.ground_entity
