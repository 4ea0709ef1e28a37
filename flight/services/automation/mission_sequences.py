"""Sequences of the mission file, encoded as telecommands and checked against the dictionary at boot."""

# A mission's sequence must not fail for its spelling when it is needed, perhaps months after launch. So every step is
# encoded at boot, with the same checks as for a telecommand from ground, and the node does not start if one does not
# fit. All faults are found in one go, each with its place in mission.toml.
#
# Request ids: ground counts below GROUND_SEQ_COUNTS, the steps of the mission have the counts above, one each in the
# order of the file, and ON_BOARD_SOURCE as their source. So a report of a step names that step and no command of
# ground, over all boots with the same mission file.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flight.contract.dictionary import Command, Dictionary
from flight.contract.fields import FieldError, Value
from flight.core.config import Fault, suggestion
from flight.core.errors import OrbitnodeError, SetupError
from flight.link.pus import PusTc
from flight.link.sequence_count_ranges import GROUND_SEQ_COUNTS, ON_BOARD_SOURCE, ON_BOARD_STEPS_MAX
from flight.services.automation.held_commands import HOLDERS
from flight.services.automation.sequence_declarations import SequenceConfig, StepConfig

Steps = tuple[tuple[int, bytes], ...]  # delay in ms, telecommand


def encode_sequences(dictionary: Dictionary, configs: Sequence[SequenceConfig]) -> dict[str, Steps]:
    """Return the steps of each sequence by its name.

    Every step has a sequence count of its own, in the order of the file. Raises SetupError that names every fault.
    """
    sequences, faults = _examine(dictionary, configs)
    if faults:
        texts = [f"{'.'.join(map(str, fault.path))}: {fault.text}" for fault in faults]
        raise SetupError("\n  ".join([f"faults in the mission's sequences: {len(faults)}", *texts]))
    return sequences


def sequence_faults(dictionary: Dictionary, configs: Sequence[SequenceConfig]) -> list[Fault]:
    """Return a fault for everything in the mission's sequences that the dictionary does not have or admit."""
    return _examine(dictionary, configs)[1]


def _examine(dictionary: Dictionary, configs: Sequence[SequenceConfig]) -> tuple[dict[str, Steps], list[Fault]]:
    faults: list[Fault] = []
    sequences: dict[str, Steps] = {}
    events = {event.name for event in dictionary.events}
    # One count over all sequences: two steps never share a request id.
    count = GROUND_SEQ_COUNTS
    for place, config in enumerate(configs):
        here = ("sequence", place)
        if config.name in sequences:
            faults.append(Fault((*here, "name"), f"is {config.name!r} again, every sequence needs a name of its own"))
        if config.on_event and config.on_event not in events:
            text = f"no event {config.on_event!r}, {suggestion(config.on_event, events)}"
            faults.append(Fault((*here, "on_event"), text, unknown=True))
        steps: list[tuple[int, bytes]] = []
        for number, step in enumerate(config.steps):
            found, request = _request(dictionary, step, count)
            faults += [replace(fault, path=(*here, "steps", number, *fault.path)) for fault in found]
            steps.append((round(step.delay_s * 1000), request))
            count += 1
        sequences[config.name] = tuple(steps)
    if count > GROUND_SEQ_COUNTS + ON_BOARD_STEPS_MAX:
        steps_text = f"{count - GROUND_SEQ_COUNTS} steps in all, {ON_BOARD_STEPS_MAX} at most"
        faults.append(Fault(("sequence",), steps_text))
    return sequences, faults


def _request(dictionary: Dictionary, step: StepConfig, count: int) -> tuple[list[Fault], bytes]:
    """Return what is wrong with a step, by the key of its table, and its telecommand, empty if anything is."""
    try:
        command = dictionary.command(step.command)
    except OrbitnodeError:
        names = [known.name for known in dictionary.commands]
        text = f"unknown command {step.command!r}, {suggestion(step.command, names)}"
        return [Fault(("command",), text, unknown=True)], b""
    if (command.service, command.subtype) in HOLDERS:
        return [Fault(("command",), f"{command.name} holds commands itself and cannot be a step")], b""
    known = [argument.name for argument in command.arguments]
    faults = [
        Fault(("arguments", name), f"{command.name} has no argument {name}, known: {', '.join(known) or 'none'}")
        for name in step.arguments
        if name not in known
    ]
    values: list[Value] = []
    for argument in command.arguments:
        given = step.arguments.get(argument.name, argument.default)
        if given is None:
            faults.append(Fault(("arguments", argument.name), f"{command.name}: argument {argument.name} is missing"))
            continue
        try:
            values.append(argument.admit(given))
        except FieldError as error:
            faults.append(Fault(("arguments", argument.name), f"{command.name}: {error}"))
    if faults:
        return faults, b""
    try:
        return [], _encode(command, values, count)
    except FieldError as error:
        return [Fault(("arguments",), str(error))], b""


def _encode(command: Command, values: Sequence[Value], count: int) -> bytes:
    """Encode a step as a telecommand. Raises FieldError if it is longer than a telecommand can be."""
    try:
        data = command.encode(values)
    except FieldError as error:
        raise FieldError(f"{command.name}: {error}") from None
    seq = count % (1 << 14)  # beyond it the mission is refused as a whole
    return PusTc(command.apid, seq, command.service, command.subtype, data, source=ON_BOARD_SOURCE).encode()
