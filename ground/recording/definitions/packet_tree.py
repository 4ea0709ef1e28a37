"""Batches of packets through the containers of a definition: which container a packet is, and its fields as a table.

A packet that meets the conditions of one extension is that; of none, it is the container itself unless that is
abstract; of several, nobody knows, and it is `unknown` like one that ends before it can be told. What is longer than
its container is taken (XTCE says nothing against it) and counted.
"""

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
from ground.recording.definitions.program import Node, built, column_names
from ground.recording.definitions.ragged import take
from ground.recording.definitions.state import Damage, Slot, State
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Column, Table

_SORT_FROM = 4  # extensions: with fewer, each is asked of all packets
_HEADER_BITS = 48


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A container's columns. shared: those that a table inside it repeats, so that its rows can be told apart."""

    names: Mapping[int, str]
    shared: tuple[int, ...]


class PacketTree:
    """A definition that is one container and what extends it."""

    def __init__(self, container: Container, unsupported: tuple[str, ...] = ()) -> None:
        """Raises OrbitnodeError if a container refers to what is not there."""
        self.unsupported = unsupported
        self.root = built(container)
        self._leaves: dict[int, _Leaf] = {}
        self._name_columns()

    def _name_columns(self) -> None:
        for node in _nodes(self.root):
            shared = tuple(slot.number for slot in _telling_apart(node.slots))
            self._leaves[id(node)] = _Leaf(column_names(node.slots), shared)

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """The packets' tables, in the order of the definition."""
        state = State(
            batch.octets, np.arange(len(batch)), batch.offset, batch.length, np.zeros(len(batch), bool),
            np.zeros(len(batch), bool), batch=batch,
        )  # fmt: skip
        unknown = np.zeros(len(batch), bool)
        tables = list(self.walked(self.root, state, unknown))
        return DecodedBatch(tables, unknown)

    def walked(self, node: Node, state: State, unknown: NDArray[np.bool_]) -> Iterator[Table]:
        """The tables of these packets; those that are none of the node's become `unknown`."""
        for operation in node.operations:
            operation.run(state)
        if not node.choices:
            yield from self._unextended(node, state, unknown)
            return
        chosen, several = _choices(node, state)
        if len(chosen) == 1 and chosen[0][1] is None:
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
        """The tables of packets that are the container itself, if any can be."""
        if node.is_abstract:
            unknown[state.rows] = True
        elif len(state):
            yield from self.leaf(node, state)

    def leaf(
        self, node: Node, state: State, extra: Mapping[str, int] | None = None, *, exact: bool = False
    ) -> Iterator[Table]:
        """The tables of packets that are this container.

        extra: other damage, counted already. exact: a packet that is longer is damaged.
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
            columns: dict[str, Column] = {leaf.names[one]: take(state.columns[one], rows.index) for one in leaf.shared}
            for number, column in rows.columns.items():
                own = rows.names[number]
                columns[own if own not in columns else f"{rows.name}.{own}"] = column
            yield Table(f"{name}.{rows.name}{again}", columns, state.rows[rows.index])


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for _, other in node.choices:
        yield from _nodes(other)


def _telling_apart(slots: Sequence[Slot]) -> list[Slot]:
    """What is repeated with the rows of a table inside the packet: the packet's times; if it has none its primary
    header, or whatever numbers stand there.
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
    """Mark the packets that end before their entries do, and, if the entries must end where the packet does, those of
    another length. Returns how many have whole octets behind their entries.
    """
    ends = [(base, at) for base, at in node.extent if base in state.bases]
    if len(ends) == 1:  # of one length: octets are enough to compare
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
    """Which packets are each extension, None for all of them; and of which packets nobody knows which of several."""
    if node.probe is not None and not state.read_header(node.probe):
        state.read(node.probe)
    met = np.zeros(len(state), np.uint8)
    found: list[tuple[Node, NDArray[np.intp]]] = []
    for (test, other), rows in zip(node.choices, _candidates(node, state), strict=True):
        if rows is not None and test is not None:
            mine = rows[test.met(state.part(rows, np.zeros(len(rows), np.int64)))] if len(rows) else rows
        else:
            mask = np.ones(len(state), bool) if test is None else test.met(state)
            if len(node.choices) == 1 and mask.all() and not state.bad.any():
                _forget(node, state)
                return [(other, None)], met != 0
            mine = np.flatnonzero(mask)
        if len(mine):
            met[mine] = np.minimum(met[mine], 1) + 1
            found.append((other, mine))
    several = (met > 1) & ~state.bad
    if several.any() or state.bad.any():
        found = [(other, rows[~several[rows] & ~state.bad[rows]]) for other, rows in found]
    _forget(node, state)
    return list(found), several


def _forget(node: Node, state: State) -> None:
    """What was read to choose: an extension reads it again, with its own."""
    for slot, _ in () if node.probe is None else node.probe.fields:
        del state.raw[slot.number]


def _candidates(node: Node, state: State) -> list[NDArray[np.intp] | None]:
    """For each extension the packets that it may be, by a value that all extensions ask for; None for all packets.

    With many extensions it costs too much to ask each of all packets.
    """
    everything: list[NDArray[np.intp] | None] = [None] * len(node.choices)
    if len(node.choices) < _SORT_FROM:
        return everything
    equals = [{} if test is None else test.equals for test, _ in node.choices]
    counts = Counter(slot for one in equals for slot in one)
    if not counts:
        return everything
    slot, _ = max(counts.items(), key=lambda item: (len({one.get(item[0]) for one in equals}), item[1]))
    values = state.found(slot).values
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    made: list[NDArray[np.intp] | None] = []
    for one in equals:
        wanted = one.get(slot)
        if wanted is None:
            made.append(None)
            continue
        info = np.iinfo(ordered.dtype)
        if not info.min <= wanted <= info.max:
            made.append(np.zeros(0, np.intp))
            continue
        value = ordered.dtype.type(wanted)
        made.append(order[np.searchsorted(ordered, value, "left") : np.searchsorted(ordered, value, "right")])
    return made
