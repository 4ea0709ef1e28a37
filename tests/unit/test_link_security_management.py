"""Procedures of 355.1: what each does, why each is refused, and that no order of them locks anybody out."""

from __future__ import annotations

from itertools import count

import pytest

from flight.core.errors import DecodeError
from flight.link.security.associations import End, LinkPlan, SaState
from flight.link.security.keyring import KeyState
from flight.link.security.link_security import SecurityError
from flight.link.security.management import REFUSALS, Management, ProcedureRefused, is_idempotent
from flight.link.security.numbers import NUMBER_SET_MAX
from flight.link.security.procedures import (
    ANSWER_OCTETS,
    VERIFICATION,
    Pdu,
    Procedure,
    answered_challenge,
    ids_value,
    unwrap_keys,
    wrap_keys,
)
from flight.link.security.suites import GCM_SUITE, MacError
from tests.security_ends import HEADER, SecurityEnd, pair

MASTER, A, B, DOWN_A, DOWN_B, VOLATILE = range(6)
IVS = count(1)


class Managed(SecurityEnd):
    """An end that executes procedures."""

    def boot(self, *arguments: object, **named: object) -> None:
        super().boot(*arguments, **named)  # type: ignore[arg-type]
        self.management = Management(self.security)

    def do(self, procedure: Procedure, value: bytes = b"") -> bytes:
        executed = self.management.execute(Pdu(procedure, value).encode())
        assert executed.procedure is procedure
        if executed.store:
            self.settle(executed.store)
        return executed.reply

    def refuses(self, procedure: Procedure, value: bytes = b"") -> str:
        before = self.security.state.record().encode()
        with pytest.raises(ProcedureRefused) as caught:
            self.do(procedure, value)
        assert caught.value.reason in REFUSALS and str(caught.value)
        assert self.security.state.record().encode() == before
        return caught.value.reason

    def upload(self, *keys: tuple[int, bytes], master_id: int = 0) -> bytes:
        master = self.security.state.keyring.get(0)
        assert master is not None
        return wrap_keys(master_id, master.octets, keys, next(IVS).to_bytes(12, "big"))

    def key_state(self, key_id: int) -> KeyState:
        key = self.security.state.keyring.get(key_id)
        assert key is not None
        return key.state

    def sa_state(self, spi: int) -> SaState:
        return self.security.state.associations[spi].state


@pytest.fixture
def node() -> Managed:
    """A node that has taken a command over A."""
    ground, _ = pair()
    node = Managed(End.NODE, seed=3)
    node.settle()
    body = ground.send()
    assert body is not None
    node.take(body)
    return node


@pytest.fixture
def ground() -> Managed:
    ground = Managed(End.GROUND, seed=2)
    ground.settle()
    return ground


def both(ends: tuple[Managed, ...], procedure: Procedure, value: bytes) -> None:
    for end in ends:
        end.do(procedure, value)


def test_a_change_of_key_from_upload_to_the_last_stop(node: Managed, ground: Managed) -> None:
    ground.send()
    upload = ground.upload((20, b"k" * 32), (21, b"l" * 32))
    both((node, ground), Procedure.OTAR, upload)
    assert node.key_state(20) is KeyState.PRE_ACTIVATION
    both((node, ground), Procedure.KEY_ACTIVATION, ids_value([20, 21]))
    for spi, key_id in ((B, 20), (DOWN_B, 21)):
        both((node, ground), Procedure.REKEY_SA, ids_value([spi, key_id]))
        assert node.sa_state(spi) is SaState.KEYED
        both((node, ground), Procedure.START_SA, ids_value([spi]))
    assert node.refuses(Procedure.STOP_SA, ids_value([A])) == "locked out"  # B has proven nothing
    ground.security.choose(0, B)
    body = ground.send()
    assert body is not None and body[:2] == b"\x00\x02"
    assert node.take(body) == b"data"
    both((node, ground), Procedure.STOP_SA, ids_value([A]))
    both((node, ground), Procedure.EXPIRE_SA, ids_value([A]))
    both((node, ground), Procedure.STOP_SA, ids_value([DOWN_A]))
    both((node, ground), Procedure.KEY_DEACTIVATION, ids_value([A, DOWN_A]))
    both((node, ground), Procedure.KEY_DESTRUCTION, ids_value([A, DOWN_A]))
    assert node.refuses(Procedure.STOP_SA, ids_value([B])) == "locked out"
    assert node.refuses(Procedure.KEY_DEACTIVATION, ids_value([20])) == "locked out"
    assert node.refuses(Procedure.STOP_SA, ids_value([DOWN_B])) == "locked out"
    # All of it survives a reboot, keys that came by the air and keys that are gone.
    for end in (node, ground):
        end.boot()
        end.settle()
        assert not end.security.faults
        assert end.key_state(A) is KeyState.DESTROYED and end.key_state(20) is KeyState.ACTIVE
        assert end.sa_state(A) is SaState.UNKEYED and end.sa_state(B) is SaState.OPERATIONAL
    ground.security.skip(0)
    body = ground.send()
    assert body is not None and node.take(body) == b"data"
    down = node.send()
    assert down is not None and down[:2] == b"\x00\x04" and ground.take(down) == b"data"


