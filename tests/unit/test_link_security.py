"""Link security: what a receiver refuses and why, numbers over reboots, keys files, the report, storage that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flight.core.errors import DecodeError
from flight.link.security.associations import Direction, End, LinkPlan, SaState, plan_associations
from flight.link.security.keyring import KEYS_MAX, Key, Keyring, KeyState, delivered_keys
from flight.link.security.keys_text import parse_keys
from flight.link.security.link_security import (
    IN_FLIGHT_MAX,
    REASONS,
    SKIPS_PER_CONTACT,
    NumbersExhausted,
    SecurityError,
)
from flight.link.security.management import Management
from flight.link.security.numbers import (
    DOWN_RECEIVE_BLOCK,
    DOWN_RECEIVE_BLOCK_MAX,
    UP_BLOCK,
    ReceiveNumbers,
    SendNumbers,
)
from flight.link.security.procedures import Pdu, Procedure
from flight.link.security.record import RETIRED_MAX, Record, StoredAssociation, StoredKey
from flight.link.security.report import FrameSecurityReport
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE, SUITES, Suite
from tests.security_ends import BOTH, HEADER, SecurityEnd, keys_of, pair

UP_GCM = (LinkPlan("radio", GCM_SUITE, CMAC_SUITE), LinkPlan("optical", None, GCM_SUITE))


def refused(end: SecurityEnd, body: bytes, header: bytes = HEADER) -> str:
    before = dict(end.security.counters.refused)
    with pytest.raises(SecurityError) as caught:
        end.security.check(0, header, body)
    reason = caught.value.reason
    assert end.security.counters.refused == {**before, reason: before[reason] + 1}
    return reason


@pytest.mark.parametrize("plans", [BOTH, UP_GCM])
def test_frames_pass_both_ways_with_the_octets_that_are_told(plans: tuple[LinkPlan, ...]) -> None:
    ground, node = pair(plans)
    for sender, receiver, direction in ((ground, node, Direction.UP), (node, ground, Direction.DOWN)):
        body = sender.send(b"something")
        assert body is not None
        assert len(body) == sum(sender.security.overhead(0, direction)) + 9
        assert receiver.take(body) == b"something"
    assert ground.security.overhead(0, Direction.UP) in ((10, 16), (14, 16))
    if len(plans) == 2:
        assert node.security.overhead(1, Direction.UP) == (0, 0)


def test_only_the_encrypted_service_hides_data() -> None:
    ground, node = pair()
    up, down = ground.send(b"in clear"), node.send(b"in clear")
    assert up is not None and b"in clear" in up
    assert down is not None and b"in clear" not in down


@pytest.mark.parametrize("plans", [BOTH, UP_GCM])
def test_each_bit_of_header_and_frame_is_covered(plans: tuple[LinkPlan, ...]) -> None:
    ground, node = pair(plans)
    body = ground.send(b"four")
    assert body is not None
    for bit in range(8 * len(HEADER)):
        header = bytearray(HEADER)
        header[bit // 8] ^= 1 << bit % 8
        assert refused(node, body, bytes(header)) == "mac"
    for bit in range(8 * len(body)):
        altered = bytearray(body)
        altered[bit // 8] ^= 1 << bit % 8
        assert refused(node, bytes(altered)) in ("spi", "association", "mac", "replay")
    for octets in range(len(body)):
        assert refused(node, body[:octets]) in ("length", "mac")
    assert node.take(body) == b"four"  # none of these has moved anything


def test_the_reasons_come_in_their_order() -> None:
    ground, node = pair()
    body = ground.send()
    assert body is not None
    assert refused(node, b"") == "length"
    assert refused(node, body[:26]) == "length"
    assert refused(node, b"\x00\x09" + body[2:]) == "spi"
    assert refused(node, b"\x00\x03" + body[2:]) == "spi"  # one that goes down
    assert refused(node, b"\x00\x02" + body[2:]) == "association"
    node.take(body)
    assert refused(node, body) == refused(node, body[:-1] + b"x") == "replay"  # before the MAC is looked at
    later = ground.send()
    assert later is not None
    assert refused(node, later[:-1] + bytes((later[-1] ^ 1,))) == "mac"
    state = node.security.state
    key = state.keyring.get(1)
    assert key is not None
    state.keyring.put(key.changed(state=KeyState.DEACTIVATED))
    node.security.refresh()
    assert refused(node, later) == "key"
    assert set(node.security.counters.refused) == set(REASONS)
    assert all(node.security.counters.refused.values())


def test_the_report_says_what_the_last_frame_was() -> None:
    ground, node = pair()
    assert node.security.report(0) == FrameSecurityReport()
    body = ground.send()
    assert body is not None
    node.take(body)
    assert node.security.report(0) == FrameSecurityReport(spi=1, number=1)
    refused(node, body)
    assert node.security.report(0) == FrameSecurityReport(1, 1, alarm=True, bad_number=True)
    body = ground.send()
    assert body is not None
    refused(node, body, b"\x00" * 5)
    assert node.security.report(0) == FrameSecurityReport(1, 2, alarm=True, bad_mac=True)
    refused(node, b"\x00\x02" + body[2:])
    assert node.security.report(0) == FrameSecurityReport(2, 2, alarm=True, bad_association=True)
    node.take(body)
    assert node.security.report(0) == FrameSecurityReport(1, 2, alarm=True)
    node.security.reset_alarm(0)
    assert node.security.report(0) == FrameSecurityReport(1, 2)


def test_the_report_as_octets() -> None:
    report = FrameSecurityReport(0x1234, 0x56, alarm=True, bad_mac=True)
    assert report.encode().hex() == "ca123456"
    assert FrameSecurityReport.decode(report.encode()) == report
    for octets, text in (("4a123456", "type 0"), ("ba123456", "version 3"), ("ca1234", "3 octets")):
        with pytest.raises(DecodeError, match=text):
            FrameSecurityReport.decode(bytes.fromhex(octets))


# Numbers.


def test_a_limit_is_wanted_half_a_block_early_and_goes_two_blocks_ahead() -> None:
    numbers = SendNumbers(UP_BLOCK, 1 << 63)
    assert numbers.take() is None and numbers.due and numbers.wanted == 2 * UP_BLOCK
    numbers.durable(numbers.wanted)
    numbers.due = False
    used = []
    while not numbers.due:
        used.append(numbers.take())
    assert used == list(range(1, 3 * UP_BLOCK // 2 + 1))
    assert numbers.wanted == 3 * UP_BLOCK
    while numbers.take() is not None:
        pass
    assert numbers.next == numbers.limit == 2 * UP_BLOCK


def test_a_receiver_of_telemetry_asks_less_often_if_storage_is_slow() -> None:
    numbers = ReceiveNumbers(DOWN_RECEIVE_BLOCK, 1 << 95, 0, 65536)
    for number in range(1, 100_000):
        if number >= numbers.limit:
            numbers.wait(number)  # nothing was stored while frames went on
            numbers.durable(numbers.wanted)
        numbers.spend(number)
    assert numbers.block > 256 * DOWN_RECEIVE_BLOCK
    assert ReceiveNumbers(DOWN_RECEIVE_BLOCK, 1 << 95, numbers.limit).spent == numbers.limit - 1


def test_a_ground_that_was_killed_refuses_few_frames() -> None:
    ground, node = pair()
    for _ in range(100):
        ground.boot()  # without the last record of an orderly end
        refused_bodies = 0
        while refused_bodies <= 2 * DOWN_RECEIVE_BLOCK:
            body = node.send()
            assert body is not None
            try:
                ground.take(body)
                break
            except SecurityError:
                refused_bodies += 1
        assert refused_bodies <= 2 * DOWN_RECEIVE_BLOCK
    for widened, block in ((1, 8), (20, DOWN_RECEIVE_BLOCK_MAX)):
        for _ in range(widened):
            ground.security.widen()
        assert ground.security.state.numbers[3].block == block


def test_a_reboot_uses_no_number_twice_and_takes_none_twice() -> None:
    ground, node = pair()
    bodies = [ground.send() for _ in range(700)]
    for body in bodies:
        assert body is not None
        node.take(body)
    node.boot()
    for body in bodies:
        assert body is not None
        assert refused(node, body) == "replay"
    ground.boot()
    assert ground.send() not in bodies


def test_the_ground_comes_up_again_with_a_node_that_rebooted() -> None:
    ground, node = pair()
    for count in (1, 3, 127, 128, 255, 256, 600):
        for _ in range(count):
            body = ground.send()
            assert body is not None
            node.take(body)
        node.boot()
        ground.security.skip(0)
        body = ground.send()
        assert body is not None
        assert node.take(body) == b"data"


def test_a_forged_report_cannot_use_up_the_numbers() -> None:
    ground, _ = pair()
    ground.send()
    forged = FrameSecurityReport(spi=1, bad_number=True)
    assert not ground.security.heed(0, FrameSecurityReport(spi=2, bad_number=True))
    assert not ground.security.heed(0, FrameSecurityReport(spi=1, bad_mac=True))
    assert ground.security.heed(0, forged)
    assert not ground.security.heed(0, forged)  # nothing was sent since
    skips = 1
    for _ in range(100):
        ground.send()
        skips += ground.security.heed(0, forged)
    assert skips == SKIPS_PER_CONTACT == ground.security.counters.skips
    ground.security.begin_contact(0)
    assert ground.security.heed(0, forged)


@pytest.mark.parametrize("plans", [BOTH, UP_GCM])
def test_exhausted_numbers_are_refused(plans: tuple[LinkPlan, ...]) -> None:
    ground, node = pair(plans)
    end = ground.security.state.numbers[1].end
    ground.security.advance(1, end - 1)
    body = ground.send()
    assert body is not None
    assert node.take(body) == b"data"
    with pytest.raises(NumbersExhausted, match="change the key"):
        ground.send()
    ground.boot()
    with pytest.raises(NumbersExhausted):
        ground.send()
    # The node has an association left that needs no numbers.
    node.settle()
    numbers = node.security.state.numbers[3]
    assert isinstance(numbers, SendNumbers)
    numbers.advance(numbers.end)
    down = node.send()
    assert down is not None
    assert down[:2] == b"\x00\x05" and ground.take(down) == b"data"
    assert node.security.counters.exhausted


def test_a_content_is_given_out_once_and_few_are_under_way() -> None:
    _, node = pair()
    numbers = node.security.state.numbers[1]
    assert node.security.to_store() is None
    given = []
    for step in range(2 * IN_FLIGHT_MAX):
        assert isinstance(numbers, ReceiveNumbers)
        numbers.advance(1000 * (step + 1))
        node.security.store_failed(0)
        node.security.retry()
        if store := node.security.to_store():
            given.append(store.generation)
            assert node.security.to_store() is None
    assert len(given) == len(set(given)) == IN_FLIGHT_MAX
    node.security.stored(given[-1])
    assert numbers.limit == numbers.wanted or node.security.to_store()


# Storage that fails, and what is lost.


def test_a_node_without_storage_goes_on_in_memory_and_says_so() -> None:
    ground, node = pair()
    node.broken = True
    bodies = [ground.send() for _ in range(5)]
    assert bodies[0] is not None
    assert node.security.check(0, HEADER, bodies[0]).waits
    before = node.security.volatile
    node.settle()
    assert (before, node.security.volatile) == (False, True)
    for body in bodies:
        assert body is not None
        assert node.take(body) == b"data"
        assert refused(node, body) == "replay"
    numbers = node.security.state.numbers[3]
    assert isinstance(numbers, SendNumbers)
    numbers.advance(numbers.limit)
    down = [node.security.protect(0, HEADER, b"data") for _ in range(50)]
    assert {body[:2] for body in down if body} == {b"\x00\x05"}
    assert len({body[2:14] for body in down if body}) == 50
    assert all(body and body[2] & 0x80 for body in down)
    assert down[0] is not None and ground.take(down[0]) == ground.take(down[0]) == b"data"  # no order there
    node.settle()
    node.broken = False
    assert node.security.to_store() is None  # whoever owns the storage says when to try again
    node.security.retry()
    node.settle()
    assert not any((node.security.volatile, node.security.to_store()))
    node.boot()
    assert bodies[4] is not None and refused(node, bodies[4]) == "replay"


def test_a_ground_without_storage_stops_at_its_limit() -> None:
    ground, _ = pair()
    ground.broken = True
    sent = [ground.send() for _ in range(2 * UP_BLOCK)]
    assert None in sent and sent.index(None) == 2 * UP_BLOCK - 1
    assert not any(sent[sent.index(None) :])
    assert ground.security.counters.waiting


def test_a_node_that_lost_its_record_is_volatile_until_its_numbers_are_set() -> None:
    ground, node = pair()
    old = ground.send()
    assert old is not None
    node.take(old)
    node.kept = b"\xff damaged"
    node.boot(clock_number=1 << 40)
    node.settle()
    assert node.security.volatile and "format 255" in node.security.faults[0]
    assert refused(node, old) == "replay"  # below the clock's number
    ground.security.advance(1, 1 << 40)
    new = ground.send()
    assert new is not None and node.take(new) == b"data"
    assert node.security.volatile
    down = node.send()
    assert down is not None and down[:2] == b"\x00\x05"
    node.boot()
    assert node.security.volatile  # the loss is recorded
    assert refused(node, new) == "replay"


def test_a_ground_that_lost_its_record_goes_on_from_the_clock() -> None:
    ground, node = pair()
    for _ in range(10):
        body = ground.send()
        assert body is not None
        node.take(body)
    ground.kept = None
    ground.boot(lost=True)
    assert ground.send() is None  # no clock: rather nothing than a number twice
    ground.boot(lost=True, clock_number=1 << 47)
    body = ground.send()
    assert body is not None and int.from_bytes(body[2:10], "big") == 1 << 47
    assert node.take(body) == b"data"
    down = node.send()
    assert down is not None and ground.take(down) == b"data"


def test_another_keys_file_begins_with_new_numbers_and_the_same_one_never_does() -> None:
    ground, node = pair()
    body = ground.send()
    assert body is not None
    node.take(body)
    for end in (ground, node):
        end.text = keys_of(seed=9)
        end.boot()
        end.settle()
        assert not end.security.state.associations[1].lost
    fresh = ground.send()
    assert fresh is not None and int.from_bytes(fresh[2:10], "big") == 1
    assert node.take(fresh) == b"data"
    assert refused(node, body) in ("replay", "mac")


@pytest.mark.parametrize("times", [1, 3])
def test_keys_that_come_back_with_their_file_have_lost_their_numbers(times: int) -> None:
    ground, node = pair()
    bodies = [ground.send() for _ in range(3)]
    for body in bodies:
        assert body is not None
        node.take(body)
    first, clock = node.text, 1 << 40
    for seed in range(times):
        node.text = keys_of(seed=20 + seed)
        node.boot(clock_number=clock)
        node.settle()
        assert not node.security.volatile
    node.text = first
    node.boot(clock_number=clock)
    assert node.security.volatile, "a recorded frame could come again"
    assert [refused(node, body or b"") for body in bodies] == ["replay"] * 3
    up, down = (node.security.state.numbers[spi] for spi in (1, 3))
    assert up.last >= clock - 1
    assert down.last >= clock - 1, "with GCM a number used twice gives the key away"
    node.settle()
    node.boot(clock_number=clock)
    assert refused(node, bodies[0] or b"") == "replay"


def test_a_record_that_may_be_one_write_behind_takes_nothing_that_was_sent_before() -> None:
    ground, node = pair()
    ground.boot(clock_number=1 << 40)  # a start of the ground jumps over more than two blocks
    body = ground.send()
    assert body is not None
    behind = node.kept
    node.take(body)
    for clock in (1 << 41, 0):
        node.kept = behind
        node.boot(clock_number=clock)
        node.security.distrust()
        node.settle()
        assert node.security.volatile, "whoever owns the commands takes only those that may be repeated"
        if clock:
            assert refused(node, body) == "replay"
            number = (1 << 42).to_bytes(8, "big")
            done = Management(node.security).execute(Pdu(Procedure.SET_ARSN, b"\x00\x01" + number).encode())
            node.settle(done.store)
            assert not node.security.volatile, "the ground has set its numbers"


def test_records_that_no_end_writes_are_refused() -> None:
    node = SecurityEnd(End.NODE)
    node.settle(node.security.snapshot())
    assert node.kept is not None
    record = Record.decode(node.kept)
    first, second, *others = record.keys
    for strange, text in (
        (replace(record, keys=(first, replace(second, fingerprint=first.fingerprint), *others)), "same fingerprint"),
        (replace(record, absent=(second,)), "same fingerprint"),
        (replace(record, keys=(replace(first, bound=1), second, *others)), "master key"),
        (replace(record, associations=(replace(record.associations[0], key_id=0),)), "master key"),
        (replace(record, retired=(b"12345678",) * 2), "same replaced key"),
    ):
        with pytest.raises(DecodeError, match=text):
            Record.decode(strange.encode())


def test_a_limit_beyond_all_numbers_is_the_last_one() -> None:
    node = SecurityEnd(End.NODE)
    node.settle(node.security.snapshot())
    assert node.kept is not None
    record = Record.decode(node.kept)
    associations = tuple(replace(each, limit=2**96 - 1) for each in record.associations)
    node.kept = replace(record, associations=associations).encode()
    node.boot()
    management = Management(node.security)
    for spi, octets in ((1, 8), (2, 8), (3, 12), (4, 12)):
        reply = management.execute(Pdu(Procedure.READ_ARSN, spi.to_bytes(2, "big")).encode()).reply
        assert len(reply) == 3 + 2 + octets
    assert node.security.protect(0, HEADER, b"data") is not None, "over the volatile association"


def test_a_skip_where_nothing_was_sent_since_the_last_one_is_none() -> None:
    ground, _ = pair()
    stores = 0
    for _ in range(1000):
        ground.security.skip(0)
        stores += ground.security.to_store() is not None
    assert stores == 1
    assert ground.security.state.numbers[1].last < 1024
    ground.settle(ground.security.snapshot())
    assert ground.send() is not None
    ground.security.skip(0)
    assert ground.security.to_store() is not None


def test_a_link_that_was_in_clear_for_a_while_keeps_its_numbers() -> None:
    ground, node = pair()
    body = ground.send()
    assert body is not None
    node.take(body)
    plans = node.plans
    node.plans = (LinkPlan("radio", None, GCM_SUITE),)
    node.boot()
    node.settle(node.security.snapshot())
    node.plans = plans
    node.boot()
    assert refused(node, body) == "replay"


def test_what_is_missing_in_the_keys_file_is_said() -> None:
    node = SecurityEnd(End.NODE)
    node.boot(keyring=Keyring([Key(0, KeyState.ACTIVE, bytes(32))]))
    assert [fault.rpartition(" ")[2] for fault in node.security.faults] == ["1", "3", "5"]
    assert "link radio: no active key 1" in node.security.faults[0]
    assert node.security.protect(0, HEADER, b"data") is None


def test_a_record_that_is_full_to_the_brim_is_taken_and_stored_again() -> None:
    destroyed = tuple(StoredKey(200 + n, KeyState.DESTROYED, 0, n.to_bytes(8, "big")) for n in range(KEYS_MAX))
    associations = tuple(
        StoredAssociation(100 + n, SaState.OPERATIONAL, 7, 1, 2**32 - 1, 2**96 - 1, True, False) for n in range(255)
    )
    retired = tuple(n.to_bytes(8, "little") for n in range(RETIRED_MAX))
    for stored in (
        associations,
        (*associations[5:], *(replace(each, spi=1 + n) for n, each in enumerate(associations[:5]))),
    ):
        node = SecurityEnd(End.NODE)
        node.kept = Record((1, 2), stored, destroyed, retired, (), (b"upload",)).encode()
        node.boot()
        node.settle(node.security.snapshot())
        assert node.security.faults == ("keys that were sent up are not wrapped under the master key of the keys file",)
        kept = Record.decode(node.kept)
        assert len(kept.associations) == 255 and len(kept.keys) == KEYS_MAX
        assert node.send() is not None
        Management(node.security).execute(Pdu(Procedure.KEY_ACTIVATION, b"\x00\x04").encode())


# Keys and associations.


def test_the_plan_of_associations() -> None:
    plans = [LinkPlan("a", CMAC_SUITE, None), LinkPlan("b", None, None), LinkPlan("c", GCM_SUITE, GCM_SUITE)]
    assert [association.spi for association in plan_associations(plans)] == [1, 2, 33, 34, 35, 36, 37]
    ring = delivered_keys(plans, lambda _: bytes(32))
    assert [key.key_id for key in ring] == [0, 1, 2, 33, 34, 35, 36, 37]
    assert {key.key_id for key in ring if key.state is KeyState.PRE_ACTIVATION} == {2, 34, 36}


def test_suites_have_the_octets_of_the_design() -> None:
    assert [suite and (suite.header_octets, suite.trailer_octets) for suite in SUITES.values()] == [
        None, (10, 16), (14, 16),
    ]  # fmt: skip
    for suite in (CMAC_SUITE, GCM_SUITE):
        with pytest.raises(DecodeError, match="key of 31 octets"):
            suite.keyed(bytes(31))


def test_a_key_is_wiped() -> None:
    ring = parse_keys(keys_of())
    (octets, *_) = [key.octets for key in ring]
    assert any(octets)
    ring.wipe()
    assert not any(octets)


@pytest.mark.parametrize("suite", [CMAC_SUITE, GCM_SUITE])
def test_numbers_that_count_and_random_ones_never_meet(suite: Suite) -> None:
    assert suite.random_number(bytes(suite.number_octets)) == suite.numbers_end
    assert suite.random_number(b"\xff" * suite.number_octets) == (1 << 8 * suite.number_octets) - 1
