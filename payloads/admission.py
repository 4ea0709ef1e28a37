"""Admission: may this job start now, later, or never? Pure functions of state, configuration and job.

Charge and temperature have hysteresis, so there is a little memory: `Gates`, replaced by `update_gates` whenever
the node's state was sampled anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.app import NodeState
from flight.core.nanoseconds import ns
from payloads.config import PayloadConfig
from payloads.jobs import Job, Reason


@dataclass(frozen=True, slots=True)
class Gates:
    """What hysteresis keeps shut: one gate for each energy rule, one for heat. True is shut."""

    energy: tuple[bool, ...]
    heat: bool

    @classmethod
    def open(cls, config: PayloadConfig) -> Gates:
        return cls((False,) * len(config.energy), False)


@dataclass(frozen=True, slots=True)
class Admit:
    """The job may start."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Not now; ask again."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never: it cannot be done in time any more."""

    reason: Reason


Verdict = Admit | Delay | Refuse


def update_gates(gates: Gates, config: PayloadConfig, state: NodeState) -> Gates:
    """Shut below the lower threshold, open above the upper one, leave as it is in between."""
    energy = tuple(
        state.soc_frac < (rule.resume_soc_frac if shut else rule.stop_soc_frac)
        for shut, rule in zip(gates.energy, config.energy, strict=True)
    )
    heat = state.board_c > (config.heat_resume_c if gates.heat else config.heat_stop_c)
    return Gates(energy, heat)


def admit(job: Job, now_ns: int, gates: Gates, config: PayloadConfig, state: NodeState, room_octets: int) -> Verdict:
    """The verdict on one job. room_octets: of the outbox, less what running jobs have reserved.

    A deadline is missed as soon as the app's duration in this mode does not fit before it. The rule for a job's energy
    is the first one whose priority number is not below the job's; a job beyond all rules needs no charge.
    """
    app = config.app(job.app)
    if now_ns + ns(state.mode.tile_s * app.time_frac) > job.deadline_ns:
        return Refuse(Reason.DEADLINE)
    if not state.payload_on:
        return Delay(Reason.POWER_OFF)
    if not state.mode.admits:
        return Delay(Reason.MODE)
    if gates.heat:
        return Delay(Reason.HEAT)
    for rule, shut in zip(config.energy, gates.energy, strict=True):
        if job.priority <= rule.priority:
            if shut:
                return Delay(Reason.ENERGY)
            break
    if room_octets < app.reserve_octets:
        return Delay(Reason.DOWNLINK)
    return Admit()