def test_wherever_a_change_of_key_is_cut_a_goes_on_and_the_whole_can_be_sent_again(ground: Managed) -> None:
    upload = ground.upload((20, b"k" * 32))
    steps = [
        (Procedure.OTAR, upload), (Procedure.KEY_ACTIVATION, ids_value([20])),
        (Procedure.REKEY_SA, ids_value([B, 20])), (Procedure.START_SA, ids_value([B])),
    ]  # fmt: skip
    for cut in range(len(steps) + 1):
        for written in (True, False):
            sender, _ = pair()
            node = Managed(End.NODE, seed=3)
            node.settle()
            for procedure, value in steps[:cut]:
                node.do(procedure, value)
            if cut < len(steps) and not written:
                procedure, value = steps[cut]
                node.management.execute(Pdu(procedure, value).encode())  # in memory, and the power goes
            node.boot()
            node.settle()
            sender.security.skip(0)
            body = sender.send()
            assert body is not None and node.take(body) == b"data"
            for procedure, value in steps:
                node.do(procedure, value)
            assert node.sa_state(A) is node.sa_state(B) is SaState.OPERATIONAL


def test_a_change_that_cannot_be_stored_is_taken_back(node: Managed) -> None:
    steps = [
        (Procedure.OTAR, node.upload((20, b"k" * 32))), (Procedure.KEY_ACTIVATION, ids_value([20])),
        (Procedure.REKEY_SA, ids_value([B, 20])), (Procedure.START_SA, ids_value([B])),
        (Procedure.STOP_SA, ids_value([B])), (Procedure.EXPIRE_SA, ids_value([B])),
        (Procedure.KEY_DEACTIVATION, ids_value([20])), (Procedure.KEY_DESTRUCTION, ids_value([20])),
    ]  # fmt: skip
    for procedure, value in steps:
        before = node.security.state.record().encode()
        executed = node.management.execute(Pdu(procedure, value).encode())
        assert executed.store is not None and executed.store.content != before
        changing = node.security.changing
        assert node.refuses(Procedure.SET_ARSN, b"\x00\x01" + bytes(6) + b"\x10\x00") == "busy"
        node.security.store_failed(executed.store.generation)
        assert node.security.state.record().encode() == before
        assert (changing, node.security.changing) == (True, False)
        node.do(procedure, value)
        assert node.do(procedure, value) == b""  # once more changes nothing and writes nothing
    key = node.security.state.keyring.get(20)
    assert key is not None and not any(key.octets)


def test_a_destroyed_key_is_wiped_when_that_is_stored_and_not_before(node: Managed) -> None:
    node.do(Procedure.OTAR, node.upload((20, b"k" * 32)))
    octets = node.security.state.keyring.get(20).octets  # type: ignore[union-attr]
    executed = node.management.execute(Pdu(Procedure.KEY_DESTRUCTION, ids_value([20])).encode())
    assert executed.store is not None
    assert octets == b"k" * 32
    node.security.stored(executed.store.generation)
    assert octets == bytes(32)
    assert not node.security.state.uploads


