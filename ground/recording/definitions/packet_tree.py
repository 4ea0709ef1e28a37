"""Takes batches of packets through the containers of a definition: which container each is, and its fields as tables.

A packet that meets the conditions of one extension is that extension. If it meets none, it is the container itself,
unless that is abstract; then it is `unknown`. If it meets several, nobody can tell, and it is `unknown` as well. A
packet that is longer than its container is decoded (XTCE says nothing against it) and counted.
"""

# How a batch goes down the tree. All packets walk together (`state`). At a node its own steps are taken for all; then
# its extensions are told apart, and each takes its share of the packets as a state of their own. Most trees have one
# level with hundreds of extensions, so three things keep that cheap:
#   - what the conditions ask is read first, alone (`Node.probe`): often just the APID, which the batch has already
#   - with _SORT_FROM extensions or more, packets are sorted by the value that most conditions demand, and each
#     extension is asked only about its candidates
#   - a container's last numbers are not read before its extension is known: then one call reads both (`walk_builder`)
#
# What is read for the choice is forgotten after it: its numbers belong to the walk of every extension, too.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ground.recording.definition import DecodedBatch
from ground.recording.definitions.entries import Container
from ground.recording.definitions.operations import finish
from ground.recording.definitions.parameters import NumberEncoding
from ground.recording.definitions.ragged import take
from ground.recording.definitions.state import Damage, Slot, State
from ground.recording.definitions.walk_builder import Node, built, column_names
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Column, Table

