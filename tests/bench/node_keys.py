"""Keys for the processes of a benchmark, drawn at random and kept in its own folder."""

from __future__ import annotations

import os
from pathlib import Path

from flight.contract.sections import link_plans
from flight.keys import locked, write_keys
from flight.link.security.keyring import Keyring, delivered_keys
from flight.mission import Mission

_KEYS = 16  # more than a mission with one link has


class BenchKeys:
    """The keys of a mission's links, in a file that node and ground are given by `--keys`."""

    def __init__(self, mission: Mission, path: Path) -> None:
        self.path = path
        self._mission = mission
        self._secrets = [os.urandom(32) for _ in range(_KEYS)]
        with locked(path):
            write_keys(path, self.ring())

    def ring(self) -> Keyring:
        """Return a ring of its own with these keys."""
        node = self._mission.node
        return delivered_keys(
            link_plans(self._mission.links), self._secrets.__getitem__, node=node.name, spacecraft_id=node.spacecraft_id
        )
