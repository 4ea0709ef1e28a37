"""Power duty: samples the EPS, holds the power mode, and falls back to safe mode when charge runs low.

What ground commanded (mode, payload switch) is kept over a reboot: a payload that was switched off stays off.
"""

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
REPEAT_TICKS = 30
_ROW = "power"
_MODES_MAX = 256  # a mode travels as one octet
_UNREAD = PowerReading(*(float("nan"),) * 5)
STALE_S = 10.0  # a reading older than this says nothing: no decision rests on it, housekeeping shows NaN


@dataclass(frozen=True, slots=True)
class ModeConfig:
    name: str = key(text="the mode's name")
    payload_w: float = key(minimum=0, maximum=1000, text="what the payload draws while it computes")
    tile_s: float = key(minimum=0.001, maximum=3600, text="tabled duration of one inference")
    admits: bool = key(True, text="false: no payload job starts in this mode")

    def faults(self) -> list[tuple[str, str]]:
        """A mode's name is the label of its number in commands and reports."""
        return [] if is_label(self.name) else [("name", f"is {self.name!r}, should be {LABEL_RULE}")]


@dataclass(frozen=True, slots=True)
class PowerConfig:
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
                durable=True, urgent=True,
            ),
            Command(
                "payload_power", apid, 8, 1, "switch the payload", (Field("state", "u8", labels=_SWITCHES),),
                function=2, durable=True, urgent=True,
            ),
        ),
        settings=settings_of(config),
    )  # fmt: skip


class Power(Service):
    """The newest reading, the mode, and the payload switch. `reading` is None without a good sample in `STALE_S`."""

    def __init__(self, config: PowerConfig, eps: Eps, governor: Governor | None, parameters: Parameters,
                 vault: Vault, events: EventSink) -> None:  # fmt: skip
        self.reading: PowerReading | None = None
        self.payload_on = True
        self.payload_cycles = 0
        self._vault = vault
        self._config = config
        self._modes = tuple(PowerMode(m.name, m.payload_w, m.tile_s, m.admits) for m in config.mode)
        self._mode = next(i for i, m in enumerate(self._modes) if m.name == config.start_mode)
        self._commanded_mode = self._mode  # what is gone back to when a low battery has recovered
        self._protecting = False
        self._computing: set[str] = set()  # apps that work
        self._eps = eps
        self._governor = governor
        self._parameters = parameters
        self._events = events
        self._device = Device("eps", events)
        # Faults of their own: one that switches badly may still be read.
        self._switches = Device("eps switches", events)
        self._limiter = Device("payload governor", events)
        # What each switch should be. A transmitter that the boot before left on is switched off.
        self._wanted: dict[str, bool] = {"radio": False}
        self._unswitched: set[str] = {"radio"}  # those that the EPS has still to be told
        self._limited = False
        self._foreign = ForeignRows("power mode", events)
        self._load()

    @property
    def mode(self) -> PowerMode:
        return self._modes[self._mode]

    def handlers(self) -> Iterable[CommandHandler]:
        return (
            CommandHandler("set_power_mode", self._check_mode, self._command_mode),
            CommandHandler("payload_power", None, self._command_payload),
        )

    def samplers(self) -> Iterable[Sampler]:
        return (Sampler("power", self._sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("power", self.run, deadline_s=0.2, critical=True),)

    def set_computing(self, app: str, computing: bool) -> None:
        """`app` starts or ends its work; the payload's power limit is that of work while any app does."""
        if computing:
            self._computing.add(app)
        else:
            self._computing.discard(app)
        self._limit_payload()

    def switch_payload(self, on: bool) -> None:
        """Raises CommandRefused where the EPS does not switch."""
        self._switch("payload", on)
        if on != self.payload_on:
            self.payload_on = on
            self.payload_cycles += on
            self._events.emit("payload_power", int(on))
        self._limit_payload()

    def switch_transmitter(self, on: bool) -> None:
        """What the EPS does not do now is tried again at each sample."""
        self._want("radio", on)
        self._retry()

    async def run(self, task: Task) -> None:
        self._want("payload", self.payload_on)
        read_ns = 0
        async for tick in task.every(self._config.sample_period_s, deadline_s=0.2):
            if tick.index % REPEAT_TICKS == 0:
                # A device may have missed an order, or have forgotten it when it restarted itself.
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
        """Enter safe mode below one charge, go back to the mode before it above another."""
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
                Failure.REFUSED_IN_MODE, f"battery is low, only {self._modes[0].name} until it has recovered"
            )

    def _command_mode(self, mode: int) -> Durable:
        self._check_mode(mode)
        self._commanded_mode = mode  # while the battery is low that is the safe mode: it is not left by itself then
        self._set_mode(mode, "command")
        return self._keep()

    def _command_payload(self, state: int) -> Durable:
        self.switch_payload(bool(state))
        return self._keep()

    def _keep(self) -> Durable:
        """What was commanded, to be stored. It is in force already: safe mode waits for no disk."""
        return Durable({_ROW: bytes((self.payload_on,)) + self._modes[self._commanded_mode].name.encode()})

    def _load(self) -> None:
        """What was commanded before this boot. A mode that this mission does not have gives way to its start mode."""
        content = self._vault.get(_ROW)
        if not content:
            return
        self.payload_on = bool(content[0])
        name = content[1:].decode(errors="replace")
        for mode, one in enumerate(self._modes):
            if one.name == name:
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
        """Orders of our own that a device did not take are given again."""
        for name in sorted(self._unswitched):
            if self._order(name, self._wanted[name]):
                self._unswitched.discard(name)
        if not self._limited:
            self._limit_payload()

    def _repeat(self) -> None:
        """Have all orders given again at the next sample."""
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
