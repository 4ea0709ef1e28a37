"""The text of a keys file: TOML with the master key and the keys of all associations of a mission's links.

    version = 1                         of this form
    node = "orbitnode-1"                whose keys they are
    spacecraft_id = 427
    simulated = false                   true: from the seed of a simulation, known to everybody

    [[key]]
    id = 1                              0 is the master key, at delivery the others have the number of their association
    use = "up"                          master, up, down or volatile
    spi = 1                             the association; not for the master key
    state = "active"                    pre-activation, active or deactivated; active if it is left out
    created = "2026-03-20T10:00:00Z"    UTC, "" if not known
    octets = "..."                      64 hexadecimal digits

No message shows a key, not even a part of it.
"""

# A file says of each key which association it is for, although the record of the numbers says so too: if that record is
# lost, the file alone has to be enough to reach the node again. For the same reason a file has the state of a key; a
# destroyed one is not in it. It may have keys whose id is not an SPI, and several for one SPI.
#
# A parser that repeats what it does not understand would print keys. So faults of a file say place, length and what
# would be right, and never what stands there, nor a name that could be digits of a key. They are all found before any
# is reported.

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from string import hexdigits
from typing import Any

from flight.core.config import suggestion
from flight.core.errors import DecodeError
from flight.core.toml_lines import TomlLines, read_toml
from flight.link.security.keyring import (
    KEY_ID_MAX,
    KEYS_MAX,
    LINKS_MAX,
    MASTER_KEY_ID,
    SPIS_PER_LINK,
    USES,
    Key,
    Keyring,
    KeyState,
    KeyUse,
    use_of,
)
from flight.link.security.suites import KEY_OCTETS
from flight.text.plural import plural

VERSION = 1
TEXT_MAX = 64 * 1024  # octets of a file: KEYS_MAX keys, and room for remarks
NODE_NAME_OCTETS_MAX = 64  # of [node] name in a mission

_HEAD = """\
# Secret: the keys of the space links between a node and its ground. Whoever has this file can command the node.
# Keep it at mode 0600, on the ground and on the board, and nowhere else: in no mission file, repository or message.
# `orbitnode keys show` says what is in it without showing a key; `orbitnode keys rotate` changes keys over the air.
"""
_FILE_FIELDS = ("version", "node", "spacecraft_id", "simulated", "key")
_KEY_FIELDS = ("id", "use", "spi", "state", "created", "octets")
_DIGITS = 2 * KEY_OCTETS
_HEX = re.compile(r"[0-9A-Fa-f]*")
_SPOKEN = re.compile(r"(?=.*[g-z])[a-z_]{1,24}")  # a name that can be repeated: it cannot be digits of a key
_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_STATES = {state.text: state for state in KeyState if state is not KeyState.DESTROYED}


def format_keys(ring: Keyring) -> str:
    """Return the text of a keys file. Destroyed keys are left out, since they have no octets to write.

    Raises ValueError if the association of a session key is not known, since no file could be read that has it.
    """
    head = (
        f"version = {VERSION}\nnode = {_quoted(ring.node)}\nspacecraft_id = {ring.spacecraft_id}\n"
        f"simulated = {str(ring.simulated).lower()}\n"
    )
    parts = [_HEAD, head]
    for key in ring:
        if key.state is KeyState.DESTROYED:
            continue
        if key.use is None:
            raise ValueError(f"key {key.key_id} is for no association")
        spi = [f"spi = {key.spi or key.key_id}"] if key.key_id != MASTER_KEY_ID else []
        rest = [f'state = "{key.state.text}"', f'created = "{key.created}"', f'octets = "{key.octets.hex()}"']
        parts.append("\n".join(["[[key]]", f"id = {key.key_id}", f'use = "{key.use.value}"', *spi, *rest, ""]))
    return "\n".join(parts)


def _quoted(text: str) -> str:
    """Write a text as a TOML string, whatever is in it."""
    escaped = "".join(c if c.isprintable() and c not in '\\"' else f"\\U{ord(c):08X}" for c in text)
    return f'"{escaped}"'