def test_keys_are_refused_with_a_reason(node: Managed) -> None:
    upload = node.upload((20, b"k" * 32))
    assert node.refuses(Procedure.OTAR, upload[:-1]) == "pdu"
    assert node.refuses(Procedure.OTAR, upload[:-1] + bytes((upload[-1] ^ 1,))) == "mac"
    assert node.refuses(Procedure.OTAR, node.upload((20, b"k" * 32), master_id=1)) == "key"
    assert node.refuses(Procedure.OTAR, node.upload((0, b"k" * 32))) == "key"
    assert node.refuses(Procedure.OTAR, node.upload((20, b"k" * 32), (20, b"l" * 32))) == "pdu"
    assert node.refuses(Procedure.OTAR, node.upload((20, b"k" * 32), (21, b"k" * 32))) == "pdu"
    assert node.refuses(Procedure.OTAR, node.upload((1, b"k" * 32))) == "key used"
    node.do(Procedure.OTAR, upload)
    assert node.do(Procedure.OTAR, upload) == b""
    assert node.refuses(Procedure.OTAR, node.upload((21, b"k" * 32))) == "key used"
    assert node.refuses(Procedure.KEY_ACTIVATION, b"\x00") == "pdu"
    assert node.refuses(Procedure.KEY_ACTIVATION, ids_value([20, 20])) == "pdu"
    assert node.refuses(Procedure.KEY_ACTIVATION, ids_value([0])) == "key"
    assert node.refuses(Procedure.KEY_ACTIVATION, ids_value([99])) == "key"
    assert node.refuses(Procedure.KEY_ACTIVATION, ids_value([20, 99])) == "key"
    assert node.refuses(Procedure.KEY_DEACTIVATION, ids_value([20])) == "key state"
    assert node.refuses(Procedure.KEY_DEACTIVATION, ids_value([1])) == "locked out"
    assert node.refuses(Procedure.KEY_DESTRUCTION, ids_value([1])) == "key state"
    node.do(Procedure.KEY_DESTRUCTION, ids_value([20]))
    assert node.refuses(Procedure.KEY_ACTIVATION, ids_value([20])) == "key state"
    assert node.refuses(Procedure.OTAR, upload) == "key used"  # what was destroyed does not come back
    node.do(Procedure.OTAR, node.upload((20, b"n" * 32)))
    assert node.refuses(Procedure.OTAR, node.upload((22, b"k" * 32))) == "key used"  # nor under another id
    node.boot()
    assert node.refuses(Procedure.OTAR, node.upload((22, b"k" * 32))) == "key used"


def test_a_ring_that_is_full_takes_no_more_keys(node: Managed) -> None:
    keys = [(number, bytes((number,)) * 32) for number in range(100, 196)]
    for taken in range(0, 90, 6):
        node.do(Procedure.OTAR, node.upload(*keys[taken : taken + 6]))
    assert node.refuses(Procedure.OTAR, node.upload(*keys[90:])) == "keys full"
    assert len(node.security.state.keyring) == 96
    node.boot()
    assert len(node.security.state.keyring) == 96 and not node.security.faults


def test_a_key_serves_one_association_once(node: Managed) -> None:
    node.do(Procedure.OTAR, node.upload((20, b"k" * 32)))
    assert node.refuses(Procedure.REKEY_SA, ids_value([B, 20])) == "key state"
    node.do(Procedure.KEY_ACTIVATION, ids_value([20]))
    assert node.refuses(Procedure.REKEY_SA, ids_value([B, 99])) == "key"
    assert node.refuses(Procedure.REKEY_SA, ids_value([B, 0])) == "key"
    assert node.refuses(Procedure.REKEY_SA, ids_value([99, 20])) == "association"
    assert node.refuses(Procedure.REKEY_SA, ids_value([A, 20])) == "association state"
    assert node.refuses(Procedure.REKEY_SA, ids_value([B])) == "pdu"
    node.do(Procedure.REKEY_SA, ids_value([B, 20]))
    assert node.refuses(Procedure.REKEY_SA, ids_value([DOWN_B, 20])) == "key used"
    node.do(Procedure.EXPIRE_SA, ids_value([B]))
    assert node.refuses(Procedure.REKEY_SA, ids_value([B, 20])) == "key used"
    assert node.refuses(Procedure.START_SA, ids_value([B])) == "association state"
    assert node.refuses(Procedure.STOP_SA, ids_value([B])) == "association state"
    assert node.refuses(Procedure.EXPIRE_SA, ids_value([A])) == "association state"


