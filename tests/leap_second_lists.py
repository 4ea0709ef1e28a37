"""Lists of leap seconds, written as IERS does."""

from __future__ import annotations

import hashlib
from datetime import date

from flight.core.utc.leap_seconds import LeapSeconds
from flight.core.utc.utc_time import mjd_of


def listed(table: LeapSeconds, made: int = 3_960_835_200) -> str:
    """Return a table as a list, its checksum with leading zeroes left out."""
    rows = [(86_400 * (row.mjd - mjd_of(date(1900, 1, 1))), row.tai_utc_s) for row in table.rows]
    return listed_rows(rows, table.expires_mjd, made)


def listed_rows(rows: list[tuple[int, int]], expires_mjd: int, made: int = 3_960_835_200) -> str:
    """Return a list of any rows, seconds since 1900 and TAI - UTC, that keep the rules of a table or not."""
    expires = 86_400 * (expires_mjd - mjd_of(date(1900, 1, 1)))
    text = f"{made}{expires}" + "".join(f"{at}{ahead}" for at, ahead in rows)
    words = hashlib.sha1(text.encode()).digest()
    checksum = " ".join(f"{int.from_bytes(words[i : i + 4], 'big'):x}" for i in range(0, 20, 4))
    lines = [f"{at}\t{ahead}\t# {at}" for at, ahead in rows]
    return "\n".join(["# words", "#", f"#$\t {made}", f"#@\t{expires}", *lines, "#", f"#h\t{checksum}", ""])
