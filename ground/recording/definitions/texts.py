"""Converts texts in any of XTCE's character sets to UTF-8, many at once."""

# Nearly all texts are ASCII, and stay as they are after one comparison. Sets of one octet per character are converted
# by a table. Only what remains, UTF-16 and UTF-32, and UTF-8 with damage, is decoded text by text.

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ground.recording.definitions.ragged import Indices, Values, gather, spread, starts_of

SINGLE_OCTET = ("ascii", "latin-1", "cp1252")  # one octet per character, so that a table converts them

_REPLACEMENT = "�".encode()


def to_utf8(values: Values, starts: Indices, charset: str) -> tuple[Values, Indices, NDArray[np.bool_] | None]:
    """Return texts, a ragged array of octets, as UTF-8; and which of them are texts of `charset` (None: all).

    What is not a character becomes U+FFFD.
    """
    if charset in SINGLE_OCTET:
        return _by_table(values, starts, charset)
    if charset == "utf-8" and _is_utf8(values, starts):
        return values, starts, None
    return _one_by_one(values, starts, charset)


def _is_utf8(values: Values, starts: Indices) -> bool:
    """Whether each row is UTF-8: all rows together are, and none begins inside a character."""
    if not len(values) or values.max() < 0x80:
        return True
    try:
        values.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    # Octets 10xxxxxx continue a character: a row that begins with one shares it with the row before.
    first = starts[:-1][np.diff(starts) > 0]
    return not bool(np.any(values[first] & 0xC0 == 0x80))


@cache
def _table(charset: str) -> tuple[Values, Indices, NDArray[np.bool_]]:
    """Return the UTF-8 of all 256 octets one after the other, its starts, and which octets are characters at all."""
    coded = []
    known = np.ones(256, bool)
    for octet in range(256):
        try:
            coded.append(bytes((octet,)).decode(charset).encode())
        except UnicodeDecodeError:
            coded.append(_REPLACEMENT)
            known[octet] = False
    lengths = np.array([len(character) for character in coded], np.int64)
    return np.frombuffer(b"".join(coded), np.uint8), starts_of(lengths), known


def _by_table(values: Values, starts: Indices, charset: str) -> tuple[Values, Indices, NDArray[np.bool_] | None]:
    if not len(values) or values.max() < 0x80:
        return values, starts, None
    coded, places, known = _table(charset)
    # Each octet picks its UTF-8 from the table, as if it were a row of one.
    lengths = np.diff(places)[values]
    converted, ends = gather(coded, places[values], lengths)
    is_known = known[values]
    sound = None
    if not is_known.all():
        sound = np.ones(len(starts) - 1, bool)
        sound[np.searchsorted(starts, np.flatnonzero(~is_known), "right") - 1] = False
    return converted, ends[starts], sound


def _one_by_one(values: Values, starts: Indices, charset: str) -> tuple[Values, Indices, NDArray[np.bool_] | None]:
    """Convert texts one by one: of a set with several octets per character, or UTF-8 of which some are damaged.

    Of UTF-8, only texts that are more than ASCII are looked at.
    """
    lengths = np.diff(starts)
    if charset == "utf-8":
        rows = np.unique(np.searchsorted(starts, np.flatnonzero(values >= 0x80), "right") - 1)
    else:
        rows = np.arange(len(lengths))
    sound = np.ones(len(lengths), bool)
    texts = []
    for row, start, end in zip(rows.tolist(), starts[rows].tolist(), starts[rows + 1].tolist(), strict=True):
        raw = values[start:end].tobytes()
        try:
            texts.append(raw.decode(charset).encode())
        except UnicodeError:
            sound[row] = False
            texts.append(raw.decode(charset, "replace").encode("utf-8", "replace"))
    # The rows that stay as they are, to be laid between the converted ones.
    plain = np.setdiff1d(np.arange(len(lengths)), rows, assume_unique=True)
    lengths[rows] = [len(text) for text in texts]
    ends = starts_of(lengths)
    joined = np.empty(ends[-1], np.uint8)
    for some, found in (
        (rows, np.frombuffer(b"".join(texts), np.uint8)),
        (plain, gather(values, starts[plain], lengths[plain])[0]),
    ):
        joined[spread(ends[some], lengths[some], starts_of(lengths[some]))] = found
    return joined, ends, None if sound.all() else sound