def test_a_key_that_was_put_out_of_use_stops_its_association(node: Managed, ground: Managed) -> None:
    both((node, ground), Procedure.KEY_ACTIVATION, ids_value([B]))
    both((node, ground), Procedure.REKEY_SA, ids_value([B, B]))
    both((node, ground), Procedure.START_SA, ids_value([B]))
    ground.security.choose(0, B)
    body = ground.send()
    assert body is not None
    node.take(body)
    node.do(Procedure.KEY_DEACTIVATION, ids_value([A]))
    ground.security.choose(0, A)
    body = ground.send()
    assert body is not None
    with pytest.raises(SecurityError, match="key 1 is not active"):
        node.security.check(0, HEADER, body)
    assert node.refuses(Procedure.KEY_DEACTIVATION, ids_value([B])) == "locked out"
    node.do(Procedure.STOP_SA, ids_value([A]))
    assert node.refuses(Procedure.START_SA, ids_value([A])) == "key state"


def test_the_volatile_association_gets_another_key_at_once(node: Managed, ground: Managed) -> None:
    assert node.refuses(Procedure.STOP_SA, ids_value([VOLATILE])) == "locked out"
    both((node, ground), Procedure.OTAR, node.upload((30, b"v" * 32)))
    both((node, ground), Procedure.KEY_ACTIVATION, ids_value([30]))
    both((node, ground), Procedure.REKEY_SA, ids_value([VOLATILE, 30]))
    assert node.sa_state(VOLATILE) is SaState.OPERATIONAL
    assert node.refuses(Procedure.SET_ARSN, ids_value([VOLATILE]) + bytes(12)) == "association"
    node.do(Procedure.SET_ARSN, ids_value([DOWN_A]) + (7).to_bytes(12, "big"))


def test_numbers_are_set_forwards_only(node: Managed, ground: Managed) -> None:
    def value(spi: int, number: int) -> bytes:
        return ids_value([spi]) + number.to_bytes(8 if spi in (A, B) else 12, "big")

    assert node.do(Procedure.READ_ARSN, ids_value([A]))[3:] == value(A, 1)
    both((node, ground), Procedure.SET_ARSN, value(A, 5000))
    assert node.do(Procedure.READ_ARSN, ids_value([A]))[3:] == value(A, 5000)
    body = ground.send()
    assert body is not None and body[:10] == value(A, 5001)
    assert node.take(body) == b"data"
    assert node.refuses(Procedure.SET_ARSN, value(A, 5000)) == "backwards"
    assert node.refuses(Procedure.SET_ARSN, value(A, NUMBER_SET_MAX + 1)) == "range"
    assert node.refuses(Procedure.SET_ARSN, value(99, 1)) == "association"
    assert node.refuses(Procedure.SET_ARSN, value(A, 6000)[:-1]) == "pdu"
    assert node.refuses(Procedure.SET_ARSN, b"\x00") == "pdu"
    assert node.do(Procedure.SET_ARSN, value(A, 5001)) == b""
    both((node, ground), Procedure.SET_ARSN, value(DOWN_A, 70_000))
    down = node.send()
    assert down is not None and down[:14] == value(DOWN_A, 70_001)
    assert ground.take(down) == b"data"


def test_what_was_lost_is_over_when_the_numbers_are_set(node: Managed, ground: Managed) -> None:
    node.kept = None
    node.boot(lost=True)
    node.settle()
    before = node.security.volatile
    body = ground.send()
    assert body is not None
    node.take(body)
    pdu = Pdu(Procedure.SET_ARSN, ids_value([A]) + (900).to_bytes(8, "big")).encode()
    assert is_idempotent(pdu) and not is_idempotent(Pdu(Procedure.STOP_SA, ids_value([A])).encode())
    both((node, ground), Procedure.SET_ARSN, ids_value([A]) + (900).to_bytes(8, "big"))
    assert (before, node.security.volatile) == (True, False)
    node.do(Procedure.SET_ARSN, ids_value([DOWN_A]) + (1 << 40).to_bytes(12, "big"))
    down = node.send()
    assert down is not None and down[:2] == b"\x00\x03"
    node.boot()
    assert [one.lost for one in node.security.state.associations.values()].count(True) == 0


