"""ST[09] time: the on-board clock, which ground steers, and the reports by which ground knows how it goes.

On-board time is the platform's TAI and a correction that is kept over reboots:

    time = raw + offset + drift * (raw - since)      offset in ns, drift in parts per billion, since when in raw time

A time report (TM[9,2], ECSS-E-ST-70-41C 6.9) says what time it was when the first bit of a certain frame of the
real-time channel left: of every one whose virtual channel frame count is a multiple of 2^rate.
"""

# A step or a new drift begins a new correction at the present raw time, with the offset that the old one has reached.
# So a change of drift never makes the clock jump, and a step adds to whatever the drift has made of it. All of it is
# integer arithmetic in ns: exact, and the same on every machine.
#
# The correction and the report rate are rows of the vault, put in force when they are durable. Commands build on the
# correction that was decided last (`_latest`), in force or on its way to the disk, so that two steps in a row both
# count. Time never leaves the range of the time code, 1958 to 2094: a command that would do so is refused, and if the
# platform's own clock is out of range the time is held at its end.
#
# A time report is a spacecraft time packet: APID 0, no secondary header, no packet error control of its own. Beside
# rate, time and status it names the frame count, so that ground need not guess which frame was meant if reports wait in
# a queue. A report makes a frame of its own, so two of them are at least GAP_S apart, whatever the rate asks for:
# otherwise each report would bring about the next one.

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from flight.contract.app import CommandRefused, Durable, Sample
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.failures import Failure
from flight.contract.fields import Field, Layout
from flight.contract.service import CommandHandler, Sampler, Service
from flight.core.config import key
from flight.core.nanoseconds import NS, ns
from flight.core.platform import Platform
from flight.link.space_packet import SpacePacket
from flight.link.time.time_code import TIME_NS_MAX
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import SEQUENCE_MODULUS, Downlink
from flight.services.settings.foreign_rows import ForeignRows
from flight.store.vault import Vault

TIME_APID = 0  # that of time packets
GAP_S = 1.0  # between two time reports at least
_CORRECTION = "time.correction"
_RATE = "time.rate"
_CORRECTION_ROW = struct.Struct(">qiQ")  # offset_ns, drift_ppb, since_ns
_RATE_MAX = 8  # a frame count has 8 bits: from 8 on only count 0 is a multiple of 2^rate
_FREE_RUNNING, _STEERED = 0, 1
_REPORT = (
    Field("rate", "u8", "", "a report every 2^rate frames of the real-time channel"),
    Field("time", "time", "ns", "on-board time when the first bit of the frame left"),
    Field("status", "u8", "", "time reference", labels=("free running", "steered by ground")),
    Field("frame", "u8", "", "virtual channel frame count of that frame"),
)


@dataclass(frozen=True, slots=True)
class TimeConfig:
    """Mission section [time]."""

    report_rate: int = key(
        2, minimum=0, maximum=_RATE_MAX, text="a time report every 2^N frames of VC0, at least 1 s apart"
    )
    step_max_s: float = key(86_400.0, minimum=0, maximum=3.2e9, text="largest step of the clock by one command")
    drift_max_ppb: int = key(500_000, minimum=0, maximum=2_000_000_000, text="largest correction of its rate")


