"""The benches themselves: one that cannot be set up leaves no thread that would keep the test run from ending."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import ModuleType

import pytest

from hal.base import HalError


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> ModuleType:
    """The conftest that every suite here runs on."""
    path = str(Path(__file__).with_name("conftest.py"))
    [module] = [p for p in request.config.pluginmanager.get_plugins() if getattr(p, "__file__", None) == path]
    assert isinstance(module, ModuleType)
    return module


def test_a_port_that_was_taken_meanwhile(rows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        ports = iter((taken.getsockname()[1], rows.free_port()))  # the node's, then the ground's
        monkeypatch.setattr(rows, "free_port", lambda: next(ports))
        with pytest.raises(HalError, match="another program listens"), rows.udp_radio(tmp_path):
            pytest.fail("the bench was set up on a taken port")
    assert set(threading.enumerate()) <= before
