"""Power duty: samples the EPS, holds the power mode, and falls back to safe mode when the charge runs low.

    free        --charge below soc_safe_frac---> protecting: safe mode, the first of the table, event `battery_low`
    protecting  --charge above soc_resume_frac-> free: back in the mode that was last commanded

While protecting, ground may command safe mode alone, which is then kept after the recovery as well.
"""

# What survives a reboot, in one row of the vault: the payload's switch and the commanded mode, by name, since another
# mission file may number its modes otherwise. A payload that ground has switched off stays off. Whether the battery is
# low does not survive: the first reading after a boot decides that again.
#
# Both commands are urgent. They act first and are stored afterwards: safe mode waits for no disk. If the disk does not
# take it, ground is told that it is in force until the next boot (commanding/outcomes.py).
#
# An order is not a fact. A device may have missed it, or have forgotten it when it restarted by itself, and the boot
# before may have left a switch on. So all switches are ordered again every REPEAT_TICKS samples and after each recovery
# of the EPS, and an order that failed is repeated at every sample until it is taken.
#
# Two thresholds, the lower one for entering, keep the mode from changing with every reading near one of them. Without a
# fresh reading nothing is decided, and after STALE_S housekeeping shows none: an old charge says nothing.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flight.contract.app import CommandRefused, Durable, EventSink, PowerMode, Sample
from flight.contract.dictionary import Command, Declarations, EventDefinition, Structure
from flight.contract.failures import Failure
from flight.contract.fields import Field, Limits
from flight.contract.names import LABEL_RULE, is_label
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.contract.settings import setting, settings_of
from flight.core.config import key
from flight.core.nanoseconds import ns
from flight.core.task import Task
from flight.services.board.device import Device
from flight.services.settings.foreign_rows import ForeignRows
from flight.services.settings.parameters import Parameters
from flight.store.vault import Vault
from hal.base import Eps, Governor, PowerReading

_CAUSES = ("boot", "command", "battery low", "battery recovered")
_SWITCHES = ("off", "on")
REPEAT_TICKS = 30  # samples until all orders are given again
_ROW = "power"
_MODES_MAX = 256  # a mode travels as one octet
_UNREAD = PowerReading(*(float("nan"),) * 5)
STALE_S = 10.0  # a reading older than this says nothing: no decision rests on it, housekeeping shows NaN


@dataclass(frozen=True, slots=True)
class ModeConfig:
    """One `[[power.mode]]`: what the payload may draw in it, and how fast it is then."""

    name: str = key(text="the mode's name")
    payload_w: float = key(minimum=0, maximum=1000, text="what the payload draws while it computes")
    tile_s: float = key(minimum=0.001, maximum=3600, text="tabled duration of one inference")
    admits: bool = key(True, text="false: no payload job starts in this mode")

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for a name that cannot be a label: that is how commands and reports show it."""
        return [] if is_label(self.name) else [("name", f"is {self.name!r}, should be {LABEL_RULE}")]


@dataclass(frozen=True, slots=True)
class PowerConfig:
    """Mission section [power]."""

    mode: tuple[ModeConfig, ...] = key(text="mode table, [[power.mode]], the first one is the safe mode")
    start_mode: str = key(text="mode after boot")
    payload_idle_w: float = key(1.0, minimum=0, maximum=1000, text="payload switched on, not computing")
    sample_period_s: float = key(1.0, minimum=0.1, maximum=60, text="the EPS is read so often")
    soc_safe_frac: float = setting(
        1, 0.6, minimum=0, maximum=0.95, below="soc_resume_frac",
        text="state of charge below which safe mode is entered",
    )  # fmt: skip
    soc_resume_frac: float = setting(
        2, 0.7, minimum=0, maximum=1, text="state of charge above which safe mode is left again"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for each rule about the table of modes that is broken."""
        found = []
        names = [m.name for m in self.mode]
        if not names:
            found.append(("mode", "is empty, at least one [[power.mode]] is needed"))
        if len(set(names)) < len(names):
            found.append(("mode", f"names are {', '.join(names)}, should all differ"))
        if len(names) > _MODES_MAX:
            found.append(("mode", f"has {len(names)} modes, {_MODES_MAX} at most"))
        if names and self.start_mode not in names:
            found.append(("start_mode", f"is {self.start_mode!r}, should be one of {', '.join(names)}"))
        return found


