"""Procedures of CCSDS 355.1-B-1 as octets: what the ground asks of the node's keys and associations, and the replies.

A PDU is a tag of 8 bits, a length of 16 that counts bits, and a value:

    type 1 (0 command, 1 reply) | user flag 1 (0) | service group 2 | procedure 4 | length 16 | value

    group, procedure           value of the command                    value of the reply
    keys: upload (OTAR)        master key id 2, IV 12, wrapped, MAC 16 -
    keys: activation           key ids 2 each                          -
    keys: deactivation         key ids 2 each                          -
    keys: verification         key id 2, challenge 16, each            key id 2, IV 12, sealed challenge 32, each
    keys: destruction          key ids 2 each                          -
    keys: inventory            first id 2, last id 2                   count 2, then key id 2 and state 1 each
    associations: rekey        SPI 2, key id 2                         -
    associations: start        SPI 2                                   -
    associations: stop         SPI 2                                   -
    associations: expire       SPI 2                                   -
    associations: set ARSN     SPI 2, number 8 or 12                   -
    associations: read ARSN    SPI 2                                   SPI 2, number 8 or 12
    associations: status       SPI 2                                   SPI 2, procedure of the last change 1
    monitoring: ping           -                                       -
    monitoring: self-test      -                                       0 passed, 255 failed
    monitoring: alarm reset    -                                       -

What is wrapped is key id 2 and key 32 of each key. A reply without a value is sent for ping alone.
"""

# What 355.1 leaves to a mission ("managed") is settled like this. Keys have 32 octets and are wrapped by AES-256-GCM.
# The channels that an association protects are fixed by the mission, so that start names none. A rekey names one key
# for encryption and authentication; numbers begin at 1 again, as a key is never used with an association twice. The
# challenge is sealed by AES-256-GCM under a key derived from the one that is verified, never under that one itself: it
# may be a CMAC key, or have used the IV already.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

from flight.core.errors import DecodeError
from flight.link.security.suites import IV_OCTETS, KEY_OCTETS, MAC_OCTETS, KeyedGcm

TAG_OCTETS = 3
VALUE_OCTETS_MAX = 512
KEYS_PER_PDU_MAX = 8
CHALLENGE_OCTETS = 16
SELF_TEST_PASSED, SELF_TEST_FAILED = b"\x00", b"\xff"
_UPLOADED_OCTETS = 2 + KEY_OCTETS
_WRAP_OCTETS = 2 + IV_OCTETS + MAC_OCTETS


class Procedure(Enum):
    """Service group and procedure id, as in a tag."""

    OTAR = 0x01
    KEY_ACTIVATION = 0x02
    KEY_DEACTIVATION = 0x03
    KEY_VERIFICATION = 0x04
    KEY_DESTRUCTION = 0x06
    KEY_INVENTORY = 0x07
    REKEY_SA = 0x16
    START_SA = 0x1B
    STOP_SA = 0x1E
    EXPIRE_SA = 0x19
    SET_ARSN = 0x1A
    READ_ARSN = 0x10
    SA_STATUS = 0x1F
    PING = 0x31
    SELF_TEST = 0x35
    ALARM_FLAG_RESET = 0x37


_PROCEDURES = {procedure.value: procedure for procedure in Procedure}
IDEMPOTENT = frozenset(
    {Procedure.KEY_VERIFICATION, Procedure.KEY_INVENTORY, Procedure.SET_ARSN, Procedure.READ_ARSN}
    | {Procedure.SA_STATUS, Procedure.PING, Procedure.SELF_TEST, Procedure.ALARM_FLAG_RESET}
)
"""What a node may execute twice without harm, and so even if it cannot store what it has taken (`volatile`)."""
ANSWERED = IDEMPOTENT - {Procedure.SET_ARSN, Procedure.ALARM_FLAG_RESET}
"""What has a reply: the questions. Of all others, the completion of the command says that they are done."""


