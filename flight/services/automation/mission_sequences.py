"""Sequences of the mission file as telecommands, checked against the dictionary at boot."""

from __future__ import annotations

from collections.abc import Sequence

from flight.contract.dictionary import Command, Dictionary
from flight.contract.fields import FieldError, Value
from flight.core.config import suggestion
from flight.core.errors import OrbitnodeError, SetupError
from flight.link.pus import PusTc
from flight.link.request_source import GROUND_SEQ_COUNTS, ON_BOARD_SOURCE, ON_BOARD_STEPS_MAX
from flight.services.automation.held import HOLDERS
from flight.services.automation.sequence_declarations import SequenceConfig, StepConfig

Steps = tuple[tuple[int, bytes], ...]  # delay in ms, telecommand


def encode_sequences(dictionary: Dictionary, configs: Sequence[SequenceConfig]) -> dict[str, Steps]:
    """Steps by name. Every step has a sequence count of its own, in the order of the file.

    Raises SetupError that names every fault.
    """
    faults: list[str] = []
    made: dict[str, Steps] = {}
    events = {event.name for event in dictionary.events}
    count = GROUND_SEQ_COUNTS
    for config in configs:
        where = f"sequence {config.name!r}"
        if config.name in made:
            faults.append(f"{where} is there twice")
        if config.on_event and config.on_event not in events:
            faults.append(f"{where}: no event {config.on_event!r}, {suggestion(config.on_event, events)}")
        steps: list[tuple[int, bytes]] = []
        for number, step in enumerate(config.steps):
            try:
                command = dictionary.command(step.command)
                request = _encode(command, _values(command, step), count)
            except (FieldError, OrbitnodeError) as error:
                faults.append(f"{where}: step {number}: {error}")
            else:
                steps.append((round(step.delay_s * 1000), request))
            count += 1
        made[config.name] = tuple(steps)
    if count > GROUND_SEQ_COUNTS + ON_BOARD_STEPS_MAX:
        faults.append(f"{count - GROUND_SEQ_COUNTS} steps in all, {ON_BOARD_STEPS_MAX} at most")
    if faults:
        raise SetupError("\n  ".join([f"the mission's sequences have {len(faults)} faults", *faults]))
    return made


def _values(command: Command, step: StepConfig) -> list[Value]:
    """The arguments in their order; raises FieldError."""
    known = {one.name for one in command.arguments}
    unknown = sorted(step.arguments.keys() - known)
    if unknown:
        have = ", ".join(sorted(known)) or "none"
        raise FieldError(f"{command.name} has no argument {', '.join(unknown)}, have {have}")
    if (command.service, command.subtype) in HOLDERS:
        raise FieldError(f"{command.name} holds commands itself and cannot be a step")
    values: list[Value] = []
    for one in command.arguments:
        given = step.arguments.get(one.name, one.default)
        if given is None:
            raise FieldError(f"{command.name}: argument {one.name} is missing")
        try:
            values.append(one.admit(given))
        except FieldError as error:
            raise FieldError(f"{command.name}: {error}") from None
    return values


def _encode(command: Command, values: Sequence[Value], count: int) -> bytes:
    """Raises FieldError for more than a telecommand holds."""
    try:
        data = command.encode(values)
    except FieldError as error:
        raise FieldError(f"{command.name}: {error}") from None
    seq = count % (1 << 14)  # beyond it the mission is refused as a whole
    return PusTc(command.apid, seq, command.service, command.subtype, data, source=ON_BOARD_SOURCE).encode()
