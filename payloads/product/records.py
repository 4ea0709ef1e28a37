"""The product of a table, of scalars or of octets: an answer that is not a mask, and what it means.

Layout, big-endian:

    head         magic "OBRP", version (u8), tile and job (u32 each), capture time (u64, ns of TAI since 1958-01-01),
                 octets of declaration (u16), answer and body (u32 each)
    body         zlib of the declaration, as JSON, followed by the answer
    sha256       over everything before it
"""

# The declaration names the app, the kind and the fields (payloads/product/answers.py). It costs about 150 octets, and
# lets the file be read in ten years without the mission that made it (ADR 0030). It is packed together with the answer,
# since two short streams would pack worse.
#
# No numpy here: the node reads the head, and the ground all of it, with the decoder of telemetry fields.
#
# A decoder also checks that scalars are finite, since each becomes a sample in the ground's archive. It does not go
# through the rows of a table for that.

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, Self

from flight.contract.fields import Layout, Value
from flight.core.errors import DecodeError
from payloads.product.answers import OCTETS_MAX, AnswerKind, Declaration, row_octets
from payloads.product.envelope import DIGEST_OCTETS, check_seal, inflate, sealed

TIME_NS_MAX = (1 << 63) - 1  # the latest that an archive can keep; the time code of packets ends long before


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The head of the product. time_ns: capture, TAI since 1958-01-01."""

    tile: int
    job: int
    time_ns: int
    declaration_octets: int
    answer_octets: int
    body_octets: int

    MAGIC: ClassVar[bytes] = b"OBRP"
    VERSION: ClassVar[int] = 1
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sBIIQHII")
    OCTETS: ClassVar[int] = _STRUCT.size

    @property
    def total_octets(self) -> int:
        """The length of the whole product, in octets."""
        return self.OCTETS + self.body_octets + DIGEST_OCTETS

    def encode(self) -> bytes:
        """Return the octets of the head."""
        return self._STRUCT.pack(
            self.MAGIC, self.VERSION, self.tile, self.job, self.time_ns, self.declaration_octets, self.answer_octets,
            self.body_octets,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Read the head at the start of `raw`. Raises DecodeError. Does not look at the digest."""
        if len(raw) < cls.OCTETS + DIGEST_OCTETS:
            raise DecodeError(f"product of {len(raw)} octets, shortest is {cls.OCTETS + DIGEST_OCTETS}")
        magic, version, tile, job, time_ns, declaration_octets, answer_octets, body_octets = cls._STRUCT.unpack_from(
            raw
        )
        if magic != cls.MAGIC:
            raise DecodeError(f"product begins with {magic.hex()}, should be {cls.MAGIC.hex()}")
        if version != cls.VERSION:
            raise DecodeError(f"product version {version}, only {cls.VERSION} is known")
        if answer_octets > OCTETS_MAX:
            raise DecodeError(f"product with an answer of {answer_octets} octets, at most {OCTETS_MAX}")
        if time_ns > TIME_NS_MAX:
            raise DecodeError(f"product with time of capture {time_ns}, latest is {TIME_NS_MAX}")
        return cls(tile, job, time_ns, declaration_octets, answer_octets, body_octets)


@dataclass(frozen=True, slots=True)
class RecordProduct:
    """A decoded product. answer: the octets as the app's declaration has them."""

    header: RecordHeader
    declaration: Declaration
    answer: bytes

    @property
    def row_count(self) -> int:
        """The number of rows, found without decoding them."""
        fields = self.declaration.fields
        return len(self.answer) // row_octets(fields) if fields else 0

    def rows(self) -> list[tuple[Value, ...]]:
        """Return the rows of a table, or the one row of scalars; an empty list for octets."""
        layout, rows, at = Layout(self.declaration.fields), [], 0
        while self.declaration.fields and at < len(self.answer):
            row, at = layout.decode_from(self.answer, at)
            rows.append(row)
        return rows


def encode_record_product(
    declared: AnswerKind, answer: bytes, *, app: str, tile: int, job: int, time_ns: int
) -> bytes:  # fmt: skip
    """Return the product of one tile's `answer`, in which `declared` finds no fault."""
    text = json.dumps({"app": app, **declared.document()}, separators=(",", ":")).encode()
    body = zlib.compress(text + answer, 6)
    return sealed(RecordHeader(tile, job, time_ns, len(text), len(answer), len(body)).encode() + body)


def decode_record_product(raw: bytes | memoryview) -> RecordProduct:
    """Decode what `encode_record_product` made. Raises DecodeError unless it is a whole, unaltered product."""
    header = RecordHeader.decode(raw)
    check_seal(raw, header.total_octets)
    packed = memoryview(raw)[header.OCTETS : -DIGEST_OCTETS]
    body = inflate(packed, header.declaration_octets + header.answer_octets, "answer")
    text, answer = body[: header.declaration_octets], body[header.declaration_octets :]
    declaration = Declaration.from_document(_document(text))
    if declaration.fields:
        of_row = row_octets(declaration.fields)
        if len(answer) % of_row or (declaration.kind == "scalars" and len(answer) != of_row):
            raise DecodeError(f"answer of {len(answer)} octets, its fields take {of_row} per row")
    product = RecordProduct(header, declaration, answer)
    values = product.rows()[0] if declaration.kind == "scalars" else ()
    if any(isinstance(value, float) and not isfinite(value) for value in values):
        raise DecodeError(f"scalars are {', '.join(map(str, values))}, should be finite")
    return product


def _document(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # JSON may be nested more deeply than Python's stack
        raise DecodeError(f"product's declaration is not JSON: {error}") from None
