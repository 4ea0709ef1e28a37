"""The product of a table, of scalars or of octets: an answer that is not a mask, with what it means.

Layout, big-endian:

    head         magic, version, tile, job, capture time, octets of declaration, answer and body
    body         zlib of the declaration, as JSON, and the answer
    sha256       over everything before it

The declaration names the app, the kind and the fields (payloads/product/answers.py), so that the file is read without
the mission that made it. No numpy here: the node reads the head, the ground all of it.
"""

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

TIME_NS_MAX = (1 << 63) - 1  # of what an archive can keep a sample at; the time code of packets ends long before


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
        """Octets of the whole product."""
        return self.OCTETS + self.body_octets + DIGEST_OCTETS

    def encode(self) -> bytes:
        """Octets of the head."""
        return self._STRUCT.pack(
            self.MAGIC, self.VERSION, self.tile, self.job, self.time_ns, self.declaration_octets, self.answer_octets,
            self.body_octets,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """The head at the start of `raw`; raises DecodeError. The digest is not looked at."""
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
    """A decoded product. answer: its octets."""

    header: RecordHeader
    declaration: Declaration
    answer: bytes

    @property
    def row_count(self) -> int:
        """How many rows there are, without a look at them."""
        fields = self.declaration.fields
        return len(self.answer) // row_octets(fields) if fields else 0

    def rows(self) -> list[tuple[Value, ...]]:
        """The rows of a table, or the one row of scalars; none of octets."""
        layout, rows, at = Layout(self.declaration.fields), [], 0
        while self.declaration.fields and at < len(self.answer):
            row, at = layout.decode_from(self.answer, at)
            rows.append(row)
        return rows


def encode_record_product(
    declared: AnswerKind, answer: bytes, *, app: str, tile: int, job: int, time_ns: int
) -> bytes:  # fmt: skip
    """The product of one tile's `answer`, which `declared` finds no fault with."""
    text = json.dumps({"app": app, **declared.document()}, separators=(",", ":")).encode()
    body = zlib.compress(text + answer, 6)
    return sealed(RecordHeader(tile, job, time_ns, len(text), len(answer), len(body)).encode() + body)


def decode_record_product(raw: bytes | memoryview) -> RecordProduct:
    """The inverse of `encode_record_product`; raises DecodeError for octets that are not a whole, unaltered product."""
    header = RecordHeader.decode(raw)
    check_seal(raw, header.total_octets)
    packed = memoryview(raw)[header.OCTETS : -DIGEST_OCTETS]
    body = inflate(packed, header.declaration_octets + header.answer_octets, "answer")
    text, answer = body[: header.declaration_octets], body[header.declaration_octets :]
    declaration = Declaration.from_document(_document(text))
    if declaration.fields:
        due = row_octets(declaration.fields)
        if len(answer) % due or (declaration.kind == "scalars" and len(answer) != due):
            raise DecodeError(f"answer of {len(answer)} octets, its fields take {due}")
    made = RecordProduct(header, declaration, answer)
    values = made.rows()[0] if declaration.kind == "scalars" else ()
    if any(isinstance(one, float) and not isfinite(one) for one in values):
        raise DecodeError(f"scalars are {', '.join(map(str, values))}, should be finite")
    return made


def _document(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"product's declaration is not JSON: {error}") from None
