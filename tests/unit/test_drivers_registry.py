"""The driver table: what it says about unknown drivers, missing libraries, and factories that fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flight.linux.platform import LinuxPlatform
from hal import registry
from hal.base import HalError, Host
from hal.kinds import EPS, IMAGER, KINDS, RADIO


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LinuxPlatform]:
    platform = LinuxPlatform(tmp_path / "store", "unit")
    yield platform
    platform.close()


@pytest.mark.parametrize("url", ["", "serial", "i2c:3", "SERIAL:/dev/ttyS0"])
def test_unknown_drivers_are_named_with_those_there_are(host: Host, url: str) -> None:
    with pytest.raises(HalError, match=r"eps driver .* is unknown, there are serial:\.\.\., sim:\.\.\."):
        registry.open_device(EPS, url, host)


def test_schemes_of_every_kind() -> None:
    assert registry.schemes(RADIO) == ["sim", "udp"]
    assert list(KINDS) == ["eps", "thermometer", "heater", "governor", "radio", "imager"]
    for kind in KINDS.values():
        assert "sim" in registry.schemes(kind)


def test_a_missing_library_says_what_to_install(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "needs_numpy.py").write_text("def open_it(address, host):\n    import numpy_absent_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(IMAGER.drivers, "vendor", "needs_numpy:open_it")
    with pytest.raises(HalError, match=r"imager 'vendor:1' needs .*'numpy_absent_here': pip install"):
        registry.open_device(IMAGER, "vendor:1", host)
    assert registry.INSTALL["numpy"] == "'orbitnode[payload]'"
    monkeypatch.setitem(IMAGER.drivers, "vendor", "no_such_module_at_all:open_it")
    with pytest.raises(HalError, match="no_such_module_at_all"):
        registry.open_device(IMAGER, "vendor:1", host)


@pytest.mark.parametrize("body", ["raise OSError(19, 'No such device')", "raise ValueError('bad address')"])
def test_a_failing_factory(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
    name = f"fails_{len(body)}"
    (tmp_path / f"{name}.py").write_text(f"def open_it(address, host):\n    {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(EPS.drivers, "vendor", f"{name}:open_it")
    with pytest.raises(HalError, match=r"eps 'vendor:1': (No such device|bad address)"):
        registry.open_device(EPS, "vendor:1", host)


def test_simulated_devices_are_not_for_real_time(host: Host) -> None:
    with pytest.raises(HalError, match="orbitnode run"):
        registry.open_device(EPS, "sim:eps", host)
