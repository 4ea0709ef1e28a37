"""A change of key over the air, between two real ends: whole, cut at every step, refused, over a link that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from flight.core.errors import DecodeError
from flight.link.security.associations import End, LinkPlan, plan_associations
from flight.link.security.keyring import (
    SPIS_PER_LINK,
    KeyState,
    KeyUse,
    delivered_keys,
    delivered_spis,
)
from flight.link.security.keys_text import format_keys, parse_keys
from flight.link.security.procedures import ANSWERED, Pdu, Procedure, ids_value
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE
from ground.link.security.key_rotation import (
    DONE,
    Answer,
    Ask,
    Choose,
    KeyRotation,
    RotationFailed,
    Save,
)
from tests.secured_link import HEADER, PLANS, Cut, SecuredLink

WAYS = [KeyUse.UP, KeyUse.DOWN]


def assert_changed(link: SecuredLink, use: KeyUse, former: bytes) -> None:
    ((key_id, spi),) = link.active(use)
    for end in End:
        assert link.operational(end, use) == [(spi, key_id)], end
        key = link.ends[end].state.keyring.get(key_id)
        assert key is not None and key.fingerprint != former
        old = [key for key in link.ends[end].state.keyring if key.fingerprint == former]
        assert [(key.state, any(key.octets)) for key in old] == [(KeyState.DESTROYED, False)], end
    assert link.works()
    link.boot()
    assert link.works(), "not after a restart of both"


def fingerprint_of(link: SecuredLink, use: KeyUse) -> bytes:
    ((key_id, _),) = link.active(use)
    return next(key.fingerprint for key in parse_keys(link.file) if key.key_id == key_id)


@pytest.mark.parametrize("index", range(len(PLANS)))
@pytest.mark.parametrize("use", WAYS)
def test_keys_change_again_and_again(use: KeyUse, index: int) -> None:
    link = SecuredLink(index)
    assert link.works()
    base, seen = SPIS_PER_LINK * index, set()
    a, b = (base + 1, base + 2) if use is KeyUse.UP else (base + 3, base + 4)
    for turn in range(100):  # more than a node has room for keys
        former = fingerprint_of(link, use)
        seen.add(former)
        link.rotate(use)
        assert_changed(link, use, former)
        ((key_id, spi),) = link.active(use)
        assert spi == (b, a)[turn % 2]
        assert key_id == b if turn == 0 else key_id >= 256, "the first change takes the key that was delivered for it"
    assert len(seen) == 100 and fingerprint_of(link, use) not in seen


def test_the_first_change_is_these_steps() -> None:
    link = SecuredLink()
    link.rotate(KeyUse.UP)
    assert link.steps == [
        "send over SPI 1", "ask the node for its keys", "upload key 2", "activate key 2", "verify key 2",
        "take key 2 ourselves", "activate key 2 ourselves", "give key 2 to SPI 2 ourselves", "give key 2 to SPI 2",
        "start SPI 2 ourselves", "start SPI 2", "send over SPI 2", "ask for an answer by key 2", "key 2 is active",
        "send over SPI 2", "stop SPI 1", "stop SPI 1 ourselves", "deactivate key 1", "deactivate key 1 ourselves",
        "destroy key 1", "destroy key 1 ourselves", "key 1 is out of use",
    ]  # fmt: skip


@pytest.mark.parametrize("use", WAYS)
def test_a_key_is_of_one_association_whatever_ids_are_used_again(use: KeyUse) -> None:
    link = SecuredLink(plans=(LinkPlan("radio", GCM_SUITE, GCM_SUITE), LinkPlan("optical", GCM_SUITE, GCM_SUITE)))
    for _ in range(5):
        link.rotate(use)
        ((key_id, spi),) = link.active(use)
        for end in End:
            key = link.ends[end].state.keyring.get(key_id)
            assert key is not None and key.bound == spi, end
        for other in (2, 4, 18, 20):
            rekey = Pdu(Procedure.REKEY_SA, ids_value([other, key_id])).encode()
            if other != spi:
                assert link.execute(End.NODE, rekey).refused in ("key used", "association state"), other


@pytest.mark.parametrize("record", [True, False], ids=["", "the ground's record is gone"])
@pytest.mark.parametrize("turns", range(4))
def test_another_keys_file_at_both_ends_replaces_keys_that_were_changed(turns: int, record: bool) -> None:
    link = SecuredLink()
    for _ in range(turns):
        for use in WAYS:
            link.rotate(use)
    link.file = link.board = format_keys(delivered_keys(PLANS, lambda _: os.urandom(32), node="n"))
    if not record:
        link.records[End.GROUND] = None
    link.boot()
    assert link.works()
    for use in WAYS * 2:
        former = fingerprint_of(link, use)
        link.rotate(use)
        assert_changed(link, use, former)
    assert not any(link.ends[end].faults for end in End), "uploads under the former master key are dropped by now"


def test_the_newest_keys_file_rules_over_a_record_of_the_ground_that_went_by_an_older_one() -> None:
    link = SecuredLink()
    older = link.file
    for _ in range(2):
        for use in WAYS:
            link.rotate(use)
    newest, link.file = link.file, older
    link.records[End.GROUND] = None
    link.boot()
    assert not link.works()
    link.file = newest
    link.boot(clock_number=1 << 30)
    assert link.works()


@pytest.mark.parametrize("use", WAYS)
def test_ids_that_the_other_direction_had_before_confuse_no_change_that_is_cut(use: KeyUse) -> None:
    """An association that rests may still have the key id that a key of the other direction has got since."""
    other = next(way for way in WAYS if way is not use)

    def changed() -> SecuredLink:
        link = SecuredLink()
        for way in (other, other, other, use, use, other):
            link.rotate(way)
        return link

    whole = changed()
    before = len(whole.steps)
    whole.rotate(use)
    for cut in range(len(whole.steps) - before + 1):
        for lost in (False, True):
            link = changed()
            link.steps.clear()
            link.cut_after, link.lose_reply_at = cut, cut if lost else -1
            with suppress(Cut, RotationFailed):
                link.rotate(use)
            link.boot()
            assert link.works(), (cut, lost)


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("turns", range(4))
def test_a_board_that_gets_its_own_keys_file_back_is_recovered(turns: int, others: int) -> None:
    plans = PLANS[:1]
    link, clock = SecuredLink(plans=plans), 1 << 40
    for _ in range(turns):
        for use in WAYS:
            link.rotate(use)
    file, board, ground_record = link.file, link.board, link.records[End.GROUND]
    recorded = [link.ends[End.GROUND].protect(0, HEADER, b"x") for _ in range(3)]
    for _ in range(others):
        clock += 1 << 20
        link.file = link.board = format_keys(delivered_keys(plans, lambda _: os.urandom(32), node="n"))
        link.boot(clock)
        assert link.works()
    link.file, link.board, link.records[End.GROUND] = file, board, ground_record
    clock += 1 << 20
    link.boot(clock)
    node = link.ends[End.NODE]
    assert [spi for spi, each in node.state.associations.items() if each.lost], "it is volatile"
    assert all(node.look(0, HEADER, body or b"") == "replay" for body in recorded)
    link.recover(clock)
    assert link.works() and not node.volatile
    for use in WAYS:
        former = fingerprint_of(link, use)
        link.rotate(use)
        assert_changed(link, use, former)


class Forger(SecuredLink):
    """Once the new association is started nothing reaches the node, and somebody answers in its place."""

    jams = False

    def exchange(self, pdu: bytes) -> Answer:
        procedure = Pdu.decode(pdu).procedure
        if not self.jams:
            self.jams = procedure is Procedure.START_SA
            return super().exchange(pdu)
        return Answer(reply=Pdu(procedure, bytes(46), reply=True).encode() if procedure in ANSWERED else b"")


@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize("use", WAYS)
def test_whoever_forges_replies_cannot_have_the_key_thrown_away_that_the_node_listens_to(
    use: KeyUse, turns: int
) -> None:
    honest = SecuredLink()
    for _ in range(turns):
        honest.rotate(use)
    link = Forger(file=honest.file)
    link.board, link.records = honest.board, honest.records
    link.boot()
    former = fingerprint_of(link, use)
    with pytest.raises(RotationFailed, match=r"gone back to key"):
        link.rotate(use)
    assert fingerprint_of(link, use) == former, "it is in the file, and active"
    if use is KeyUse.UP:
        assert link.works()


def cuts(use: KeyUse, turn: int) -> Iterator[int]:
    link = SecuredLink()
    for _ in range(turn):
        link.rotate(use)
    before = len(link.steps)
    link.rotate(use)
    yield from range(len(link.steps) - before + 1)


@pytest.mark.campaign
@pytest.mark.parametrize("restart", [False, True], ids=["", "both restart"])
@pytest.mark.parametrize("turn", [0, 3])  # the key of delivery, and an id that is used again
@pytest.mark.parametrize("use", WAYS)
def test_a_change_that_is_cut_anywhere_is_run_again(use: KeyUse, turn: int, restart: bool) -> None:
    for cut in cuts(use, turn):
        for lost in (False, True):
            link = SecuredLink()
            for _ in range(turn):
                link.rotate(use)
            former = fingerprint_of(link, use)
            link.steps.clear()
            link.cut_after = cut
            link.lose_reply_at = cut if lost else -1
            try:
                link.rotate(use)
            except (Cut, RotationFailed):
                pass
            if restart:
                link.boot()
            assert link.works(), (cut, lost)
            link.cut_after, link.lose_reply_at = 1 << 30, -1
            if former in [key.fingerprint for key in parse_keys(link.file) if key.state is KeyState.ACTIVE]:
                link.rotate(use)
            assert_changed(link, use, former)


@pytest.mark.parametrize("use", WAYS)
def test_a_link_that_fails_by_the_new_key_goes_back(use: KeyUse) -> None:
    link = SecuredLink()
    new = 2 if use is KeyUse.UP else 4
    former = fingerprint_of(link, use)
    link.deaf = lambda _way, spi: spi == new
    with pytest.raises(RotationFailed, match=rf"no answer came by key {new}; gone back to key {new - 1}: run it again"):
        link.rotate(use)
    assert link.works() and link.active(use) == [(new - 1, new - 1)]
    link.deaf = lambda _way, _spi: False
    link.rotate(use)
    assert_changed(link, use, former)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_link_that_is_down_changes_nothing(way: str) -> None:
    link = SecuredLink()
    before = link.file
    link.deaf = lambda direction, _spi: direction == way
    with pytest.raises(
        RotationFailed, match=r"^ask the node for its keys: no answer came; run it again, it goes on from"
    ):
        link.rotate(KeyUse.UP)
    assert link.file == before
    link.deaf = lambda _way, _spi: False
    assert link.works()


def test_a_key_is_in_the_file_before_it_leaves() -> None:
    link = SecuredLink()
    link.rotate(KeyUse.UP)
    ring = parse_keys(link.file)
    steps = KeyRotation(ring, 0, KeyUse.UP, random=os.urandom, created="2026-03-20T10:00:00Z").steps()
    written, answer = parse_keys(link.file), None
    while True:
        step = next(steps) if answer is None else steps.send(answer)
        if isinstance(step, Save):
            written, answer = parse_keys(format_keys(ring)), DONE
        elif isinstance(step, Choose):
            answer = link.choose(step.spi)
        else:
            assert isinstance(step, Ask)
            if Pdu.decode(step.pdu).procedure is Procedure.OTAR:
                break
            answer = link.exchange(step.pdu)
    (waiting,) = [key for key in written if key.state is KeyState.PRE_ACTIVATION and key.spi == 1]
    assert waiting.key_id == 256 and bytes(waiting.octets) not in step.pdu


def test_a_file_that_came_back_from_a_backup_is_enough_for_a_change() -> None:
    link = SecuredLink()
    link.rotate(KeyUse.UP)  # to B
    backup = link.file
    link.rotate(KeyUse.UP)  # to A
    link.rotate(KeyUse.UP)  # to B, by a key that the backup does not have
    link.file = backup
    link.rotate(KeyUse.UP)
    assert link.works() and link.active(KeyUse.UP) == [(256, 1)]
    assert link.operational(End.NODE, KeyUse.UP) == [(1, 256)]


def test_a_key_that_the_node_does_not_take_is_given_up_for_another() -> None:
    link = SecuredLink()
    former = fingerprint_of(link, KeyUse.UP)
    assert not link.exchange(Pdu(Procedure.KEY_DESTRUCTION, b"\0\2").encode()).refused
    link.rotate(KeyUse.UP)
    assert link.active(KeyUse.UP) == [(256, 2)]
    assert_changed(link, KeyUse.UP, former)
    assert [key.state for key in parse_keys(link.file) if key.key_id == 2] == [KeyState.DEACTIVATED]


def test_a_node_that_takes_no_key_is_asked_three_times() -> None:
    class Refusing(SecuredLink):
        def exchange(self, pdu: bytes) -> Answer:
            refused = Pdu.decode(pdu).procedure is Procedure.OTAR
            return Answer(refused="key used", text="it says") if refused else super().exchange(pdu)

    link = Refusing()
    with pytest.raises(RotationFailed, match=r"^the node took none of 3 new keys; the former one carries$"):
        link.rotate(KeyUse.UP)
    assert len([step for step in link.steps if step.startswith("upload")]) == 3
    assert [key.key_id for key in parse_keys(link.file) if key.key_id >= 256] == [] and link.works()


@pytest.mark.parametrize("procedure", [p for p in Procedure if p.value & 0x30 != 0x30 or p is Procedure.PING])
@pytest.mark.parametrize("end", list(End))
@pytest.mark.parametrize("use", WAYS)
def test_whatever_is_refused_is_said_and_leaves_a_way(use: KeyUse, end: End, procedure: Procedure) -> None:
    class Refusing(SecuredLink):
        is_on = True

        def execute(self, at: End, pdu: bytes) -> Answer:
            if self.is_on and at is end and Pdu.decode(pdu).procedure is procedure:
                return Answer(refused="busy", text="it is busy")
            return super().execute(at, pdu)

    link = Refusing()
    former = fingerprint_of(link, use)
    said = ""
    try:
        link.rotate(use)
    except RotationFailed as failed:
        said = str(failed)
    assert link.works()
    if said:
        assert "refused: it is busy; " in said
        link.is_on = False
        link.rotate(use)
    assert_changed(link, use, former)


def test_an_end_that_an_operator_changed_by_hand_is_not_cut_off() -> None:
    link = SecuredLink()
    for pdu in (
        Pdu(Procedure.KEY_ACTIVATION, b"\0\2"),
        Pdu(Procedure.REKEY_SA, b"\0\2\0\2"),
        Pdu(Procedure.START_SA, b"\0\2"),
    ):
        assert link.exchange(pdu.encode()) == link.own(pdu.encode()) == DONE
    link.choose(2)
    assert link.exchange(Pdu(Procedure.STOP_SA, b"\0\1").encode()) == DONE
    with pytest.raises(RotationFailed, match=r"^ask the node for its keys: no answer came"):
        link.rotate(KeyUse.UP)
    link.choose(2)
    assert link.works()


@pytest.mark.parametrize(
    "reply", [b"", b"\x87", b"\x87\x00\x00", b"\x87\x00\x10\x00\x05", b"\x07\x00\x10\x00\x00", b"\xb1\x00\x00"]
)
def test_a_reply_that_makes_no_sense_ends_it(reply: bytes) -> None:
    link = SecuredLink()
    steps = KeyRotation(parse_keys(link.file), 0, KeyUse.UP, random=os.urandom, created="").steps()
    next(steps)
    steps.send(DONE)
    with pytest.raises(RotationFailed, match=r"^the node's (reply|list of keys) "):
        steps.send(Answer(reply=reply))


def test_another_key_under_the_same_id_is_found() -> None:
    link = SecuredLink()
    ring = parse_keys(link.file)
    steps = KeyRotation(ring, 0, KeyUse.UP, random=os.urandom, created="").steps()
    answer: Answer | None = None
    for _ in range(5):
        step = next(steps) if answer is None else steps.send(answer)
        assert isinstance(step, Ask | Choose)
        answer = link.choose(step.spi) if isinstance(step, Choose) else link.exchange(step.pdu)
    assert isinstance(step, Ask) and Pdu.decode(step.pdu).procedure is Procedure.KEY_VERIFICATION
    answer = Answer(reply=Pdu(Procedure.KEY_VERIFICATION, bytes(46), reply=True).encode())
    with pytest.raises(RotationFailed, match=r"^the node has another key 2 than this ground; the former one carries$"):
        steps.send(answer)


def test_a_direction_in_clear_has_no_key_to_change() -> None:
    plan = [LinkPlan("radio", CMAC_SUITE, None)]
    ring = delivered_keys(plan, lambda _: os.urandom(32))
    with pytest.raises(RotationFailed, match=r"^there is no active key for link 0 down to change; see"):
        KeyRotation(ring, 0, KeyUse.DOWN, random=os.urandom, created="")


def test_both_tables_of_associations_say_the_same() -> None:
    assert [association.spi for association in plan_associations(PLANS)] == list(delivered_spis(PLANS))
    with pytest.raises(DecodeError):
        Pdu.decode(b"")
