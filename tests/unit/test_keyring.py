"""Keys in memory and as the text of a file: what is refused, with its line, and that no key is ever shown."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from flight.link.security.keyring import (
    FINGERPRINT_OCTETS,
    KEYS_MAX,
    LINKS_MAX,
    Key,
    Keyring,
    KeyState,
    KeyUse,
    delivered_spis,
    simulated_keys,
    use_of,
)
from flight.link.security.keys_text import TEXT_MAX, format_keys, parse_keys


@dataclass(frozen=True)
class Ends:
    """What a link says of its two directions."""

    up: object | None = "authenticated"
    down: object | None = "authenticated"
    name: str = "radio"


def ring() -> Keyring:
    return simulated_keys(11, [Ends(), Ends(down=None)], "orbitnode-1", 427)


def key(keys: Keyring, key_id: int) -> Key:
    found = keys.get(key_id)
    assert found is not None
    return found


TEXT = format_keys(ring())
DIGITS = re.findall(r'octets = "(\w{64})"', TEXT)


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


# What is in a file


def test_a_file_says_again_what_was_written() -> None:
    again = parse_keys(TEXT.encode(), "a file")
    assert format_keys(again) == TEXT
    assert (again.node, again.spacecraft_id, again.simulated, len(again)) == ("orbitnode-1", 427, True, 8)
    active, waiting = KeyState.ACTIVE, KeyState.PRE_ACTIVATION
    assert [(key.key_id, key.spi, key.use, key.state) for key in again] == [
        (0, 0, KeyUse.MASTER, active),
        (1, 1, KeyUse.UP, active),
        (2, 2, KeyUse.UP, waiting),
        (3, 3, KeyUse.DOWN, active),
        (4, 4, KeyUse.DOWN, waiting),
        (5, 5, KeyUse.VOLATILE, active),
        (17, 17, KeyUse.UP, active),
        (18, 18, KeyUse.UP, waiting),
    ]
    assert [key.fingerprint for key in again] == [key.fingerprint for key in ring()]
    assert TEXT.startswith("# Secret: ") and "0600" in TEXT.splitlines()[1]


def test_a_file_keeps_states_and_leaves_destroyed_keys_out() -> None:
    keys = ring()
    keys.put(Key(60, KeyState.DEACTIVATED, bytes(range(32)), spi=2, created="2026-03-20T10:00:00Z"))
    keys.put(key(keys, 3).changed(KeyState.DESTROYED))
    again = parse_keys(format_keys(keys))
    added = key(again, 60)
    assert 3 not in again
    assert (added.state, added.created, added.spi) == (KeyState.DEACTIVATED, "2026-03-20T10:00:00Z", 2)


def test_a_key_of_no_association_is_not_written() -> None:
    keys = ring()
    keys.put(Key(9, KeyState.ACTIVE, bytes(range(32))))
    with pytest.raises(ValueError, match=r"^key 9 is for no association$"):
        format_keys(keys)


FAULTS = [
    ("version = 1", "version = 2", r"F:5: version: is 2, should be 1"),
    ("version = 1", "version = true", r"F:5: version: should be 1"),
    ("simulated = true", "simulated = 1", r"F:8: simulated: should be true or false"),
    ('node = "orbitnode-1"', 'node = "a b"', r"F:6: node: should be the node's name in quotes: letters, digits, - and"),
    ('node = "orbitnode-1"', f'node = "{"a" * 65}"', r"F:6: node: should have 64 octets at most"),
    ("spacecraft_id = 427", "spacecraft_id = 1024", r"F:7: spacecraft_id: is 1024, should be a whole number in 0 .. 1"),
    ("spacecraft_id = 427", "", r"F:1: spacecraft_id: is missing, should be a whole number in 0 .. 1023"),
    ("id = 3\n", "id = 1\n", r"F:34: key\[3\].id: is 1 as that of another key is, should be a number of its own"),
    ("id = 3\n", "id = 65536\n", r"F:34: key\[3\].id: is 65536, should be a whole number in 0 .. 65535"),
    ('id = 0\nuse = "master"', 'id = 9\nuse = "up"\nspi = 2', r"F:10: key: has no master key, should have one with id"),
    ('use = "up"', 'use = "master"', r"F:19: key\[1\].use: should be 'master' for id 0, and for no other"),
    ('use = "up"', 'use = "upwards"', r"F:19: key\[1\].use: should be one of master, up, down, volatile, in quotes"),
    ("spi = 3", "spi = 5", r"F:36: key\[3\].spi: does not go with use 'down', for which it should be 16 times the pl"),
    ("spi = 3\n", "", r"F:33: key\[3\].spi: is missing"),
    ('use = "master"', 'use = "master"\nspi = 1', r"F:13: key\[0\].spi: should not be there: the master key belongs"),
    ('state = "active"', 'state = "destroyed"', r"F:13: key\[0\].state: should be one of pre-activation, active, dea"),
    ('created = ""', 'created = "yesterday"', r'F:14: key\[0\].created: should be a time in UTC in quotes such as "'),
    ('created = ""', 'created = "2026-02-30T10:00:00Z"', r"F:14: key\[0\].created: should be a time in UTC"),
    ('created = ""', "created = 2026-02-03T10:00:00Z", r"F:14: key\[0\].created: should be a time in UTC in quotes"),
    ("created", "creatd", r"F:14: key\[0\].creatd: is unknown, did you mean created\?"),
    (f'octets = "{DIGITS[0]}"', f"{DIGITS[0]} = 1", r"F:10: key\[0\]: has an unknown field, known: id, use, spi"),
    (f'octets = "{DIGITS[0]}"', f"octets = 0x{DIGITS[0]}", r"F:15: key\[0\].octets: should be 64 hexadecimal digits"),
    ("id = 0\n", f"id = 0x{DIGITS[0]}\n", r"F:11: key\[0\].id: should be a whole number in 0 .. 65535"),
    (DIGITS[0], DIGITS[0][1:], r"F:15: key\[0\].octets: has 63 hexadecimal digits, should have 64"),
    (DIGITS[0], DIGITS[0][:9] + ":" + DIGITS[0][9:], r"F:15: key\[0\].octets: has something else as character 10"),
    (DIGITS[0], "0" * 64, r"F:15: key\[0\].octets: is all zeros, should be random"),
    (DIGITS[2], DIGITS[1].upper(), r"F:31: key\[2\].octets: is the same as key 1, every key should have octets of its"),
    (f'octets = "{DIGITS[0]}"', f"octets = {DIGITS[0]}", r"F:15: is not valid TOML \(column \d+\); what stands there"),
    (f'octets = "{DIGITS[0]}"', f'octets = "{DIGITS[0]}', r"F:15: is not valid TOML \(column \d+\); what stands ther"),
    (f'octets = "{DIGITS[0]}"', f"octets = {{{DIGITS[0]} = 1, {DIGITS[0]} = 1}}", r"F:15: is not valid TOML \(column"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "instead", "says"), FAULTS)
def test_a_fault_has_its_line_and_shows_no_key(there: str, instead: str, says: str) -> None:
    assert there in TEXT
    with pytest.raises(DecodeError, match=says) as caught:
        parse_keys(TEXT.replace(there, instead, 1), "F")
    quoted = shown(caught.value).lower()
    assert not [digits for digits in DIGITS if digits[:6] in quoted or str(int(digits, 16))[:6] in quoted]


def test_all_faults_are_said_at_once() -> None:
    text = TEXT.replace("version = 1\n", "").replace("spi = 17", "spi = 18.5").replace("spi = 5", "spi = 21")
    with pytest.raises(DecodeError) as caught:
        parse_keys(text, "F")
    head, *faults = str(caught.value).splitlines()
    assert head == "keys F: 2 faults" and "version: is missing" in faults[0] and "key[6].spi" in faults[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"version = 1\nnode = \xff", "^F:2: is not UTF-8 text, as a keys file should be$"),
        (b"", "F:1: key: should be a list of tables"),
        ("key = [1, 2]", r"F:1: key\[1\]: should be a table"),
        (" " * (TEXT_MAX + 1), "^F: is over 65,536 octets long"),
        ("x = " + "[" * 60_000, "is not valid TOML"),
        ("x = " + "9" * 10_000, "is not valid TOML"),
        ("[[key]]\n" * (KEYS_MAX + 1), r"is one of 97, should be at most 96"),
    ],
)
def test_what_is_no_keys_file_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        parse_keys(text, "F")


def test_a_full_keyring_fits_a_file() -> None:
    keys = ring()
    for i in range(65000, 65000 + KEYS_MAX - len(keys)):
        octets = hashlib.sha256(b"%d" % i).digest()
        keys.put(Key(i, KeyState.PRE_ACTIVATION, octets, spi=255 - 14 + 3, created="2026-03-20T10:00:00Z"))
    assert len(format_keys(keys)) <= TEXT_MAX // 2 and len(parse_keys(format_keys(keys))) == KEYS_MAX


def pieces() -> st.SearchStrategy[str]:
    """Texts that get far: the lines of a file, in any order, with some of anything between them."""
    lines = st.sampled_from(TEXT.splitlines(keepends=True))
    return st.lists(st.one_of(lines, st.text(max_size=8)), max_size=30).map("".join)


@given(st.one_of(st.text(), st.binary(), pieces()))
def test_any_text_is_a_keyring_or_a_decode_error(text: str | bytes) -> None:
    try:
        keys = parse_keys(text)
    except DecodeError as error:
        quoted = shown(error).lower()
        assert not [digits for digits in DIGITS if digits[:8] in quoted]
    else:
        assert 0 in keys


@given(st.data())
def test_a_damaged_file_is_a_keyring_or_a_decode_error_without_a_key(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT)))
    text = TEXT[:at] + data.draw(st.text(max_size=3)) + TEXT[at + data.draw(st.integers(0, 40)) :]
    try:
        parse_keys(text)
    except DecodeError as error:
        quoted = shown(error).lower()
        # Not the first digits alone: damage may begin in the middle of a key.
        assert not [d for d in DIGITS if any(d[i : i + 10] in quoted for i in range(54))]


# In memory


def everything_said(keys: Keyring) -> Iterator[str]:
    for thing in (keys, *keys):
        yield from (repr(thing), str(thing), f"{thing}", f"{thing!r:.40}")


def test_nothing_that_is_printed_shows_a_key() -> None:
    said = "\n".join(everything_said(ring()))
    assert "Keyring(8 keys of 'orbitnode-1', simulated)" in said and "Key(17, ACTIVE)" in said
    for digits in DIGITS:
        assert digits[:6] not in said and repr(bytes.fromhex(digits))[2:10] not in said


def test_wiped_octets_are_gone_from_the_one_place_where_they_were() -> None:
    keys = ring()
    found = key(keys, 1)
    place, fingerprint = found.octets, found.fingerprint
    changed = found.changed(KeyState.DESTROYED, 2)
    assert any(place) and len(fingerprint) == FINGERPRINT_OCTETS and fingerprint not in bytes(place)
    assert (changed.state, changed.bound, found.state, found.bound) == (KeyState.DESTROYED, 2, KeyState.ACTIVE, 0)
    changed.wipe()
    assert place == bytes(32) and changed.fingerprint == fingerprint
    rest = Key.destroyed(1, fingerprint, 1)
    assert rest.octets == bytes(32) and (rest.fingerprint, rest.state) == (fingerprint, KeyState.DESTROYED)
    other = key(keys, 3).octets
    keys.drop(3)
    keys.drop(3)
    assert other == bytes(32) and 3 not in keys and len(keys) == 7
    places = [key.octets for key in keys]
    keys.wipe()
    assert places == [bytes(32)] * 7


def test_a_key_has_a_copy_of_its_own() -> None:
    octets = bytearray(range(32))
    added = Key(1, KeyState.ACTIVE, octets)
    octets[:] = bytes(32)
    assert added.octets == bytes(range(32)) and added != added.changed()


def test_a_copy_of_a_keyring_goes_its_own_way() -> None:
    keys = ring()
    other = keys.copy()
    other.put(key(other, 2).changed(KeyState.ACTIVE))
    assert key(keys, 2).state is KeyState.PRE_ACTIVATION and (other.node, other.simulated) == ("orbitnode-1", True)


def test_what_may_not_be_a_further_key() -> None:
    keys = ring()
    assert keys.fault_of(bytes(32)) == "is all zeros, should be random"
    assert keys.fault_of(bytes(key(keys, 3).octets)).startswith("is the same as key 3, every key should have octets")
    assert keys.fault_of(bytes(range(32))) == ""
    keys.put(key(keys, 3).changed(KeyState.DESTROYED))
    assert keys.fault_of(bytes(key(keys, 3).octets)) == ""


# Which keys there are


def test_keys_at_delivery_follow_from_the_links() -> None:
    links = [Ends(), Ends(None, None), Ends(down=None), Ends(up=None)]
    assert delivered_spis(links) == (1, 2, 3, 4, 5, 33, 34, 51, 52, 53)
    assert [use_of(spi) for spi in (-1, 0, 1, 2, 3, 4, 5, 6, 16, 18, 255, 257)] == [
        None, None, KeyUse.UP, KeyUse.UP, KeyUse.DOWN, KeyUse.DOWN, KeyUse.VOLATILE, None, None, KeyUse.UP, None, None,
    ]  # fmt: skip
    assert len(delivered_spis([Ends()] * LINKS_MAX)) < KEYS_MAX


def test_simulated_keys_are_those_of_hkdf_and_differ_by_seed_node_and_spacecraft() -> None:
    for found in ring():
        hkdf = HKDF(SHA256(), 32, b"orbitnode keys of a simulation", f"orbitnode-1/427/{found.key_id}".encode())
        assert found.octets == hkdf.derive(b"11")
    others = ((12, "orbitnode-1", 427), (11, "other", 427), (11, "orbitnode-1", 428))
    rings = [ring(), *(simulated_keys(seed, [Ends()], node, spacecraft) for seed, node, spacecraft in others)]
    octets = [bytes(key.octets) for keys in rings for key in keys]
    assert len(set(octets)) == len(octets) == 8 + 3 * 6 and all(ring.simulated for ring in rings)