def parse_keys(text: str | bytes, at: str = "keys file") -> Keyring:
    """Return the keys in the text of a keys file; `at` is what messages call it.

    Raises DecodeError that lists every fault with its line, and shows nothing of any key.
    """
    if len(text) > TEXT_MAX:
        raise DecodeError(f"{at}: is over {TEXT_MAX:,} octets long, should be shorter; is it a keys file?")
    if isinstance(text, bytes):
        text = _decoded(text, at)
    try:
        table = read_toml(text, at)
        lines = TomlLines(text)
    except (ValueError, RecursionError) as error:
        # What a TOML parser says may quote what it met, and that may be a key: only the place is taken from it.
        place = re.match(re.escape(at) + r":([0-9]+): .*\(([^()]*)\)$", str(error), re.DOTALL)
        where = f"{at}:{place[1]}: is not valid TOML ({place[2]})" if place else f"{at}: is not valid TOML"
        raise DecodeError(f"{where}; what stands there is not shown, since it may be a key") from None
    reading = _Reading(table)
    ring = reading.keyring()
    if reading.faults:
        said = sorted((lines.find(path) or 1, _dotted(path), what) for path, what in reading.faults)
        count = f"{len(said)} {plural(len(said), 'fault')}"
        raise DecodeError("\n  ".join([f"keys {at}: {count}", *(f"{at}:{n}: {name}{what}" for n, name, what in said)]))
    return ring