def declare(apid: int) -> Declarations:
    """Return commands, the report, events and structure of ST[09]."""
    return Declarations(
        structures=(
            Structure(
                apid, 11, "time", 0.0,
                (
                    Field("offset_us", "i64", "us", "correction of the clock as it stands now"),
                    Field("drift_ppb", "i32", "ppb", "correction of its rate"),
                    Field("rate", "u8", "", "time reports: one every 2^rate frames"),
                    Field("reports", "u32", "", "time reports sent"),
                    Field("left_out", "u32", "", "not made: too soon after the one before, or no room on the link"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 110, "time_adjusted", "low", "the clock was set by {step_s:+.6f} s",
                (Field("step_s", "f64", "s"), Field("old", "time", "ns"), Field("new", "time", "ns")),
            ),
            EventDefinition(
                apid, 111, "drift_corrected", "info", "the clock's rate is corrected by {new} ppb, was {old} ppb",
                (Field("old", "i32", "ppb"), Field("new", "i32", "ppb")),
            ),
        ),
        reports=(Report(TIME_APID, 9, 2, "time_report", _REPORT),),
        commands=(
            Command(
                "set_time_report_rate", apid, 9, 1, "report the time every 2^rate frames of VC0, kept over reboots",
                (Field("rate", "u8", minimum=0, maximum=_RATE_MAX),), durable=True,
            ),
            Command(
                "adjust_time", apid, 8, 1, "step the on-board clock, kept over reboots",
                (Field("step_us", "i64", "us"),), function=20, durable=True,
            ),
            Command(
                "set_drift_correction", apid, 8, 1, "let the on-board clock run faster by this, kept over reboots",
                (Field("drift_ppb", "i32", "ppb"),), function=21, durable=True,
            ),
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of the clock: see the head of the file. `since_ns` is raw time."""

    offset_ns: int = 0
    drift_ppb: int = 0
    since_ns: int = 0

    def of(self, raw_ns: int) -> int:
        """Return what is added to the raw time `raw_ns`, in ns."""
        return self.offset_ns + self.drift_ppb * (raw_ns - self.since_ns) // NS


class Clock:
    """On-board time: whatever stamps packets, schedules or compares TAI asks this clock. The log has the platform's."""

    def __init__(self, platform: Platform, vault: Vault) -> None:
        self.damage = ""  # why the stored correction is not in force, for the node to tell
        self._platform = platform
        self._vault = vault
        self._correction = Correction()
        self._foreign: bytes | None = None  # a stored correction that does not fit, left as it is
        stored = vault.get(_CORRECTION)
        if stored is not None:
            try:
                correction = Correction(*_CORRECTION_ROW.unpack(stored))
                self._check_range(correction)
            except (struct.error, ValueError) as error:
                self.damage = f"the clock is not corrected: {error}"
                self._foreign = stored
            else:
                self._correction = correction

    @property
    def correction(self) -> Correction:
        """The correction in force."""
        return self._correction

    def tai_ns(self) -> int:
        """Return on-board time now, ns of TAI since 1958, never out of the time code's range."""
        raw_ns = self._platform.tai_ns()
        return min(max(raw_ns + self._correction.of(raw_ns), 0), TIME_NS_MAX)

    def tai_at(self, now_ns: int) -> int:
        """Return on-board time at `now_ns` of the node's timeline, a moment not far from now."""
        return self.tai_ns() + now_ns - self._platform.now_ns()

    def stepped(self, step_ns: int) -> Correction:
        """Return the correction with which the clock goes on `step_ns` further. Raises ValueError if it cannot."""
        latest, raw_ns = self._latest(), self._platform.tai_ns()
        return self._check_range(Correction(latest.of(raw_ns) + step_ns, latest.drift_ppb, raw_ns))

    def drifting(self, drift_ppb: int) -> Correction:
        """Return the correction with which the clock goes on from here at another rate. Raises ValueError."""
        raw_ns = self._platform.tai_ns()
        return self._check_range(Correction(self._latest().of(raw_ns), drift_ppb, raw_ns))

    def _latest(self) -> Correction:
        """Return the correction that was decided last, in force or on its way there."""
        stored = self._vault.get(_CORRECTION)
        if stored is None or stored == self._foreign:
            return self._correction
        return Correction(*_CORRECTION_ROW.unpack(stored))

    def _check_range(self, correction: Correction) -> Correction:
        raw_ns = self._platform.tai_ns()
        if not 0 <= raw_ns + correction.of(raw_ns) <= TIME_NS_MAX:
            raise ValueError("the time would be out of the time code's range, 1958 to 2094")
        return correction

    def correct(self, correction: Correction) -> None:
        """Put a correction in force."""
        self._correction = correction


class TimeService(Service):
    """ST[09] of one node: its commands, and a time report on the link whose frame it is about."""

    def __init__(self, config: TimeConfig, clock: Clock, platform: Platform, vault: Vault, events: Events) -> None:
        self.reports = 0
        self.left_out = 0
        self._config = config
        self._clock = clock
        self._platform = platform
        self._events = events
        self._layout = Layout(_REPORT)
        self._last_ns: int | None = None
        self.rate = config.report_rate
        stored = vault.get(_RATE)
        if stored is not None and len(stored) == 1 and stored[0] <= _RATE_MAX:
            self.rate = stored[0]
        elif stored is not None:
            ForeignRows("time", events).report(_RATE, f"not one octet of at most {_RATE_MAX}")

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[09] and of the clock's corrections."""
        return (
            CommandHandler("set_time_report_rate", None, self.set_rate),
            CommandHandler("adjust_time", self.check_adjust, self.adjust),
            CommandHandler("set_drift_correction", self.check_drift, self.set_drift),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "time"."""
        return (Sampler("time", self.sample),)

    def on_frame(self, link: Downlink, count: int, left_ns: int) -> None:
        """Report the time for a real-time frame that begins to leave on `link` at `left_ns` of the node's timeline."""
        # Not a multiple of 2^rate.
        if count & ((1 << self.rate) - 1):
            return
        if self._last_ns is not None and left_ns - self._last_ns < ns(GAP_S):
            self.left_out += 1
            return
        # Steered as soon as ground has corrected anything, and over reboots.
        status = _STEERED if self._clock.correction != Correction() else _FREE_RUNNING
        data = self._layout.encode((self.rate, self._clock.tai_at(left_ns), status, count))
        packet = SpacePacket(TIME_APID, self.reports % SEQUENCE_MODULUS, data, has_secondary=False)
        if link.send_realtime(packet.encode()):
            self.reports += 1
            self._last_ns = left_ns
        else:
            self.left_out += 1

    def sample(self) -> Sample:
        """Return the values of the structure "time"."""
        correction = self._clock.correction
        return {
            "offset_us": correction.of(self._platform.tai_ns()) // 1000,
            "drift_ppb": correction.drift_ppb,
            "rate": self.rate,
            "reports": self.reports,
            "left_out": self.left_out,
        }

    def set_rate(self, rate: int) -> Durable:
        """Return what a command leaves to be done to set the rate of time reports."""

        def take_effect() -> None:
            self.rate = rate

        return Durable({_RATE: bytes((rate,))}, take_effect)

    def check_adjust(self, step_us: int) -> None:
        """Raise CommandRefused for a step that is too large or leads out of the time code's range."""
        if abs(step_us) > self._config.step_max_s * 1e6:
            raise CommandRefused(
                Failure.BAD_VALUE, f"step of {step_us / 1e6:g} s, largest is {self._config.step_max_s:g} s"
            )
        self._stepped(step_us)

    def _stepped(self, step_us: int) -> Correction:
        """Return the correction after a step. Raises CommandRefused if it is out of range."""
        try:
            return self._clock.stepped(step_us * 1000)
        except ValueError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None

    def adjust(self, step_us: int) -> Durable:
        """Return what a command leaves to be done to step the clock. Raises CommandRefused."""
        correction = self._stepped(step_us)  # again: other steps may have come before it

        def take_effect() -> None:
            old_ns = self._clock.tai_ns()
            self._clock.correct(correction)
            self._events.emit("time_adjusted", step_us / 1e6, old_ns, self._clock.tai_ns())

        return Durable({_CORRECTION: _row(correction)}, take_effect)

    def check_drift(self, drift_ppb: int) -> None:
        """Raise CommandRefused for a correction of the rate that is too large."""
        most = self._config.drift_max_ppb
        if abs(drift_ppb) > most:
            raise CommandRefused(Failure.BAD_VALUE, f"correction of {drift_ppb} ppb, largest is {most} ppb")

    def set_drift(self, drift_ppb: int) -> Durable:
        """Return what a command leaves to be done to correct the clock's rate. Raises CommandRefused."""
        try:
            correction = self._clock.drifting(drift_ppb)
        except ValueError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None

        def take_effect() -> None:
            old = self._clock.correction.drift_ppb
            self._clock.correct(correction)
            self._events.emit("drift_corrected", old, drift_ppb)

        return Durable({_CORRECTION: _row(correction)}, take_effect)


def _row(correction: Correction) -> bytes:
    return _CORRECTION_ROW.pack(correction.offset_ns, correction.drift_ppb, correction.since_ns)
