"""What request sequences add to the dictionary and to the mission file (ECSS-E-ST-70-41C, 6.21 and 8.21).

The delay of a step stands before its request: it counts from the beginning of the step before. That of the first step
counts from the start of the sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flight.contract.dictionary import Command, Declarations, EventDefinition, Report
from flight.contract.fields import ROWS_MAX, Field
from flight.core.config import key

DELAY_MAX_S = 86_400 * 7.0  # a week; the schedule is for longer times, since it survives a reboot
NAME_OCTETS_MAX = 32  # of UTF-8: it is a part of a key of the vault
STEPS_MAX = ROWS_MAX  # a packet counts its rows in an octet

NAME = Field("sequence", "str", text="its name")
STEPS = Field("steps", "rows", fields=(Field("delay_ms", "u32", "ms", "after the beginning of the step before"),
                                       Field("request", "packet", text="the telecommand")))  # fmt: skip


def is_name(name: str) -> bool:
    """Whether a sequence, of the mission or of the ground, may have this name."""
    return 0 < len(name.encode()) <= NAME_OCTETS_MAX


@dataclass(frozen=True, slots=True)
class SequencingConfig:
    """Mission section [sequencing]: room for sequences from ground, and how many run at a time."""

    loaded: int = key(16, minimum=0, maximum=255, text="sequences from ground held at most")
    octets: int = key(32_000, minimum=0, maximum=200_000, text="what they take at most")
    running: int = key(4, minimum=1, maximum=32, text="sequences running at a time at most")


@dataclass(frozen=True, slots=True)
class StepConfig:
    """One step. Its arguments are numbers, labels, texts, and rows as arrays."""

    command: str = key(text="a command of the dictionary")
    delay_s: float = key(0.0, minimum=0, maximum=DELAY_MAX_S, text="after the beginning of the step before")
    arguments: Mapping[str, object] = key({}, text="the command's arguments by name, rows as arrays")


@dataclass(frozen=True, slots=True)
class SequenceConfig:
    """One `[[sequence]]`. The arguments of its commands are checked with the mission's dictionary."""

    name: str = key(text="by which commands and events name it")
    steps: tuple[StepConfig, ...] = key(text="one after the other, [[sequence.steps]]")
    on_event: str = key("", text="event that starts it, empty for none")

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for a name or a number of steps that no sequence may have."""
        found = []
        if not is_name(self.name):
            found.append(("name", f"is {self.name!r}, should be 1 .. {NAME_OCTETS_MAX} octets"))
        if not 0 < len(self.steps) <= STEPS_MAX:
            found.append(("steps", f"has {len(self.steps)} steps, should have 1 .. {STEPS_MAX}"))
        return found


def declare(apid: int) -> Declarations:
    """Return commands, reports and events of ST[21]."""
    state = (NAME, Field("status", "u8", labels=("inactive", "running")), Field("step", "u8", "", "steps begun"),
             Field("steps", "u8"))  # fmt: skip
    return Declarations(
        commands=(
            Command("load_sequence", apid, 21, 1, "keep a sequence of commands", (NAME, STEPS), durable=True),
            Command("unload_sequence", apid, 21, 3, "forget a sequence that was loaded", (NAME,), durable=True),
            Command("activate_sequence", apid, 21, 4, "start a sequence", (NAME,), durable=True),
            Command("abort_sequence", apid, 21, 5, "begin no further step of a running sequence", (NAME,)),
            Command("report_sequences", apid, 21, 6, "report the execution status of every sequence", idempotent=True),
            Command("report_sequence", apid, 21, 11, "report the steps of a sequence", (NAME,), idempotent=True),
            Command("abort_all_sequences", apid, 21, 13, "abort all that run, and report which"),
        ),
        reports=(
            Report(apid, 21, 7, "sequence_status", (Field("sequences", "rows", fields=state),)),
            Report(apid, 21, 12, "sequence_content", (NAME, STEPS)),
            Report(apid, 21, 14, "sequences_aborted", (Field("sequences", "rows", fields=(NAME,)),)),
        ),
        events=(
            EventDefinition(
                apid, 90, "sequence_started", "info", "sequence {sequence} started by {cause}",
                (NAME, Field("cause", "str")),
            ),
            EventDefinition(apid, 91, "sequence_ended", "info", "sequence {sequence} ended", (NAME,)),
            EventDefinition(
                apid, 92, "sequence_aborted", "medium",
                "sequence {sequence} ended after step {step} of {steps}: {cause}",
                (NAME, Field("step", "u8"), Field("steps", "u8"), Field("cause", "str")),
            ),
            EventDefinition(
                apid, 93, "sequence_not_started", "medium", "sequence {sequence} not started: {reason}",
                (NAME, Field("reason", "str")),
            ),
        ),
    )  # fmt: skip