def test_questions_are_answered(node: Managed, ground: Managed) -> None:
    challenge = bytes(range(16))
    reply = Pdu.decode(node.do(Procedure.KEY_VERIFICATION, ids_value([1]) + challenge + ids_value([2]) + challenge))
    assert reply.reply and reply.procedure is Procedure.KEY_VERIFICATION and len(reply.value) == 2 * ANSWER_OCTETS
    for at, key in enumerate([ground.security.state.keyring.get(1), ground.security.state.keyring.get(2)]):
        assert key is not None
        answer = reply.value[at * ANSWER_OCTETS : (at + 1) * ANSWER_OCTETS]
        assert answered_challenge(key.derived(VERIFICATION), answer) == challenge
        with pytest.raises(MacError):
            answered_challenge(bytes(32), answer)
        with pytest.raises(DecodeError, match="should be 46"):
            answered_challenge(bytes(32), answer[:-1])
    assert node.refuses(Procedure.KEY_VERIFICATION, ids_value([77]) + challenge) == "key"
    assert node.refuses(Procedure.KEY_VERIFICATION, ids_value([0]) + challenge) == "key"
    assert node.refuses(Procedure.KEY_VERIFICATION, challenge) == "pdu"
    assert node.do(Procedure.KEY_INVENTORY, ids_value([1, 3])).hex() == "870058" + "0003" + "000101000200000301"
    assert node.refuses(Procedure.KEY_INVENTORY, ids_value([3, 1])) == "range"
    assert node.refuses(Procedure.KEY_INVENTORY, b"") == "pdu"
    assert node.do(Procedure.SA_STATUS, ids_value([A])).hex() == "9f0018" + "00010b"
    assert node.do(Procedure.SA_STATUS, ids_value([B])).hex() == "9f0018" + "000201"
    assert node.do(Procedure.PING).hex() == "b10000"
    assert node.do(Procedure.SELF_TEST).hex() == "b5000800"
    with pytest.raises(SecurityError):
        node.security.check(0, HEADER, b"")
    assert node.security.report(0).alarm
    assert node.do(Procedure.ALARM_FLAG_RESET) == b""
    assert not node.security.report(0).alarm
    for procedure in (Procedure.PING, Procedure.SELF_TEST, Procedure.ALARM_FLAG_RESET, Procedure.SA_STATUS):
        assert node.refuses(procedure, b"x") == "pdu"
    assert node.refuses(Procedure.READ_ARSN, ids_value([99])) == "association"


def test_a_verification_of_a_destroyed_key_is_refused(node: Managed) -> None:
    node.do(Procedure.KEY_DESTRUCTION, ids_value([B]))
    assert node.refuses(Procedure.KEY_VERIFICATION, ids_value([B]) + bytes(16)) == "key state"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("", "0 octets, shortest is 3"),
        ("310008", "says 8 bits, the value has 0"),
        ("31000000", "says 0 bits, the value has 8"),
        ("710000", "user flag"),
        ("050000", "group 0, procedure 5"),
        ("31ffff" + "00" * 513, "longest is 512"),
    ],
)
def test_pdus_that_are_none(node: Managed, octets: str, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        Pdu.decode(bytes.fromhex(octets))
    with pytest.raises(ProcedureRefused, match=text):
        node.management.execute(bytes.fromhex(octets))
    assert not is_idempotent(bytes.fromhex(octets))


def test_a_reply_is_not_executed(node: Managed) -> None:
    with pytest.raises(ProcedureRefused, match="a reply"):
        node.management.execute(Pdu(Procedure.PING, reply=True).encode())


def test_each_link_is_kept_open_by_itself() -> None:
    plans = (LinkPlan("radio", GCM_SUITE, None), LinkPlan("optical", GCM_SUITE, None))
    ground, _ = pair(plans)
    node = Managed(End.NODE, plans=plans, seed=3)
    node.settle()
    for link in (0, 1):
        body = ground.send(link=link)
        assert body is not None
        node.take(body, link)
    assert node.refuses(Procedure.STOP_SA, ids_value([1])) == "locked out"
    assert node.refuses(Procedure.STOP_SA, ids_value([17])) == "locked out"
    with pytest.raises(ProcedureRefused, match="link optical: without SPI 17"):
        node.do(Procedure.STOP_SA, ids_value([17]))


def test_wrapped_keys_open_under_their_master_alone() -> None:
    wrapped = wrap_keys(0, b"m" * 32, [(9, b"k" * 32)], bytes(12))
    assert unwrap_keys(b"m" * 32, wrapped) == [(9, b"k" * 32)]
    with pytest.raises(MacError):
        unwrap_keys(b"n" * 32, wrapped)
    with pytest.raises(MacError):
        unwrap_keys(b"m" * 32, b"\x00\x01" + wrapped[2:])