def declare(apid: int, config: PowerConfig) -> Declarations:
    """Return commands, events, structure and settings of the power duty."""
    modes = tuple(m.name for m in config.mode)
    low = Limits(yellow=(config.soc_resume_frac, 1.01), red=(config.soc_safe_frac, 1.01))
    return Declarations(
        structures=(
            Structure(
                apid, 2, "power", 10.0,
                (
                    Field("soc_frac", "f32", "", "state of charge", limits=low),
                    Field("solar_w", "f32", "W", "power from the array"),
                    Field("load_w", "f32", "W", "power to all loads"),
                    Field("battery_w", "f32", "W", "power into the battery, negative out of it"),
                    Field("bus_v", "f32", "V", "bus voltage"),
                    Field("mode", "u8", "", "power mode", labels=modes),
                    Field("payload", "u8", "", "payload switch", labels=_SWITCHES),
                    Field("eps_faults", "u16", "", "EPS calls that failed"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 20, "power_mode", "info", "power mode {old} to {new}: {cause}",
                (Field("old", "u8", labels=modes), Field("new", "u8", labels=modes),
                 Field("cause", "u8", labels=_CAUSES)),
            ),
            EventDefinition(
                apid, 21, "battery_low", "high", "state of charge {soc_frac:.3f}, entering safe mode",
                (Field("soc_frac", "f32"),),
            ),
            EventDefinition(
                apid, 22, "payload_power", "info", "payload switched {state}", (Field("state", "u8", labels=_SWITCHES),)
            ),
        ),
        commands=(
            Command(
                "set_power_mode", apid, 8, 1, "set the power mode", (Field("mode", "u8", labels=modes),), function=1,
                durable=True, urgent=True, idempotent=True,
            ),
            Command(
                "payload_power", apid, 8, 1, "switch the payload", (Field("state", "u8", labels=_SWITCHES),),
                function=2, durable=True, urgent=True, idempotent=True,
            ),
        ),
        settings=settings_of(config),
    )  # fmt: skip


class Power(Service):
    """The newest reading, the mode, and the payload switch. `reading` is None without a good sample in STALE_S."""

    def __init__(self, config: PowerConfig, eps: Eps, governor: Governor | None, parameters: Parameters,
                 vault: Vault, events: EventSink) -> None:  # fmt: skip
        self.reading: PowerReading | None = None
        self.payload_on = True
        self.payload_cycles = 0
        self._vault = vault
        self._config = config
        self._modes = tuple(PowerMode(m.name, m.payload_w, m.tile_s, m.admits) for m in config.mode)
        self._mode = next(i for i, m in enumerate(self._modes) if m.name == config.start_mode)
        self._commanded_mode = self._mode  # returned to when a low battery has recovered
        self._protecting = False
        self._computing: set[str] = set()  # apps that are working
        self._eps = eps
        self._governor = governor
        self._parameters = parameters
        self._events = events
        self._device = Device("eps", events)
        # A device per kind of call, so that each has faults of its own: an EPS that does not switch may still be read.
        self._switches = Device("eps switches", events)
        self._limiter = Device("payload governor", events)
        # What each switch should be. The boot before may have left the transmitter on: it is switched off.
        self._wanted: dict[str, bool] = {"radio": False}
        self._unswitched: set[str] = {"radio"}  # switches whose order the EPS has not taken yet
        self._limited = False
        self._foreign = ForeignRows("power mode", events)
        self._load()

    @property
    def mode(self) -> PowerMode:
        """The present power mode."""
        return self._modes[self._mode]

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of the mode and of the payload switch."""
        return (
            CommandHandler("set_power_mode", self._check_mode, self._command_mode),
            CommandHandler("payload_power", None, self._command_payload),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "power"."""
        return (Sampler("power", self._sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the power duty, a critical task."""
        return (ServiceTask("power", self.run, deadline_s=0.2, critical=True),)

    def set_computing(self, app: str, computing: bool) -> None:
        """Take in that `app` starts or ends its work. The payload's limit is that of work while any does."""
        if computing:
            self._computing.add(app)
        else:
            self._computing.discard(app)
        self._limit_payload()

    def switch_payload(self, on: bool) -> None:
        """Switch the payload. Raises CommandRefused if the EPS does not do it."""
        self._switch("payload", on)
        if on != self.payload_on:
            self.payload_on = on
            self.payload_cycles += on
            self._events.emit("payload_power", int(on))
        self._limit_payload()

    def switch_transmitter(self, on: bool) -> None:
        """Switch the transmitter. What the EPS does not do now is tried again at each sample."""
        self._want("radio", on)
        self._retry()

    async def run(self, task: Task) -> None:
        """Sample the EPS once per period, protect the battery, and repeat orders."""
        self._want("payload", self.payload_on)
        read_ns = 0
        async for tick in task.every(self._config.sample_period_s, deadline_s=0.2):
            if tick.index % REPEAT_TICKS == 0:
                # A device may have missed an order, or have forgotten it when it restarted by itself.
                self._repeat()
            self._retry()
            was_healthy = self._device.healthy
            reading = self._device.ask(self._eps.read)
            if reading is not None and not was_healthy:
                self._repeat()  # it may have restarted
            if reading is not None:
                read_ns = tick.due_ns
                self.reading = reading
                self._protect(reading.soc_frac)
            elif tick.due_ns - read_ns > ns(STALE_S):
                self.reading = None

    def _protect(self, soc_frac: float) -> None:
        """Enter safe mode below one charge, and go back to the commanded mode above another."""
        if not self._protecting and soc_frac < self._parameters.get("soc_safe_frac"):
            self._protecting = True
            self._events.emit("battery_low", soc_frac)
            self._set_mode(0, "battery low")
        elif self._protecting and soc_frac > self._parameters.get("soc_resume_frac"):
            self._protecting = False
            self._set_mode(self._commanded_mode, "battery recovered")

    def _check_mode(self, mode: int) -> None:
        if self._protecting and mode != 0:
            raise CommandRefused(
                Failure.REFUSED_IN_MODE,
                f"battery is low, only mode {self._modes[0].name} is admitted until it has recovered",
            )

    def _command_mode(self, mode: int) -> Durable:
        self._check_mode(mode)
        self._commanded_mode = mode  # safe mode, if the battery is low: then it is not left by itself
        self._set_mode(mode, "command")
        return self._keep()

    def _command_payload(self, state: int) -> Durable:
        self.switch_payload(bool(state))
        return self._keep()

    def _keep(self) -> Durable:
        """Return what was commanded, to be stored. It is in force already: safe mode waits for no disk."""
        return Durable({_ROW: bytes((self.payload_on,)) + self._modes[self._commanded_mode].name.encode()})

    def _load(self) -> None:
        """Read what was commanded before this boot. A mode that this mission lacks gives way to its start mode."""
        content = self._vault.get(_ROW)
        if not content:
            return
        self.payload_on = bool(content[0])
        name = content[1:].decode(errors="replace")
        for mode, known in enumerate(self._modes):
            if known.name == name:
                self._mode = self._commanded_mode = mode
                return
        self._foreign.report(_ROW, f"no mode {name!r} here, it starts in {self._modes[self._mode].name}")

    def _set_mode(self, mode: int, cause: str) -> None:
        old, self._mode = self._mode, mode
        if old != mode:
            self._events.emit("power_mode", old, mode, _CAUSES.index(cause))
        self._limit_payload()

    def _limit_payload(self) -> None:
        if self._governor is not None:
            working_w = self.mode.payload_w if self._computing else self._config.payload_idle_w
            limit_w = working_w if self.payload_on else 0.0
            governor = self._governor
            self._limited = self._limiter.order(lambda: governor.set_limit_w(limit_w))

    def _retry(self) -> None:
        """Give orders again that a device did not take."""
        for name in sorted(self._unswitched):
            if self._order(name, self._wanted[name]):
                self._unswitched.discard(name)
        if not self._limited:
            self._limit_payload()

    def _repeat(self) -> None:
        """Have the next `_retry` give all orders again."""
        self._unswitched = set(self._wanted)
        self._limited = False

    def _want(self, name: str, on: bool) -> None:
        self._wanted[name] = on
        self._unswitched.add(name)

    def _order(self, name: str, on: bool) -> bool:
        return self._switches.order(lambda: self._eps.set_switch(name, on))

    def _switch(self, name: str, on: bool) -> None:
        if not self._order(name, on):
            raise CommandRefused(Failure.DEVICE, f"the EPS did not switch {name}")
        self._wanted[name] = on
        self._unswitched.discard(name)

    def _sample(self) -> Sample:
        reading = self.reading or _UNREAD
        return {
            "soc_frac": reading.soc_frac,
            "solar_w": reading.solar_w,
            "load_w": reading.load_w,
            "battery_w": reading.battery_w,
            "bus_v": reading.bus_v,
            "mode": self._mode,
            "payload": int(self.payload_on),
            "eps_faults": self._device.faults + self._switches.faults,
        }
