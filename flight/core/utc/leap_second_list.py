"""Reads the list of leap seconds that IERS publishes, `leap-seconds.list`; operating systems have it as well."""

# Of each line counts what the format gives a meaning; all else is a comment:
#
#     #$ 3960835200                  when the list was made (not needed here)
#     #@ 3991593600                  until when it is valid
#     3692217600  37  # 1 Jan 2017   a row
#     #h 49db2447 571e5e1b ...       SHA-1 over the digits of all of these
#
# Times are seconds since 1900. A list that was cut is still a list, and a wrong one: without its last row every time is
# off by a second. So the checksum, which every list of IERS, NIST and tzdata ends with, has to be there and right: a
# list that was cut or edited is refused rather than believed. A line that begins as a special one is one, or a fault,
# and never a comment; each stands once. IERS leaves out leading zeroes in the words of the checksum, so they are
# compared as numbers.
#
# A line ends at CR, LF or both and at nothing else, and blanks are those of ASCII: a comment may be of any encoding,
# and an octet of it that is a line end or a blank elsewhere (0x85 in Latin-1) means nothing. Editors of some systems
# begin UTF-8 with a mark (BOM), which is not part of the first line.

from __future__ import annotations

import codecs
import hashlib
import re
from datetime import date

from flight.core.errors import DecodeError
from flight.core.utc.leap_seconds import LeapRow, LeapSeconds
from flight.core.utc.utc_time import DAY_S, mjd_of

LIST_OCTETS_MAX = 65_536  # the list of today has 5 kB

_MJD_OF_1900 = mjd_of(date(1900, 1, 1))
_ROW = re.compile(r"(\d{1,12})\s+(\d{1,4})\s*(?:#.*)?", re.ASCII)
_SPECIAL = {  # by what the line begins with: its form, and what it should be
    "#$": (re.compile(r"#\$\s*(\d{1,12})", re.ASCII), "`#$` and when the list was made"),
    "#@": (re.compile(r"#@\s*(\d{1,12})", re.ASCII), "`#@` and the expiry of the list"),
    "#h": (re.compile(r"#h\s+((?:[0-9a-fA-F]{1,8}\s+){4}[0-9a-fA-F]{1,8})", re.ASCII), "`#h` and 5 words of SHA-1"),
}


def read_leap_second_list(octets: bytes) -> LeapSeconds:
    """Return the table that a list says. Raises DecodeError with the line and what is wrong."""
    if len(octets) > LIST_OCTETS_MAX:
        raise DecodeError(f"list of leap seconds of {len(octets)} octets, {LIST_OCTETS_MAX} at most")
    rows: list[LeapRow] = []
    special: dict[str, str] = {}
    digits = ""
    # Split and stripped as octets: of a text, Python would do both at more characters than the format has.
    for number, line in enumerate(octets.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        text = line.strip().decode("ascii", "replace")
        if text[:2] in _SPECIAL:
            if text[:2] in special:
                raise DecodeError(f"line {number}: a second `{text[:2]}`, should stand once")
            special[text[:2]] = _special(text, number)
        elif text and not text.startswith("#"):
            row = _ROW.fullmatch(text)
            if row is None:
                raise DecodeError(
                    f"line {number}: {text[:40]!r}, should be a time since 1900 and TAI - UTC, or a comment"
                )
            rows.append(LeapRow(_mjd(row[1], number), int(row[2])))
            digits += row[1] + row[2]
    for start in ("#@", "#h"):
        if start not in special:
            raise DecodeError(f"no line {_SPECIAL[start][1]}: not a list of leap seconds, or the list was cut")
    sha1 = hashlib.sha1((special.get("#$", "") + special["#@"] + digits).encode(), usedforsecurity=False).digest()
    words = [int.from_bytes(sha1[at : at + 4], "big") for at in range(0, 20, 4)]
    if [int(word, 16) for word in special["#h"].split()] != words:
        raise DecodeError("SHA-1 mismatch: the list was altered or cut")
    try:
        return LeapSeconds(tuple(rows), _MJD_OF_1900 + int(special["#@"]) // DAY_S)
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _special(text: str, number: int) -> str:
    form, what = _SPECIAL[text[:2]]
    read = form.fullmatch(text)
    if read is None:
        raise DecodeError(f"line {number}: {text[:40]!r}, should be {what}")
    return read[1]


def _mjd(seconds: str, number: int) -> int:
    days, rest = divmod(int(seconds), DAY_S)
    if rest:
        raise DecodeError(f"line {number}: {seconds} s since 1900 is not the beginning of a day")
    return _MJD_OF_1900 + days
