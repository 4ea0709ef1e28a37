"""Housekeeping structures at work: how each is collected, who samples it, and what of that is stored.

A structure of the dictionary is sampled by its owners. A sample is values by name, and the names are those of the
structure's fields. A structure defined from ground is a list of parameters of those structures.
"""

# Samples go by name, never by position: two values that have changed places would be as plausible as before, and no
# test of a report would notice (ADR 0025). Every structure is sampled once at boot, and the node does not start if a
# name is missing, unknown or given twice. The same is checked in each report, which costs the comparison of three
# lengths.
#
# What a sampler raises must not end the task that collects all structures. So this is one of the few places that catch
# everything: the structure is set aside and an event says why.
#
# A structure from ground samples each of its sources once per report, however many parameters it takes of it, so values
# of one source belong to one instant. Parameters are stored by name: the definition means the same under software that
# numbers its fields in another way. The row of a plan begins with its format; what does not fit is dropped with an
# event (housekeeping.py).

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from flight.contract.app import Sample
from flight.contract.dictionary import FIELDS_MAX, STRUCTURES_END, Structure, hk_parameters, is_period
from flight.contract.fields import Field, Layout, Value, misfit
from flight.core.errors import PASSES_THROUGH, DecodeError, MisuseError, SetupError
from flight.core.task import text_of

KEEPALIVE_MAX_S = 86_400.0
SID_OCTETS = 2

Sampler = Callable[[], Sample]

_FORMAT = 1
_ROW = Layout(
    (
        Field("format", "u8"),
        Field("enabled", "u8"),
        Field("period_s", "f64"),
        Field("keepalive_s", "f64"),
        Field("parameters", "rows", fields=(Field("name", "str"),)),
    )
)


class SamplerFailed(MisuseError):
    """Raised if a sampler raises anything: it says which structure's sampler, and what."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a structure is collected.

    period_s: 0 if none was ever given. keepalive_s: 0 to send every report; otherwise one is sent when a value has
    changed, and at least this often. parameters: their numbers, for a structure defined from ground alone.
    """

    enabled: bool
    period_s: float
    keepalive_s: float = 0.0
    parameters: tuple[int, ...] = ()


class Collection:
    """One structure with its plan, the time at which it is sampled next, and what of it went out last."""

    def __init__(self, structure: Structure, sample: Callable[[], Sequence[Value]], plan: Plan, title: str) -> None:
        self.structure = structure
        self._title = title
        self.plan = plan
        self.due_ns = 0
        self.sent = b""
        self.sent_ns = 0
        self._layout = structure.layout
        self._sample = sample

    def octets(self) -> bytes:
        """Sample now, and return the source data of TM[3,25]. Raises MisuseError for values that do not fit."""
        values = self._sample()
        try:
            octets = self._layout.encode(values)
        # What encoding raises for a value of the wrong kind. Apps give samples: any of these may come.
        except (ArithmeticError, AttributeError, TypeError, ValueError, struct.error) as error:
            fault = misfit(self.structure.fields, values) or f"{type(error).__name__}: {error}"
            raise MisuseError(f"{self._title}: its sample has {fault}") from None
        return self.structure.sid.to_bytes(SID_OCTETS, "big") + octets


