"""Simulated devices behind the driver Protocols: what `sim:` means in mission.toml."""

# Each device is a thin view of the world: it moves the world up to the present first, then reads or switches. That
# order makes a switch act from its own instant on, and gives a reading that is a second old at most.
#
# Devices belong to one boot of the node and hold nothing that outlives it, but the camera: it hangs on the spacecraft,
# so that tile numbers go on after a boot, as those of a real camera do.
#
# They behave as drivers of real hardware must (hal/base.py): calls return at once, and a fault is a HalError. The same
# contract tests run over them as over the real drivers.

from __future__ import annotations

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns
from hal.base import Eps, HalError, Heater, Host, Image, Imager, PowerReading, Radio, Thermometer
from hal.guard import behind
from sim_hw.machine.faults import EPS_MUTE_S
from sim_hw.machine.platform import SimPlatform
from sim_hw.world.scenes import Tile, TileSource
from sim_hw.world.world import World

# What there is behind each key of [drivers], as the driver guide lists it; a modem has the name that its mission gives.
ADDRESSES: dict[str, tuple[str, ...]] = {
    "eps": ("eps",),
    "board_thermometer": ("board", "radiator"),
    "radiator_thermometer": ("board", "radiator"),
    "heater": ("heater",),
    "governor": ("payload",),
    "imager": ("camera",),
}
_TRUTHS_MAX = 512  # tiles of 0.6 MB each whose product is awaited; more than a node may hold


class SimEps:
    """The world's power system. A planned fault mutes it for a minute."""

    def __init__(self, platform: SimPlatform) -> None:
        self._platform = platform
        self._mute_until_ns = -1

    def read(self) -> PowerReading:
        """Return what the sensors show; raises HalError while the fault mutes them."""
        self._answer()
        return self._platform.world.read_power()

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load; raises HalError if the name is unknown or the fault mutes the board."""
        self._answer()
        self._platform.world.set_switch(name, on)

    def _answer(self) -> None:
        now_ns = self._platform.now_ns()
        if self._platform.faults.take("eps-mute", now_ns):
            self._mute_until_ns = now_ns + ns(EPS_MUTE_S)
        if now_ns < self._mute_until_ns:
            raise HalError("EPS: no answer")
        self._platform.world.advance(now_ns)


class SimThermometer:
    """A thermometer on one node of the world's thermal model: `board` or `radiator`."""

    def __init__(self, platform: SimPlatform, node: str) -> None:
        self._platform = platform
        self._node = node

    def read_c(self) -> float:
        """Return the temperature, degrees Celsius."""
        self._platform.world.advance(self._platform.now_ns())
        return self._platform.world.temperature_c(self._node)


class SimHeater:
    """The board heater."""

    def __init__(self, platform: SimPlatform) -> None:
        self._platform = platform

    def set_on(self, on: bool) -> None:
        """Switch the heater from now on."""
        self._platform.world.advance(self._platform.now_ns())
        self._platform.world.set_switch("heater", on)


class SimGovernor:
    """The limit of the payload's power. The payload draws what the limit allows: its own demand is not modelled."""

    def __init__(self, platform: SimPlatform) -> None:
        self._platform = platform

    def set_limit_w(self, power_w: float) -> None:
        """Set the limit from now on, watts."""
        self._platform.world.advance(self._platform.now_ns())
        self._platform.world.set_load_w("payload", power_w)


class SimImager:
    """A camera over a tile source. After the last tile it begins again with the first.

    It sees while the spacecraft is in sunlight: that stands for the Sun over the ground below. The newest tiles it took
    are kept, with their truth, until they are asked for.
    """

    def __init__(self, source: TileSource, world: World) -> None:
        self.taken = 0
        self._source = source
        self._world = world
        self._truths: dict[int, Tile] = {}

    def ready(self) -> bool:
        """Return whether there is light to take a picture."""
        return self._world.sun_frac(self._world.now_ns) > 0.5

    def capture(self) -> Image:
        """Take the next tile; raises HalError if its file is damaged."""
        count = self._source.count
        try:
            tile = self._source.tile(self.taken if count is None else self.taken % count)
        except OrbitnodeError as error:  # the file's head was right when the run began, its samples are not
            self.taken += 1  # else the same file would be tried for ever
            raise HalError(str(error)) from None
        bands, height, width = tile.refl.shape
        image = Image(self.taken, bands, height, width, tile.refl.tobytes())
        if len(self._truths) >= _TRUTHS_MAX:  # tiles that were dropped on board are never asked for
            del self._truths[next(iter(self._truths))]
        self._truths[self.taken] = tile
        self.taken += 1
        return image

    def tile(self, number: int) -> Tile | None:
        """Return the tile that was captured as `number`, with its truth, or None. It is handed out once."""
        return self._truths.pop(number, None)


def _simulator(host: Host, device: str) -> SimPlatform:
    platform = behind(host)
    if not isinstance(platform, SimPlatform):
        raise HalError(f"sim:{device}: simulated devices live only in `orbitnode run`; name a real driver here")
    return platform


def open_eps(address: str, host: Host) -> Eps:
    """Open `sim:eps`; raises HalError outside a run, as all of these do."""
    return SimEps(_simulator(host, address))


def open_thermometer(address: str, host: Host) -> Thermometer:
    """Open `sim:board` or `sim:radiator`; raises HalError for another address."""
    platform = _simulator(host, address)
    platform.world.temperature_c(address)  # raises for another address
    return SimThermometer(platform, address)


def open_heater(address: str, host: Host) -> Heater:
    """Open `sim:heater`."""
    return SimHeater(_simulator(host, address))


def open_governor(address: str, host: Host) -> SimGovernor:
    """Open `sim:payload`, the limit of the payload's power."""
    return SimGovernor(_simulator(host, address))


def open_imager(address: str, host: Host) -> Imager:
    """Open `sim:camera`; raises HalError if the run has none."""
    imager = _simulator(host, address).imager
    if imager is None:
        raise HalError(f"sim:{address}: this run has no camera")
    return imager


def open_radio(address: str, host: Host, _rate_bps: int) -> Radio:
    """Open `sim:NAME`, a modem that the run has put on the air; its rate is the channel's. Raises HalError."""
    radios = _simulator(host, address).radios
    if address not in radios:
        raise HalError(f"sim:{address}: no such modem on the air, known: {', '.join(sorted(radios)) or 'none'}")
    return radios[address]
