"""A rig per file of tests. Without a Yamcs nothing here is collected: `make yamcs` fetches one and says where it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.yamcs.rig import Rig
from tests.yamcs.server import JARS, JAVA

if JARS not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A node that Yamcs hears, with the AD service not begun."""
    made = Rig(tmp_path_factory.mktemp("yamcs"), Path(os.environ[JARS]), os.environ[JAVA])
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture
def commanded(rig: Rig) -> Rig:
    """The rig with the AD service in order, whatever a test before did to it."""
    if rig.yamcs.cop1()["state"] != "ACTIVE":
        rig.yamcs.initialise_cop1("UNLOCK")
        wait_until(lambda: rig.yamcs.cop1()["state"] == "ACTIVE", lambda: f"AD service: {rig.yamcs.cop1()}")
    return rig
