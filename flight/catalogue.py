"""What node and ground both take from a mission: the dictionary, faults of names in it, and the CFDP entities."""

# Both ends read the same mission, and each works this out for itself: nothing is built and nothing is opened here. That
# is why the ground may import this file and not flight.node (ADR 0027), and why declarations are made without a node.
#
# The order of what is declared does not matter: flight.contract.collect sorts it. But what housekeeping declares is
# about the structures of all others, so it comes last.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import flight
from flight.apps import MissionApp, app_owner
from flight.contract.collect import Owned, collect, joined
from flight.contract.dictionary import Dictionary
from flight.core.config import Fault
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.roster import ROSTER, MissionView
from flight.services.automation.mission_sequences import sequence_faults
from flight.services.automation.sequence_declarations import SequenceConfig
from flight.services.board.power import PowerConfig
from flight.services.commanding.admission import mode_faults
from flight.services.commanding.commands import CommandsConfig
from flight.services.files.cfdp_section import CHECKSUM_TYPES, CfdpConfig
from flight.services.health import storage_status
from flight.services.reporting import events, housekeeping
from flight.services.reporting.housekeeping import HousekeepingConfig, period_faults
from flight.services.time import clock
from flight.store.quota import StorageConfig, share_faults

OWN_APIDS = ("time", "node", "files")  # names in the dictionary, which has those of apps as well
_NODE = "the node"
PDU_OCTETS = 1024  # until the ground knows what its way up carries


def dictionary_of(mission: MissionView, *, faulty: bool = False) -> Dictionary:
    """Return the dictionary of a node with this mission: all that it can say, and all that it can be told.

    faulty: the mission is known to have faults; the dictionary is made as far as possible, for finding further ones.
    """
    node = mission.node
    own = dict(zip(OWN_APIDS, (clock.TIME_APID, node.node_apid, node.file_apid), strict=True))
    return (joined if faulty else collect)(
        [owned.part for owned in parts_of(mission)],
        mission=node.name,
        spacecraft_id=node.spacecraft_id,
        version=flight.__version__,
        apids=own | {app.name: app.apid for app in mission.apps},
        frame_octets=node.frame_octets,
    )


def parts_of(mission: MissionView) -> list[Owned]:
    """Return what the node declares, and then what its apps do."""
    own = [part for row in ROSTER for part in row.declare(mission)]
    apps = declared_by(mission.apps)
    # The commands of housekeeping are about the structures of all others. By id, so that the texts of those commands do
    # not depend on the order of the rows.
    structures = [structure for part in (*own, *(app.part for app in apps)) for structure in part.structures]
    own.append(housekeeping.declare(mission.node.node_apid, tuple(sorted(structures, key=lambda s: s.sid))))
    return [*(Owned(_NODE, part) for part in own), *apps]


def declared_by(apps: Iterable[MissionApp]) -> list[Owned]:
    """Return what `apps` declare, and what the node declares for each of them."""
    return [
        Owned(app_owner(app.name), part)
        for app in apps
        for part in (app.declarations, events.declare_switch(app.apid, switch_prefix(app.name)))
    ]


def switch_prefix(app: str) -> str:
    """Return the beginning of the names of commands that the node serves for `app`, and has for itself as well."""
    return f"{app}_"


def dictionary_faults(mission: MissionView, dictionary: Dictionary) -> list[Fault]:
    """Return a fault for each unknown command, event, structure, mode or storage user that the mission names."""
    modes = [mode.name for mode in mission.section(PowerConfig).mode]
    declared = {command.name: command for command in dictionary.commands}
    return [
        *share_faults(storage_status.shares(0, 0), mission.section(StorageConfig)),
        *mode_faults(mission.section(CommandsConfig).refused_in, declared, modes),
        *period_faults(mission.section(HousekeepingConfig), {structure.name for structure in dictionary.structures}),
        *sequence_faults(dictionary, mission.tables(SequenceConfig)),
    ]


def file_entities(mission: MissionView) -> tuple[int, int]:
    """Return the CFDP entities of node and ground."""
    config = mission.section(CfdpConfig)
    return config.entity, config.ground_entity


def ground_entity(mission: MissionView) -> EntityConfig:
    """Return the CFDP entity of the ground: it has the timers and limits of the node's."""
    config = mission.section(CfdpConfig)
    return replace(config.entity_config(PDU_OCTETS), entity=config.ground_entity)


def file_checksum(mission: MissionView) -> int:
    """Return the CFDP checksum type of the files that the node sends."""
    return CHECKSUM_TYPES[mission.section(CfdpConfig).checksum]
