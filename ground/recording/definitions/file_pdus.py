"""Parts of files that a node sends, as a table of what each CFDP PDU header says (CCSDS 727.0-B-5, 5.1).

Joining the parts to files is the task of `ground.products`; here they are only kept from counting as unknown packets. A
PDU is damaged if its version is not 1, or if it does not end with its packet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.kernels import FieldSpec, PacketLayout, extract_fields
from ground.recording.definitions.state import Damage
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Column, Table

FILE_PDU = "file_pdu"

_START = 48  # bit of the packet at which the PDU begins: such packets have no secondary header
_FIXED_OCTETS = 6 + 4  # the primary header of the packet, and the fixed part of the PDU header
_FIXED = PacketLayout(
    (
        FieldSpec("version", _START, 3),
        FieldSpec("octets", _START + 8, 16),
        FieldSpec("entity", _START + 25, 3),
        FieldSpec("number", _START + 29, 3),
    )
)
_VERSION = 1


def file_pdus(batch: PacketBatch, rows: NDArray[np.intp], name: str) -> Table:
    """Make a table of the packets `rows` of a batch, which are PDUs.

    Columns: `is_file_data` (0 for a directive), `source`, `transaction` and `destination`, as the sender numbers them,
    and `octets` behind the header.
    """
    fixed = extract_fields(_FIXED, batch.octets, batch.offset[rows], batch.length[rows])
    version, octets, entity, number = (np.asarray(column).astype(np.int64) for column in fixed.columns.values())
    # Both length fields hold the number of octets less one.
    header = _FIXED_OCTETS + 2 * (entity + 1) + number + 1
    is_ours = version == _VERSION
    ends = (batch.length[rows] == header + octets) & (np.asarray(fixed.complete) == 1)
    sound = is_ours & ends
    chosen = rows[sound]
    columns = {
        "is_file_data": np.zeros(len(chosen), np.uint8),
        **{key: np.zeros(len(chosen), np.uint64) for key in ("source", "transaction", "destination")},
        "octets": octets[sound].astype(np.uint32),
    }
    lengths = (entity << 3 | number)[sound]
    # The sender chooses the lengths of identifiers, so PDUs of one choice are read together.
    for choice in np.unique(lengths).tolist():
        these = np.flatnonzero(lengths == choice)
        some = chosen[these]
        found = extract_fields(_layout(choice >> 3, choice & 7), batch.octets, batch.offset[some], batch.length[some])
        for key, column in found.columns.items():
            columns[key][these] = np.asarray(column)
    damaged = {
        str(Damage.VERSION): int(np.count_nonzero(~is_ours)),
        str(Damage.LENGTH): int(np.count_nonzero(is_ours & ~ends)),
    }
    return Table(name, {key: Column(column) for key, column in columns.items()}, chosen, damaged)


def _layout(entity: int, number: int) -> PacketLayout:
    """Return the layout of a header whose length fields hold `entity` and `number`."""
    entity_bits, number_bits, at = 8 * (entity + 1), 8 * (number + 1), 8 * _FIXED_OCTETS
    return PacketLayout(
        (
            FieldSpec("is_file_data", _START + 3, 1),
            FieldSpec("source", at, entity_bits),
            FieldSpec("transaction", at + entity_bits, number_bits),
            FieldSpec("destination", at + entity_bits + number_bits, entity_bits),
        )
    )
