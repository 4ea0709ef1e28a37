"""Admission: may this job start now, later, or never? Pure functions of state, configuration and job."""

# The order of the questions in `admit` is the order of what can be said for certain:
#   1. The deadline. A job that cannot be done in time is refused for good, whatever the state: waiting makes it worse.
#   2. What delays every job alike: payload switched off, a mode that admits none, a board too hot.
#   3. What depends on the job: its energy rule, and room for its product in the outbox.
# A job's recorded reason is the first one met, so a job that waits for power is not reported as waiting for room.
#
# Charge and temperature have hysteresis: a gate shuts at one threshold and opens at another, because the load itself
# moves both (an inference drains the battery and heats the board), and a single threshold would start and stop it in
# turn. The gates are all the memory that admission has. They are a value, replaced by `update_gates` for each new
# state.
#
# Energy rules come by ascending priority number, from the most urgent: the first rule that covers a job decides. Rules
# for less urgent jobs should stop at a higher charge, so that the remaining charge is kept for the urgent ones.

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.app import NodeState
from flight.core.nanoseconds import ns
from payloads.config import PayloadConfig
from payloads.jobs import Job, Reason


@dataclass(frozen=True, slots=True)
class Gates:
    """What hysteresis keeps shut: one gate per energy rule, and one for heat. True is shut."""

    energy: tuple[bool, ...]
    heat: bool

    @classmethod
    def open(cls, config: PayloadConfig) -> Gates:
        """Return gates that are all open, as at boot."""
        return cls((False,) * len(config.energy), False)


@dataclass(frozen=True, slots=True)
class Admit:
    """The job may start."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The job may not start now; ask again."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job will never start: it cannot be done in time any more."""

    reason: Reason


Verdict = Admit | Delay | Refuse


def update_gates(gates: Gates, config: PayloadConfig, state: NodeState) -> Gates:
    """Return the gates for a new state.

    A gate for charge shuts below `stop_soc_frac` and opens at `resume_soc_frac`; one for heat shuts above `heat_stop_c`
    and opens at `heat_resume_c`. In between it stays as it is.
    """
    energy = tuple(
        state.soc_frac < (rule.resume_soc_frac if shut else rule.stop_soc_frac)
        for shut, rule in zip(gates.energy, config.energy, strict=True)
    )
    heat = state.board_c > (config.heat_resume_c if gates.heat else config.heat_stop_c)
    return Gates(energy, heat)


def admit(job: Job, now_ns: int, gates: Gates, config: PayloadConfig, state: NodeState, room_octets: int) -> Verdict:
    """Return the verdict on one job.

    room_octets: free in the outbox, less what running jobs have reserved. A deadline counts as missed as soon as the
    app's duration in this mode does not fit before it. The energy rule of a job is the first one whose priority number
    is not below the job's; a job beyond all rules needs no charge.
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