@dataclass(frozen=True, slots=True)
class Pdu:
    """One command, or one reply."""

    procedure: Procedure
    value: bytes = b""
    reply: bool = False

    def encode(self) -> bytes:
        """Return tag, length and value."""
        assert len(self.value) <= VALUE_OCTETS_MAX, len(self.value)
        return bytes((self.reply << 7 | self.procedure.value,)) + (8 * len(self.value)).to_bytes(2, "big") + self.value

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not a PDU of a procedure at the head of this file."""
        if len(raw) < TAG_OCTETS:
            raise DecodeError(f"security PDU of {len(raw)} octets, shortest is {TAG_OCTETS}")
        tag, bits, octets = raw[0], int.from_bytes(raw[1:3], "big"), len(raw) - TAG_OCTETS
        if octets > VALUE_OCTETS_MAX:
            raise DecodeError(f"security PDU with a value of {octets} octets, longest is {VALUE_OCTETS_MAX}")
        if bits != 8 * octets:
            raise DecodeError(f"security PDU: length field says {bits} bits, the value has {8 * octets}")
        if tag & 0x40:
            raise DecodeError("security PDU with the user flag, no such procedure is defined here")
        procedure = _PROCEDURES.get(tag & 0x3F)
        if procedure is None:
            raise DecodeError(f"security PDU of group {tag >> 4 & 3}, procedure {tag & 15}: not known")
        return cls(procedure, bytes(raw[TAG_OCTETS:]), bool(tag >> 7))


def two_octet_ids(value: bytes) -> list[int]:
    """Return the key ids of a value, 1 to 8 of them, none twice; raises DecodeError."""
    count, rest = divmod(len(value), 2)
    if rest or not 1 <= count <= KEYS_PER_PDU_MAX:
        raise DecodeError(f"{len(value)} octets of key ids, should be 2 for each of 1 to {KEYS_PER_PDU_MAX} keys")
    ids = [int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value), 2)]
    if len(set(ids)) < count:
        raise DecodeError("a key id stands there twice")
    return ids


def fields(value: bytes, *octets: int) -> list[int]:
    """Return the numbers of a value that has fields of these lengths and nothing else; raises DecodeError."""
    if len(value) != sum(octets):
        raise DecodeError(f"value of {len(value)} octets, should be {sum(octets)}")
    numbers = []
    for length in octets:
        numbers.append(int.from_bytes(value[:length], "big"))
        value = value[length:]
    return numbers


def ids_value(ids: Sequence[int]) -> bytes:
    """Return the value that names these keys or associations."""
    return b"".join(each.to_bytes(2, "big") for each in ids)


def wrap_keys(master_id: int, master: bytes | bytearray, keys: Sequence[tuple[int, bytes]], iv: bytes) -> bytes:
    """Return the value of an upload of up to 8 keys; `iv` is 12 octets, random and never the same again."""
    assert 1 <= len(keys) <= KEYS_PER_PDU_MAX, len(keys)
    assert len(iv) == IV_OCTETS, len(iv)
    covered = master_id.to_bytes(2, "big")
    bare = b"".join(key_id.to_bytes(2, "big") + octets for key_id, octets in keys)
    return covered + iv + KeyedGcm(master).seal(iv, bare, covered)


def master_of(value: bytes) -> int:
    """Return the id of the key that an upload is wrapped under; raises DecodeError if it has a wrong length."""
    count, rest = divmod(len(value) - _WRAP_OCTETS, _UPLOADED_OCTETS)
    if rest or not 1 <= count <= KEYS_PER_PDU_MAX:
        raise DecodeError(
            f"upload of {len(value)} octets, should be {_WRAP_OCTETS} and {_UPLOADED_OCTETS} for each of 1 to "
            f"{KEYS_PER_PDU_MAX} keys"
        )
    return int.from_bytes(value[:2], "big")


def unwrap_keys(master: bytes | bytearray, value: bytes) -> list[tuple[int, bytes]]:
    """Return ids and octets of the keys of an upload; raises DecodeError if another key wrapped it."""
    master_of(value)
    bare = KeyedGcm(master).unseal(value[2:14], value[14:], value[:2])
    starts = range(0, len(bare), _UPLOADED_OCTETS)
    return [(int.from_bytes(bare[at : at + 2], "big"), bare[at + 2 : at + _UPLOADED_OCTETS]) for at in starts]


def challenges(value: bytes) -> list[tuple[int, bytes]]:
    """Return key ids and challenges of a verification, 1 to 8 of them; raises DecodeError."""
    count, rest = divmod(len(value), 2 + CHALLENGE_OCTETS)
    if rest or not 1 <= count <= KEYS_PER_PDU_MAX:
        raise DecodeError(
            f"verification of {len(value)} octets, should be {2 + CHALLENGE_OCTETS} for each of 1 to "
            f"{KEYS_PER_PDU_MAX} keys"
        )
    starts = range(0, len(value), 2 + CHALLENGE_OCTETS)
    return [(int.from_bytes(value[at : at + 2], "big"), value[at + 2 : at + 18]) for at in starts]


def answer_challenge(key_id: int, derived: bytes, challenge: bytes, iv: bytes) -> bytes:
    """Return one key's part of a verification reply. `derived` is the key's `derived(VERIFICATION)`."""
    name = key_id.to_bytes(2, "big")
    return name + iv + KeyedGcm(derived).seal(iv, challenge, name)


VERIFICATION = b"key verification"
ANSWER_OCTETS = 2 + IV_OCTETS + CHALLENGE_OCTETS + MAC_OCTETS


def answered_challenge(derived: bytes, answer: bytes) -> bytes:
    """Return the challenge that one key's part of a reply was made for; raises DecodeError if the key is another."""
    if len(answer) != ANSWER_OCTETS:
        raise DecodeError(f"answer to a challenge of {len(answer)} octets, should be {ANSWER_OCTETS}")
    return KeyedGcm(derived).unseal(answer[2:14], answer[14:], answer[:2])
