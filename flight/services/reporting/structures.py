"""Housekeeping structures at work: how each is collected, who samples it, and what of that is stored.

A structure of the dictionary is sampled by its owners. A sample is values by name, and the names are those of the
structure's fields: a value that is missing, or that no field shows, is found at boot, before anything is reported.

A structure defined from ground is a list of parameters of those: its sources are sampled once per report, however many
parameters it takes of them. Parameters are stored by name, so that a definition means the same under software that
numbers its fields in another way.
"""

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
    """A sampler raised something: which structure's, and what."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a structure is collected.

    period_s: 0 where none was ever given. keepalive_s: 0 to send every report; else one is sent when a value changed,
    and at least so often. parameters: numbers, of a structure defined from ground alone.
    """

    enabled: bool
    period_s: float
    keepalive_s: float = 0.0
    parameters: tuple[int, ...] = ()


class Collection:
    """One structure and its plan. `due_ns` is when it is sampled next; `sent` and `sent_ns` say what went out last."""

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
        """The source data of TM[3,25] as of now. Raises MisuseError for values that their fields do not hold."""
        values = self._sample()
        try:
            octets = self._layout.encode(values)
        except (ArithmeticError, AttributeError, TypeError, ValueError, struct.error) as error:
            fault = misfit(self.structure.fields, values) or f"{type(error).__name__}: {error}"
            raise MisuseError(f"{self._title}: its sample has {fault}") from None
        return self.structure.sid.to_bytes(SID_OCTETS, "big") + octets


class Structures:
    """Those of the dictionary with their samplers, and the parameters that others are made of. `apps`: names of payload
    apps by APID, for what is said about a structure of theirs.
    """

    def __init__(self, structures: tuple[Structure, ...], apps: Mapping[int, str] = MappingProxyType({})) -> None:
        self.by_sid = {s.sid: s for s in structures}
        self.by_name = {s.name: s for s in structures}
        self.parameters = hk_parameters(structures)
        self._numbers = {one.name: number for number, one in self.parameters.items()}
        self._fields = {s.sid: tuple(field.name for field in s.fields) for s in structures}
        self._samplers: dict[int, list[Sampler]] = {sid: [] for sid in self.by_sid}
        self._apps = apps

    def provide(self, name: str, sample: Sampler) -> None:
        """Take values of structure `name` from `sample`, beside those that others give."""
        self._samplers[self.by_name[name].sid].append(sample)

    def check_samples(self) -> None:
        """Sample every structure once; raises SetupError with a line for each whose names do not fit."""
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

    def _asked(self, sid: int, sampler: Sampler) -> Any:
        """What `sampler` gives, which may be anything. Raises SamplerFailed, whatever it raises."""
        try:
            return sampler()
        except PASSES_THROUGH:
            raise
        except BaseException as error:
            text = " ".join(text_of(error).split())
            raise SamplerFailed(f"{self._title(sid)}: its sampler raises {text}") from error

    def collection(self, sid: int, apid: int, plan: Plan) -> Collection:
        """Structure `sid` of the dictionary, or one that `plan` defines, sent under `apid`."""
        known = self.by_sid.get(sid)
        if known is not None:
            return Collection(known, partial(self._sample, sid), plan, self._title(sid))
        fields = tuple(self.parameters[number] for number in plan.parameters)
        made = Structure(apid, sid, f"hk-{sid}", plan.period_s, fields)
        return Collection(made, partial(self._join, plan.parameters), plan, f"housekeeping structure {made.name}")

    def _sample(self, sid: int) -> Sequence[Value]:
        """The values of a structure in the order of its fields; raises MisuseError for what does not fit."""
        given_parts: list[Any] = [self._asked(sid, sampler) for sampler in self._samplers[sid]]
        parts: list[Sample] = [part for part in given_parts if isinstance(part, Mapping)]
        if len(parts) < len(given_parts):
            given = next(type(part).__name__ for part in given_parts if not isinstance(part, Mapping))
            raise MisuseError(f"{self._title(sid)}: its sample is {given}, should be values by the names of its fields")
        sample: dict[str, Value] = {}
        for part in parts:
            sample.update(part)
        fields = self._fields[sid]
        values = [sample[name] for name in fields if name in sample]
        # With as many values given as there are fields, and every field among them, none is given twice or too many.
        if not len(values) == len(fields) == sum(map(len, parts)):
            raise MisuseError(self._misfit(sid, parts))
        return values

    def _misfit(self, sid: int, parts: Sequence[Sample]) -> str:
        fields, names = self._fields[sid], [str(name) for part in parts for name in part]
        told = (
            ("lacks", sorted(set(fields) - set(names))),
            ("has no field for", sorted(set(names) - set(fields))),
            ("has twice", sorted({name for name in names if names.count(name) > 1})),
        )
        what = "; ".join(f"{text} {', '.join(some)}" for text, some in told if some)
        return f"{self._title(sid)}: its sample {what}"

    def _title(self, sid: int) -> str:
        """The structure in words, and whose it is if it is an app's."""
        one = self.by_sid[sid]
        whose = f"app {self._apps[one.apid]}: " if one.apid in self._apps else ""
        return f"{whose}housekeeping structure {one.name}"

    def _join(self, parameters: tuple[int, ...]) -> list[Value]:
        sids = dict.fromkeys(number // FIELDS_MAX for number in parameters)
        rows = {sid: self._sample(sid) for sid in sids}
        return [rows[number // FIELDS_MAX][number % FIELDS_MAX] for number in parameters]

    def encode(self, plan: Plan) -> bytes:
        """`plan` as it is stored."""
        names = tuple((self.parameters[number].name,) for number in plan.parameters)
        return _ROW.encode((_FORMAT, int(plan.enabled), plan.period_s, plan.keepalive_s, names))

    def decode(self, sid: int, octets: bytes) -> Plan:
        """The inverse of `encode`; raises DecodeError for what does not fit structure `sid` or this software."""
        form, enabled, period_s, keepalive_s, rows = _ROW.decode(octets)
        assert isinstance(period_s, float)
        assert isinstance(keepalive_s, float)
        assert isinstance(rows, tuple)
        if form != _FORMAT:
            raise DecodeError(f"format {form!r}, only {_FORMAT} is known")
        if not is_period(period_s) or not 0 <= keepalive_s <= KEEPALIVE_MAX_S:
            raise DecodeError(f"period {period_s:g} s with keepalive {keepalive_s:g} s")
        if enabled and not period_s:
            raise DecodeError("enabled without a period")
        if sid < STRUCTURES_END if rows else sid not in self.by_sid:
            raise DecodeError("there is no such structure")
        names = [str(name) for (name,) in rows]
        unknown = [name for name in names if name not in self._numbers]
        if unknown:
            raise DecodeError(f"there is no parameter {', '.join(unknown)}")
        return Plan(bool(enabled), period_s, keepalive_s, tuple(self._numbers[name] for name in names))
