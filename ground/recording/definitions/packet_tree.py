"""Batches of packets through the containers of a definition: which container a packet is, and its fields as a table.

A packet that meets the conditions of one extension is that; of none, it is the container itself unless that is
abstract; of several, nobody knows, and it is `unknown` like one that ends before it can be told. What is longer than
its container is taken (XTCE says nothing against it) and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ground.recording.definition import DecodedBatch
from ground.recording.definitions.entries import Container
from ground.recording.definitions.operations import Repeat, finish
from ground.recording.definitions.program import Node, built, column_names
from ground.recording.definitions.ragged import take
from ground.recording.definitions.state import Damage, Slot, State
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Column, Table

_SORT_FROM = 4  # extensions: with fewer, each is asked of all packets
_HEADER_BITS = 48


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What tables of a container need: names, of the container and of its columns."""

    names: Mapping[int, str]
    inner: Mapping[str, Mapping[int, str]]  # of tables inside, by their repetition's name
    shared: tuple[int, ...]  # columns that a table inside repeats, so that its rows can be told apart


class PacketTree:
    """A definition that is one container and what extends it."""

    def __init__(self, container: Container, unsupported: tuple[str, ...] = ()) -> None:
        """Raises OrbitnodeError if a container refers to what is not there."""
        self.unsupported = unsupported
        self.root = built(container)
        self._leaves: dict[int, _Leaf] = {}
        self._name_tables()

    def _name_tables(self) -> None:
        for node, ancestors in _nodes(self.root, ()):
            operations = [one for place in (*ancestors, node) for one in place.operations] + list(node.tail)
            repeats = [one for one in operations if isinstance(one, Repeat) and one.name]
            self._leaves[id(node)] = _Leaf(
                column_names(node.slots),
                {one.name: column_names(one.slots) for one in repeats},
                tuple(slot.number for slot in node.slots if _tells_apart(slot)),
            )

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """The packets' tables, in the order of the definition."""
        state = State(
            batch.octets, np.arange(len(batch)), batch.offset, batch.length, np.zeros(len(batch), bool),
            np.zeros(len(batch), bool),
        )  # fmt: skip
        unknown = np.zeros(len(batch), bool)
        tables = list(self.walked(self.root, state, unknown))
        return DecodedBatch(tables, unknown)

    def walked(self, node: Node, state: State, unknown: NDArray[np.bool_]) -> Iterator[Table]:
        """The tables of these packets; those that are none of the node's become `unknown`."""
        for operation in node.operations:
            operation.run(state)
        rest = np.arange(len(state))
        if node.choices:
            chosen, several = self._choices(node, state)
            unknown[state.rows[several]] = True
            is_taken = several
            for _, rows in chosen:
                is_taken[rows] = True
            rest = np.flatnonzero(~is_taken)
            for other, rows in chosen:
                if len(rows):
                    yield from self.walked(other, state if len(rows) == len(state) else state.take(rows), unknown)
        if node.is_abstract:
            unknown[state.rows[rest]] = True
        elif len(rest):
            yield from self.leaf(node, state if len(rest) == len(state) else state.take(rest))

    @staticmethod
    def _choices(node: Node, state: State) -> tuple[list[tuple[Node, NDArray[np.intp]]], NDArray[np.bool_]]:
        """Which packets are each extension, and of which packets nobody knows which of several."""
        if node.probe is not None:
            state.read(node.probe)
        met = np.zeros(len(state), np.int32)
        found: list[tuple[Node, NDArray[np.intp]]] = []
        for (test, other), rows in zip(node.choices, _candidates(node, state), strict=True):
            if test is None:
                mine = np.arange(len(state)) if rows is None else rows
            elif rows is None:
                mine = np.flatnonzero(test.met(state))
            else:
                mine = rows[test.met(state.part(rows, np.zeros(len(rows), np.int64)))] if len(rows) else rows
            met[mine] += 1
            found.append((other, mine))
        several = (met > 1) & ~state.bad
        if several.any() or state.bad.any():
            found = [(other, rows[~several[rows] & ~state.bad[rows]]) for other, rows in found]
        if node.probe is not None:
            for slot, _ in node.probe.fields:
                del state.raw[slot.number]
        return found, several

    def leaf(
        self, node: Node, state: State, extra: Mapping[str, int] | None = None, *, exact: bool = False
    ) -> Iterator[Table]:
        """The tables of packets that are this container.

        extra: other damage, counted already. exact: a packet that is longer is damaged.
        """
        for operation in node.tail:
            operation.run(state)
        beyond = state.bits - _end(node, state)
        state.bad |= beyond < 0
        if exact:
            state.bad |= beyond > 0
        damaged = Counter(
            {
                str(Damage.LENGTH): int(np.count_nonzero(state.bad)),
                str(Damage.TEXT): int(np.count_nonzero(state.damaged_texts & ~state.bad)),
            }
        )
        longer = int(np.count_nonzero((beyond >= 8) & ~state.bad))
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
        for rows in state.inner:
            columns: dict[str, Column] = {leaf.names[one]: take(state.columns[one], rows.index) for one in leaf.shared}
            for number, column in rows.columns.items():
                own = leaf.inner[rows.name][number]
                columns[own if own not in columns else f"{rows.name}.{own}"] = column
            yield Table(f"{name}.{rows.name}", columns, state.rows[rows.index])


def _nodes(node: Node, ancestors: tuple[Node, ...]) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    yield node, ancestors
    for _, other in node.choices:
        yield from _nodes(other, (*ancestors, node))


def _tells_apart(slot: Slot) -> bool:
    """Times. They are repeated with the rows of a table inside the packet."""
    return (
        slot.parameter.time is not None and not slot.is_ragged and not slot.is_optional and not slot.parameter.left_out
    )


def _end(node: Node, state: State) -> NDArray[np.int64] | np.int64:
    """The bit up to which the entries reach in each packet."""
    if state.bases.keys() == {0}:
        return np.int64(node.extent[0][1])
    ends = [state.position(base, at) for base, at in node.extent if base in state.bases]
    end = ends[0]
    for other in ends[1:]:
        end = np.maximum(end, other)
    return end


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
