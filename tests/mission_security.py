"""Keys for both ends of a mission's links, as a simulation has them: every test flies protected unless it says not."""

from __future__ import annotations

from random import Random

from flight.contract.sections import link_plans
from flight.keys import keys_path, locked, write_keys
from flight.keys import mission_keys as read_mission_keys
from flight.link.actions import StoreSecurity
from flight.link.downlink_config import DownlinkConfig
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import Keyring, delivered_keys, simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE
from flight.mission import Mission
from ground.link.actions import Action
from ground.link.ground_link import GroundLink
from ground.link.security.stored_security import StoredSecurity

SEED = 7
BENCHES = ("orbitnode-bench", "bench-1", "orbitnode-1", "soak", "bench")  # nodes of the real-time missions of tests


def write_bench_keys(node: str) -> None:
    """Write keys for a node of one link, protected both ways or less, to where its processes look for them."""
    plans = [LinkPlan("udp", CMAC_SUITE, GCM_SUITE)]
    ring = delivered_keys(
        plans, lambda key_id: Random(f"{node} {key_id}").randbytes(32), node=node, spacecraft_id=0x1AB
    )
    path = keys_path(node)
    with locked(path):
        write_keys(path, ring)


def bench_security(mission: Mission) -> LinkSecurity:
    """Return the ground's end of a real-time mission, with the keys that its processes read."""
    keys = read_mission_keys(mission)
    assert keys is not None
    plans = link_plans(mission.links)
    return LinkSecurity(End.GROUND, keys, plans, random=Random("bench security").randbytes)


def mission_keys(mission: Mission) -> Keyring:
    """Return a ring of its own with the keys of the mission's links; each end and each boot takes one."""
    return simulated_keys(SEED, link_plans(mission.links), mission.node.name, mission.node.spacecraft_id)


def ground_security(mission: Mission, stored: bytes | None = None) -> LinkSecurity:
    """Return the ground's end."""
    random = Random("ground security")
    return LinkSecurity(
        End.GROUND, mission_keys(mission), link_plans(mission.links), stored=stored, random=random.randbytes
    )


def stored_security(mission: Mission) -> StoredSecurity:
    """Return the ground's end for a station, with a record that always can be stored."""
    return StoredSecurity(ground_security(mission), lambda _: None)


def stored_at_once(
    session: GroundLink, security: LinkSecurity | None, actions: list[Action], now_ns: int
) -> list[Action]:
    """Return what a session asked for, and what comes of it as its record is stored, without the asking for that."""
    out: list[Action] = []
    for action in actions:
        if isinstance(action, StoreSecurity):
            assert security is not None
            security.stored(action.generation)
            out += stored_at_once(session, security, session.on_stored(now_ns), now_ns)
        else:
            out.append(action)
    return out


def security_of(config: DownlinkConfig, end: End = End.GROUND, stored: bytes | None = None) -> LinkSecurity:
    """Return one end of a single link with this config, keys from the seed."""
    plans = [LinkPlan("link", config.up_suite, config.down_suite)]
    return LinkSecurity(end, simulated_keys(SEED, plans), plans, stored=stored, random=Random(end.name).randbytes)