class Structures:
    """The structures of the dictionary with their samplers, and the parameters that others are made of.

    `apps`: names of payload apps by APID, for messages about a structure of theirs.
    """

    def __init__(self, structures: tuple[Structure, ...], apps: Mapping[int, str] = MappingProxyType({})) -> None:
        self.by_sid = {s.sid: s for s in structures}
        self.by_name = {s.name: s for s in structures}
        self.parameters = hk_parameters(structures)
        self._numbers = {parameter.name: number for number, parameter in self.parameters.items()}
        self._fields = {s.sid: tuple(field.name for field in s.fields) for s in structures}
        self._samplers: dict[int, list[Sampler]] = {sid: [] for sid in self.by_sid}
        self._apps = apps

    def provide(self, name: str, sample: Sampler) -> None:
        """Take values of the structure `name` from `sample`, beside those that others give."""
        self._samplers[self.by_name[name].sid].append(sample)

    def check_samples(self) -> None:
        """Sample every structure once.

        Raises SetupError with a line for each that nobody samples, or whose sample does not fit its fields.
        """
        faults = [fault for sid in self.by_sid for fault in self._faults(sid)]
        if faults:
            raise SetupError("\n".join(faults))

    def _faults(self, sid: int) -> Iterator[str]:
        if not self._samplers[sid]:
            yield f"{self._title(sid)}: nobody samples it"
            return
        try:
            if fault := misfit(self.by_sid[sid].fields, self._sample(sid)):
                yield f"{self._title(sid)}: its sample has {fault}"
        except SamplerFailed:
            return  # it may have nothing to give yet; the report that is due sets it aside
        except SetupError as error:
            yield str(error)

    def _ask(self, sid: int, sampler: Sampler) -> Any:
        """Return what `sampler` gives, which may be anything. Raises SamplerFailed, whatever it raises."""
        try:
            return sampler()
        except PASSES_THROUGH:
            raise
        except BaseException as error:  # an app's sampler may raise anything, and must not keep the node from booting
            text = " ".join(text_of(error).split())
            raise SamplerFailed(f"{self._title(sid)}: its sampler raises {text}") from error

    def collection(self, sid: int, apid: int, plan: Plan) -> Collection:
        """Return the collection of structure `sid` of the dictionary, or of one that `plan` defines, under `apid`."""
        known = self.by_sid.get(sid)
        if known is not None:
            return Collection(known, partial(self._sample, sid), plan, self._title(sid))
        fields = tuple(self.parameters[number] for number in plan.parameters)
        structure = Structure(apid, sid, f"hk-{sid}", plan.period_s, fields)
        return Collection(
            structure, partial(self._join, plan.parameters), plan, f"housekeeping structure {structure.name}"
        )

    def _sample(self, sid: int) -> Sequence[Value]:
        """Return the values of a structure in the order of its fields. Raises MisuseError for what does not fit."""
        given_parts: list[Any] = [self._ask(sid, sampler) for sampler in self._samplers[sid]]
        parts: list[Sample] = [part for part in given_parts if isinstance(part, Mapping)]
        if len(parts) < len(given_parts):
            given = next(type(part).__name__ for part in given_parts if not isinstance(part, Mapping))
            what = f"its sample is {given}, should be values by the names of its fields"
            raise MisuseError(f"{self._title(sid)}: {what}")
        sample: dict[str, Value] = {}
        for part in parts:
            sample.update(part)
        fields = self._fields[sid]
        values = [sample[name] for name in fields if name in sample]
        # If as many values are given as there are fields, and all fields are among them, none is twice or unknown.
        if not len(values) == len(fields) == sum(map(len, parts)):
            raise MisuseError(self._misfit(sid, parts))
        return values

    def _misfit(self, sid: int, parts: Sequence[Sample]) -> str:
        fields, names = self._fields[sid], [str(name) for part in parts for name in part]
        faults = (
            ("lacks", sorted(set(fields) - set(names))),
            ("has no field for", sorted(set(names) - set(fields))),
            ("repeats", sorted({name for name in names if names.count(name) > 1})),
        )
        what = "; ".join(f"{text} {', '.join(some)}" for text, some in faults if some)
        return f"{self._title(sid)}: its sample {what}"

    def _title(self, sid: int) -> str:
        """Return the structure in words, and whose it is if it belongs to an app."""
        structure = self.by_sid[sid]
        whose = f"app {self._apps[structure.apid]}: " if structure.apid in self._apps else ""
        return f"{whose}housekeeping structure {structure.name}"

    def _join(self, parameters: tuple[int, ...]) -> list[Value]:
        sids = dict.fromkeys(number // FIELDS_MAX for number in parameters)
        # Once per source: values of one structure that belong together are of one instant.
        rows = {sid: self._sample(sid) for sid in sids}
        return [rows[number // FIELDS_MAX][number % FIELDS_MAX] for number in parameters]

    def encode(self, plan: Plan) -> bytes:
        """Return the row of `plan` as it is stored."""
        names = tuple((self.parameters[number].name,) for number in plan.parameters)
        return _ROW.encode((_FORMAT, int(plan.enabled), plan.period_s, plan.keepalive_s, names))

    def decode(self, sid: int, octets: bytes) -> Plan:
        """Decode a stored plan. Raises DecodeError for what does not fit structure `sid` or this software."""
        form, enabled, period_s, keepalive_s, rows = _ROW.decode(octets)
        assert isinstance(period_s, float)
        assert isinstance(keepalive_s, float)
        assert isinstance(rows, tuple)
        if form != _FORMAT:
            raise DecodeError(f"format {form!r}, only {_FORMAT} is known")
        if not is_period(period_s) or not 0 <= keepalive_s <= KEEPALIVE_MAX_S:
            raise DecodeError(f"period {period_s:g} s with keepalive {keepalive_s:g} s is out of range")
        if enabled and not period_s:
            raise DecodeError("enabled without a period")
        # A row with parameters defines a structure and needs a number of ground's; one without is about the
        # dictionary's.
        if sid < STRUCTURES_END if rows else sid not in self.by_sid:
            raise DecodeError("there is no such structure")
        names = [str(name) for (name,) in rows]
        unknown = [name for name in names if name not in self._numbers]
        if unknown:
            raise DecodeError(f"there is no parameter {', '.join(unknown)}")
        return Plan(bool(enabled), period_s, keepalive_s, tuple(self._numbers[name] for name in names))