def _decoded(octets: bytes, at: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise DecodeError(f"{at}:{line}: is not UTF-8 text, as a keys file should be") from None


class _Reading:
    """One keys file being read: what is taken from it, and its faults, which are all found before any is reported."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self.faults: list[tuple[tuple[str | int, ...], str]] = []

    def keyring(self) -> Keyring:
        """Return the keys that could be read; of no use if there are faults."""
        table = self._table
        self._unknown(table, _FILE_FIELDS, ())
        version = self._whole(table, "version", (), VERSION, VERSION)
        if version is None and "version" in table:
            return Keyring()  # of another version nothing else can be said
        node = self._node()
        spacecraft_id = self._whole(table, "spacecraft_id", (), 0, 0x3FF) or 0
        simulated = table.get("simulated")
        if not isinstance(simulated, bool):
            self._fault(("simulated",), "should be true or false")
        ring = Keyring((), simulated is True, node=node, spacecraft_id=spacecraft_id)
        rows = table.get("key", [])
        if not isinstance(rows, list) or not rows:
            self._fault(("key",), "should be a list of tables, [[key]], one for each key")
            return ring
        if len(rows) > KEYS_MAX:
            self._fault(("key", KEYS_MAX), f"is one of {len(rows)}, should be at most {KEYS_MAX}")
            return ring
        for i, row in enumerate(rows):
            self._key(row, ("key", i), ring)
        # A master key that could not be read is not missing.
        if MASTER_KEY_ID not in ring and not self.faults:
            self._fault(("key",), f"has no master key, should have one with id = {MASTER_KEY_ID}")
        return ring

    def _key(self, row: object, path: tuple[str | int, ...], ring: Keyring) -> None:
        before = len(self.faults)
        if not isinstance(row, Mapping):
            self._fault(path, "should be a table, [[key]]")
            return
        self._unknown(row, _KEY_FIELDS, path)
        key_id = self._whole(row, "id", path, 0, KEY_ID_MAX)
        spi = self._association(row, path, key_id)
        state = self._choice(row, "state", path, _STATES, KeyState.ACTIVE.text)
        created = self._created(row, path)
        octets = self._octets(row, path)
        if key_id is not None and key_id in ring:
            self._fault((*path, "id"), f"is {key_id} as that of another key is, should be a number of its own")
        if octets is not None and (fault := ring.fault_of(octets)):
            self._fault((*path, "octets"), fault)
        if len(self.faults) == before and key_id is not None and octets is not None and state is not None:
            ring.put(Key(key_id, _STATES[state], octets, spi=spi or 0, created=created))

    def _association(self, row: Mapping[str, Any], path: tuple[str | int, ...], key_id: int | None) -> int | None:
        """Return the SPI, after a look whether use, SPI and id go together."""
        name = self._choice(row, "use", path, {use.value: use for use in KeyUse})
        if name is None or key_id is None:
            return None
        if (key_id == MASTER_KEY_ID) != (name == KeyUse.MASTER.value):
            self._fault((*path, "use"), f"should be {KeyUse.MASTER.value!r} for id {MASTER_KEY_ID}, and for no other")
            return None
        if key_id == MASTER_KEY_ID:
            if "spi" in row:
                self._fault((*path, "spi"), "should not be there: the master key belongs to no association")
            return None
        spi = self._whole(row, "spi", path, 1, SPIS_PER_LINK * LINKS_MAX - 1)
        if spi is not None and use_of(spi) is not KeyUse(name):
            offsets = [str(offset) for offset, use in USES.items() if use is KeyUse(name)]
            right = f"{SPIS_PER_LINK} times the place of the link, plus {' or '.join(offsets)}"
            self._fault((*path, "spi"), f"does not go with use {name!r}, for which it should be {right}")
        return spi

    def _octets(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> bytes | None:
        text = row.get("octets")
        if not isinstance(text, str):
            self._fault((*path, "octets"), f"should be {_DIGITS} hexadecimal digits in quotes")
        elif not _HEX.fullmatch(text):
            found = _HEX.match(text)
            place = 1 + (found.end() if found else 0)
            self._fault((*path, "octets"), f"has something else as character {place}, should be hexadecimal digits")
        elif len(text) != _DIGITS:
            self._fault((*path, "octets"), f"has {len(text)} hexadecimal digits, should have {_DIGITS}")
        else:
            return bytes.fromhex(text)
        return None

    def _created(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> str:
        text = row.get("created")
        if isinstance(text, str) and (not text or _is_time(text)):
            return text
        self._fault((*path, "created"), 'should be a time in UTC in quotes such as "2026-03-20T10:00:00Z", or ""')
        return ""

    def _node(self) -> str:
        name = self._table.get("node")
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
            self._fault(("node",), "should be the node's name in quotes: letters, digits, - and _")
            return ""
        if len(name) == 2 * KEY_OCTETS and set(name) <= set(hexdigits):
            self._fault(("node",), "looks like a key, should be the node's name")  # which messages will show
            return ""
        if len(name.encode("utf-8", "surrogatepass")) > NODE_NAME_OCTETS_MAX:
            self._fault(("node",), f"should have {NODE_NAME_OCTETS_MAX} octets at most")
        return name

    def _whole(
        self, table: Mapping[str, Any], name: str, path: tuple[str | int, ...], low: int, high: int
    ) -> int | None:
        value = table.get(name)
        right = f"should be {low}" if low == high else f"should be a whole number in {low} .. {high}"
        if name not in table:
            self._fault((*path, name), f"is missing, {right}")
        elif isinstance(value, bool) or not isinstance(value, int):
            self._fault((*path, name), right)
        elif not low <= value <= high:
            # A longer number could be the digits of a key.
            self._fault((*path, name), f"is {value}, {right}" if abs(value) < 1 << 30 else right)
        else:
            return value
        return None

    def _choice(
        self, table: Mapping[str, Any], name: str, path: tuple[str | int, ...], known: Mapping[str, object],
        default: str | None = None,
    ) -> str | None:  # fmt: skip
        value = table.get(name, default)
        if isinstance(value, str) and value in known:
            return value
        self._fault((*path, name), f"should be one of {', '.join(known)}, in quotes")
        return None

    def _unknown(self, table: Mapping[str, Any], known: Sequence[str], path: tuple[str | int, ...]) -> None:
        for name in table:
            if name in known:
                continue
            if _SPOKEN.fullmatch(name):
                self._fault((*path, name), f"is unknown, {suggestion(name, known)}")
            else:
                self._fault(path, f"has an unknown field, known: {', '.join(known)}")

    def _fault(self, path: tuple[str | int, ...], text: str) -> None:
        self.faults.append((path, text))


def _is_time(text: str) -> bool:
    try:
        return bool(_CREATED.fullmatch(text)) and dt.datetime.fromisoformat(text) is not None
    except ValueError:  # no calendar has this date
        return False


def _dotted(path: tuple[str | int, ...]) -> str:
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return f"{name}: " if name else ""