_SORT_FROM = 4  # extensions; with fewer, asking each about all packets costs less than sorting
_HEADER_BITS = 48  # of a primary header


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The columns of a container. shared: slots that a table inside it repeats, to tell whose rows they are."""

    names: Mapping[int, str]
    shared: tuple[int, ...]


class PacketTree:
    """A definition that consists of one container and everything that extends it."""

    def __init__(self, container: Container, unsupported: tuple[str, ...] = ()) -> None:
        """Build the walks. Raises OrbitnodeError if a container refers to what is not there."""
        self.unsupported = unsupported
        self.root = built(container)
        self._leaves: dict[int, _Leaf] = {}
        self._name_columns()

    def _name_columns(self) -> None:
        for node in _nodes(self.root):
            shared = tuple(slot.number for slot in _telling_apart(node.slots))
            self._leaves[id(node)] = _Leaf(column_names(node.slots), shared)

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """Make the tables of a batch, in the order of the definition."""
        state = State(
            batch.octets, np.arange(len(batch)), batch.offset, batch.length, np.zeros(len(batch), bool),
            np.zeros(len(batch), bool), batch=batch,
        )  # fmt: skip
        unknown = np.zeros(len(batch), bool)
        tables = list(self.walked(self.root, state, unknown))
        return DecodedBatch(tables, unknown)

    def walked(self, node: Node, state: State, unknown: NDArray[np.bool_]) -> Iterator[Table]:
        """Yield the tables of the packets of `state`; those that are not of this node are set in `unknown`."""
        for operation in node.operations:
            operation.run(state)
        if not node.choices:
            yield from self._unextended(node, state, unknown)
            return
        chosen, several = _choices(node, state)
        if len(chosen) == 1 and chosen[0][1] is None:  # all of them: no copy of the state
            yield from self.walked(chosen[0][0], state, unknown)
            return
        unknown[state.rows[several]] = True
        is_taken = several
        for _, rows in chosen:
            is_taken[slice(None) if rows is None else rows] = True
        for other, rows in chosen:
            if rows is None or len(rows):
                yield from self.walked(other, state if rows is None else state.take(rows), unknown)
        yield from self._unextended(node, state.take(np.flatnonzero(~is_taken)), unknown)

    def _unextended(self, node: Node, state: State, unknown: NDArray[np.bool_]) -> Iterator[Table]:
        """Yield the tables of packets that meet no extension: they are the container itself, unless it is abstract."""
        if node.is_abstract:
            unknown[state.rows] = True
        elif len(state):
            yield from self.leaf(node, state)

    def leaf(
        self, node: Node, state: State, extra: Mapping[str, int] | None = None, *, exact: bool = False
    ) -> Iterator[Table]:
        """Yield the tables of packets that are this container: its own, and those of rows inside it.

        extra: damage that was counted before, by reason. exact: a packet that is longer is damaged.
        """
        for operation in node.tail:
            operation.run(state)
        longer = _measured(node, state, exact=exact)
        damaged = Counter(
            {
                str(Damage.LENGTH): int(np.count_nonzero(state.bad)),
                str(Damage.TEXT): int(np.count_nonzero(state.damaged_texts & ~state.bad)),
            }
        )
        lost = state.bad | state.damaged_texts
        if lost.any():
            # Here at last damaged packets are left out; until now they went along with zeros.
            state = state.take(np.flatnonzero(~lost))
        finish(state, node.slots)
        damaged.update(extra or {})
        yield from self._tables(node, state, {why: n for why, n in damaged.items() if n}, longer)

    def _tables(self, node: Node, state: State, damaged: Mapping[str, int], longer: int) -> Iterator[Table]:
        leaf = self._leaves[id(node)]
        name = node.name
        yield Table(
            name,
            {leaf.names[slot.number]: state.columns[slot.number] for slot in node.slots if slot.number in leaf.names},
            state.rows,
            damaged,
            longer,
        )
        taken: Counter[str] = Counter()
        for rows in state.inner:
            taken[rows.name] += 1
            again = f".{taken[rows.name]}" if taken[rows.name] > 1 else ""
            columns: dict[str, Column] = {
                leaf.names[slot]: take(state.columns[slot], rows.index) for slot in leaf.shared
            }
            for number, column in rows.columns.items():
                own = rows.names[number]
                columns[own if own not in columns else f"{rows.name}.{own}"] = column
            yield Table(f"{name}.{rows.name}{again}", columns, state.rows[rows.index])


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for _, other in node.choices:
        yield from _nodes(other)


def _telling_apart(slots: Sequence[Slot]) -> list[Slot]:
    """Return the slots that tell apart the packets whose rows stand in a table inside them.

    These are the packet's times; without any, its primary header, or whatever numbers stand in its first 48 bits.
    """
    single = [slot for slot in slots if not (slot.is_ragged or slot.is_optional or slot.parameter.left_out)]
    times = [slot for slot in single if slot.parameter.time is not None]
    if times:
        return times
    header: list[Slot] = []
    bits = 0
    for slot in slots:
        how = slot.parameter.encoding
        if not isinstance(how, NumberEncoding) or slot not in single or bits + how.bits > _HEADER_BITS:
            break
        bits += how.bits
        header.append(slot)
    return header


def _measured(node: Node, state: State, *, exact: bool) -> int:
    """Mark packets that end before their entries do; exact: also those that are longer.

    Returns how many have whole octets behind their entries. Less than an octet is padding, and does not count.
    """
    ends = [(base, at) for base, at in node.extent if base in state.bases]
    if len(ends) == 1:  # all packets of one length: comparing octets is enough
        needed = (ends[0][1] + 7) // 8
        is_short, is_longer = state.length < needed, state.length > needed
    else:
        end = state.position(*ends[0])
        for place in ends[1:]:
            np.maximum(end, state.position(*place), out=end)
        beyond = state.bits - end
        is_short, is_longer = beyond < 0, beyond >= 8
    state.bad |= is_short
    if exact:
        state.bad |= is_longer
        return 0
    return int(np.count_nonzero(is_longer & ~state.bad))


def _choices(node: Node, state: State) -> tuple[list[tuple[Node, NDArray[np.intp] | None]], NDArray[np.bool_]]:
    """Return each extension with its packets (None: all), and a mask of packets that several extensions claim."""
    if node.probe is not None and not state.read_header(node.probe):
        state.read(node.probe)
    met = np.zeros(len(state), np.uint8)
    found: list[tuple[Node, NDArray[np.intp]]] = []
    for (test, other), rows in zip(node.choices, _candidates(node, state), strict=True):
        if rows is not None and test is not None:
            # The test runs on the candidates alone, as a part of the state.
            mine = rows[test.met(state.part(rows, np.zeros(len(rows), np.int64)))] if len(rows) else rows
        else:
            mask = np.ones(len(state), bool) if test is None else test.met(state)
            if len(node.choices) == 1 and mask.all() and not state.bad.any():
                _forget(node, state)
                return [(other, None)], met != 0
            mine = np.flatnonzero(mask)
        if len(mine):
            met[mine] = np.minimum(met[mine], 1) + 1  # 1: one extension; 2: several; never more, which would wrap
            found.append((other, mine))
    several = (met > 1) & ~state.bad
    if several.any() or state.bad.any():
        found = [(other, rows[~several[rows] & ~state.bad[rows]]) for other, rows in found]
    _forget(node, state)
    return list(found), several


def _forget(node: Node, state: State) -> None:
    """Drop what was read for the choice: an extension reads it again, together with its own numbers."""
    for slot, _ in () if node.probe is None else node.probe.fields:
        del state.raw[slot.number]


def _candidates(node: Node, state: State) -> list[NDArray[np.intp] | None]:
    """Return for each extension the packets that may be it, by a value that most extensions demand; None for all.

    With many extensions, asking each about all packets would cost too much.
    """
    everything: list[NDArray[np.intp] | None] = [None] * len(node.choices)
    if len(node.choices) < _SORT_FROM:
        return everything
    equals = [{} if test is None else test.equals for test, _ in node.choices]
    counts = Counter(slot for demands in equals for slot in demands)
    if not counts:
        return everything
    # The slot with the most different values tells extensions apart best; among equals, the one most often asked.
    slot, _ = max(counts.items(), key=lambda item: (len({demands.get(item[0]) for demands in equals}), item[1]))
    values = state.found(slot).values
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    candidates: list[NDArray[np.intp] | None] = []
    for demands in equals:
        wanted = demands.get(slot)
        if wanted is None:
            candidates.append(None)
            continue
        info = np.iinfo(ordered.dtype)
        if not info.min <= wanted <= info.max:  # a value that the field cannot hold is met by no packet
            candidates.append(np.zeros(0, np.intp))
            continue
        value = ordered.dtype.type(wanted)
        candidates.append(order[np.searchsorted(ordered, value, "left") : np.searchsorted(ordered, value, "right")])
    return candidates
