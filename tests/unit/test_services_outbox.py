"""The outbox on the store: order, classes, what becomes of a file that does not arrive, and what a boot finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.app import CommandRefused
from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import ConditionCode, FaultHandler, FileStatus
from flight.services.files.outbox import OutboxConfig
from flight.services.files.outbox_label import PRIORITY_MAX, Label, State, rank_of
from flight.services.files.transfer_records import Whose
from flight.store.files.file_entry import FileEntry
from flight.store.files.files_config import FilesConfig
from sim_hw.machine.disk import Disk
from tests.file_link import FileLink, Settings, contents


def files_of(**products: Any) -> FilesConfig:
    """A store whose directory of products is configured so."""
    base = FilesConfig()
    return FilesConfig(products=type(base.products)(**products))


LINKS: list[FileLink] = []


@pytest.fixture(autouse=True)
def shut_down() -> Iterator[None]:
    """End the boards of a test."""
    yield
    for link in LINKS:
        link.board.shut_down()
    LINKS.clear()


def make(**more: Any) -> FileLink:
    link = FileLink(**more)
    LINKS.append(link)
    link.boot()
    return link


def order_of(link: FileLink) -> list[str]:
    return list(link.ground.files)


def test_a_product_goes_down_whole_and_is_deleted_then() -> None:
    link = make()
    content = Random(1).randbytes(100_000)
    future = link.board.outbox.put("a.bin", content)
    assert not future.done, "nothing is durable at once"
    link.run(1)
    assert future.result() is True
    assert [entry.path for entry in link.board.store.entries()] == ["products/a.bin"]
    assert link.board.outbox.backlog_octets == 100_000
    link.set_contact(True)
    assert link.run(60, lambda: not link.board.store.entries())
    assert link.ground.files == {"a.bin": [content]}
    outbox = link.board.outbox
    assert (outbox.sent, outbox.endings.acknowledged, outbox.waiting, outbox.backlog_octets) == (1, 1, 0, 0)
    link.run(20)
    assert contents(link.disk.durable) == []
    assert [name for name in link.disk.durable if name.startswith("transfers.")] == ["transfers.ended"]


def test_a_product_of_any_priority_that_an_app_may_give_is_stored() -> None:
    link = make()
    futures = [link.board.outbox.put(f"p{priority}", b"x", priority=priority) for priority in (0, 9, 10, PRIORITY_MAX)]
    link.run(2)
    assert [future.result() for future in futures] == [True] * 4 and PRIORITY_MAX == 255
    link.cut()
    labels = [Label.of(entry) for entry in link.board.store.entries()]
    assert [label.priority for label in labels if label is not None] == [0, 9, 10, 255]
    assert [entry.priority for entry in link.board.store.entries()] == [0, 9, 9, 9]


def test_files_go_by_priority_then_worth_per_octet_then_age() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(sends=1)))
    put = link.board.outbox.put
    put("later", bytes(1000), priority=3)
    put("large", bytes(9000), priority=1)
    put("small", bytes(1000), priority=1)
    put("dear", bytes(9000), priority=1, value=100.0)
    put("small-younger", bytes(1000), priority=1)
    put("urgent", bytes(20_000), priority=0)
    link.run(2)
    link.set_contact(True)
    assert link.run(60, lambda: len(link.ground.files) == 6)
    assert order_of(link) == ["urgent", "dear", "small", "small-younger", "large", "later"]


@given(st.lists(st.tuples(st.integers(0, 255), st.floats(0, 1e30), st.integers(0, 1 << 40)), min_size=2, max_size=2))
def test_a_rank_is_in_the_order_of_priority_and_worth_per_octet(files: list[tuple[int, float, int]]) -> None:
    (one, two), (first, second) = files, [rank_of(*file) for file in files]
    if one[0] != two[0]:
        assert (first < second) == (one[0] < two[0])
    else:
        worth, other = (value / max(1, octets) for _, value, octets in files)
        assert first <= second if worth >= other else second <= first
    assert 0 <= first < 1 << 40


def test_a_better_file_overtakes_at_the_next_pdu() -> None:
    link = make(pdus_down=5)
    link.board.outbox.put("large", bytes(200_000), priority=2)
    link.run(1)
    link.set_contact(True)
    link.run(2)
    assert link.ground.files == {}
    link.board.outbox.put("alert", bytes(2000), priority=0)
    assert link.run(3, lambda: "alert" in link.ground.files)
    assert "large" not in link.ground.files
    assert link.run(90, lambda: "large" in link.ground.files)


def test_a_product_of_class_1_is_kept_as_spent_and_goes_first() -> None:
    link = make(settings=Settings(files=files_of(quota_octets=100_000), outbox=OutboxConfig(arrive=False)))
    outbox = link.board.outbox
    outbox.put("sent", bytes(60_000), value=1e6)
    link.run(1)
    link.set_contact(True)
    assert link.run(30, lambda: "sent" in link.ground.files)
    link.run(1)
    (entry,) = link.board.store.entries()
    label = Label.of(entry)
    assert label is not None and label.state is State.SENT
    assert (outbox.waiting, outbox.endings.acknowledged, outbox.sent) == (0, 0, 1)
    assert outbox.room_octets == 100_000, "what is spent takes no room"
    link.set_contact(False)
    future = outbox.put("new", bytes(70_000), value=0.001)
    link.run(1)
    assert future.result() is True
    assert [entry.name for entry in link.board.store.entries()] == ["new"]
    assert [one["name"] for one in link.board.sink.named("file_evicted")] == ["products/sent"]


def test_an_app_may_say_whether_a_file_must_arrive() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(arrive=False)))
    link.board.outbox.put("must", bytes(5000), arrive=True)
    link.board.outbox.put("need not", bytes(5000))  # refused: a blank
    link.board.outbox.put("need-not", bytes(5000))
    link.run(1)
    link.set_contact(True)
    assert link.run(30, lambda: len(link.ground.files) == 2)
    link.run(2)
    assert [entry.name for entry in link.board.store.entries()] == ["need-not"]
    (refused,) = link.board.sink.named("product_refused")
    assert refused["name"] == "need not" and "' '" in refused["reason"]


def test_what_a_pass_cuts_off_goes_on_in_the_next_one() -> None:
    link = make(pdus_down=5)
    content = Random(2).randbytes(100_000)
    link.board.outbox.put("a", content)
    link.run(1)
    for _ in range(2):
        link.set_contact(True)
        link.run(0.8)
        link.set_contact(False)
        link.run(5000)
    assert link.ground.files == {}
    link.set_contact(True)
    assert link.run(60, lambda: "a" in link.ground.files)
    assert link.ground.files == {"a": [content]}
    assert link.down_octets < 150_000, "what had arrived was not sent again"


@pytest.mark.parametrize("arrive", [True, False])
def test_products_are_there_after_a_power_cut_and_go_down_then(arrive: bool) -> None:
    link = make(settings=Settings(outbox=OutboxConfig(arrive=arrive)))
    contents = {f"f{number}": Random(number).randbytes(20_000) for number in range(5)}
    for number, (name, content) in enumerate(contents.items()):
        link.board.outbox.put(name, content, priority=number)
    link.run(2)
    link.cut()
    assert link.board.outbox.waiting == 5 and link.board.outbox.backlog_octets == 100_000
    link.set_contact(True)
    assert link.run(60, lambda: len(link.ground.files) == 5)
    assert {name: held[0] for name, held in link.ground.files.items()} == contents
    assert order_of(link) == list(contents), "the order is kept as well"


def test_a_transfer_goes_on_after_a_power_cut_where_its_record_says() -> None:
    link = make(pdus_down=3)
    content = Random(3).randbytes(300_000)
    link.board.outbox.put("a", content)
    link.run(1)
    link.set_contact(True)
    link.run(8)
    before = link.down_octets
    assert before > 200_000 and link.ground.files == {}
    link.cut()
    assert len(link.board.transfers.sending(Whose.OUTBOX)) == 1
    assert link.run(60, lambda: "a" in link.ground.files)
    assert link.ground.files == {"a": [content]}
    assert link.down_octets < before + 250_000, "not the whole file was sent again"


def test_a_file_that_ground_refuses_three_times_rests_with_an_event() -> None:
    link = make()
    link.ground.store.refused.add("bad")
    link.board.outbox.put("bad", bytes(3000))
    link.board.outbox.put("good", bytes(3000))
    link.run(1)
    for _ in range(5):
        link.set_contact(True)
        link.run(60)
        link.set_contact(False)
        link.run(100)
    assert list(link.ground.files) == ["good"]
    (rests,) = link.board.sink.named("product_rests")
    assert (rests["name"], rests["refusals"]) == ("products/bad", 3)
    assert len(link.board.sink.named("file_not_sent")) == 3
    link.cut()
    assert link.board.outbox.waiting == 0 and link.board.outbox.sample_files()["products_resting"] == 1
    link.ground.store.refused.clear()
    (entry,) = link.board.store.entries()
    left = link.board.outbox.send(entry)
    link.board.vault.commit(left.changes)
    left.apply()
    link.set_contact(True)
    assert link.run(60, lambda: "bad" in link.ground.files)


def test_a_cancelled_product_rests_and_is_not_sent_again() -> None:
    link = make(pdus_down=3)
    link.board.outbox.put("a", bytes(300_000))
    link.run(1)
    link.set_contact(True)
    link.run(2)
    (transaction,) = link.board.transfers.sending(Whose.OUTBOX)
    (entry,) = link.board.store.entries()
    assert link.board.transfers.is_used(entry)
    with pytest.raises(CommandRefused, match="products/a is in transfer already"):
        link.board.outbox.send(entry)
    future = link.board.transfers.cancel(transaction)
    link.run(60)
    assert future.done and not link.board.transfers.is_used(entry)
    link.set_contact(False)
    link.run(1)
    link.set_contact(True)
    link.run(30)
    assert link.ground.files == {} and link.board.outbox.sample_files()["products_resting"] == 1
    assert link.ground.ended[0].condition is ConditionCode.CANCEL_REQUEST_RECEIVED


def test_a_suspended_transfer_is_suspended_after_a_power_cut_as_well() -> None:
    link = make(pdus_down=3)
    link.board.outbox.put("a", bytes(100_000))
    link.run(1)
    link.set_contact(True)
    link.run(1)
    (transaction,) = link.board.transfers.sending(Whose.OUTBOX)
    future = link.board.transfers.suspend(transaction)
    link.run(1)
    assert future.done
    link.cut()
    link.run(60)
    assert link.ground.files == {}
    link.board.transfers.resume(transaction)
    assert link.run(60, lambda: "a" in link.ground.files)


def test_a_file_in_transfer_is_not_evicted_and_one_that_waits_is_with_an_event() -> None:
    link = make(settings=Settings(files=files_of(quota_octets=100_000)), pdus_down=2)
    outbox = link.board.outbox
    outbox.put("under-way", bytes(40_000), value=0.001, priority=0)
    outbox.put("waits", bytes(40_000), value=0.002)
    link.run(1)
    link.set_contact(True)
    link.run(1)
    outbox.put("better", bytes(50_000), value=100.0)
    link.run(1)
    assert [one["name"] for one in link.board.sink.named("file_evicted")] == ["products/waits"]
    assert link.run(120, lambda: not link.board.store.entries())
    assert sorted(link.ground.files) == ["better", "under-way"]


def test_a_full_outbox_refuses_with_an_event() -> None:
    link = make(settings=Settings(files=files_of(quota_octets=100_000, evict="none")))
    outbox = link.board.outbox
    first, second = outbox.put("a", bytes(60_000)), outbox.put("b", bytes(40_001))
    assert second.done and second.result() is False
    link.run(1)
    assert first.result() is True and outbox.room_octets == 40_000
    (refused,) = link.board.sink.named("product_refused")
    assert (refused["name"], refused["octets"], outbox.intake.refused) == ("b", 40_001, 1)


def test_what_waits_for_the_disk_has_a_bound() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(memory_octets=100_000)))
    futures = [link.board.outbox.put(f"f{number}", bytes(40_000)) for number in range(4)]
    assert [future.done and not future.result() for future in futures] == [False, False, True, True]
    assert link.board.outbox.room_octets == 20_000
    link.run(1)
    assert [future.result() for future in futures] == [True, True, False, False]
    assert "wait for the disk" in link.board.sink.named("product_refused")[0]["reason"]


def test_two_products_of_one_name_both_arrive() -> None:
    link = make()
    for number in range(3):
        link.board.outbox.put("count.txt", b"%d" % number)
    link.board.outbox.put("plain", b"x")
    link.board.outbox.put("plain", b"y")
    link.run(1)
    link.set_contact(True)
    assert link.run(30, lambda: len(link.ground.files) == 5)
    assert {name: held for name, (held,) in link.ground.files.items()} == {
        "count.txt": b"0", "count+2.txt": b"1", "count+3.txt": b"2", "plain": b"x", "plain+2": b"y",
    }  # fmt: skip


def test_a_disk_that_fails_refuses_the_product_and_says_why() -> None:
    link = make()
    link.disk.read_only = True
    future = link.board.outbox.put("a", bytes(1000))
    link.run(2)
    assert future.result() is False
    (refused,) = link.board.sink.named("product_refused")
    assert "read-only" in refused["reason"] and refused["reason"].endswith("it is sent from memory")
    assert (link.board.outbox.waiting, link.board.outbox.backlog_octets) == (1, 1000)
    link.set_contact(True)
    assert link.run(60, lambda: "a" in link.ground.files)
    link.run(30)
    assert link.board.outbox.waiting == 0 and link.board.transfers.entity.transactions() == []


def test_a_product_that_is_damaged_on_board_is_told_and_rests() -> None:
    link = make()
    link.board.outbox.put("a", Random(1).randbytes(50_000))
    link.run(1)
    link.board.shut_down()
    (name,) = contents(link.disk.durable)
    link.disk.durable[name] = link.disk.durable[name][:20_000]
    link.boot()
    link.set_contact(True)
    link.run(120)
    assert link.ground.files == {}
    assert link.board.sink.named("file_damaged")
    assert link.board.outbox.waiting == 0


def test_at_most_so_many_transfers_are_open_at_a_time() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(sends=4)))
    for number in range(10):
        link.board.outbox.put(f"f{number}", bytes(500))
    link.run(1)
    link.contact = True
    link.board.transfers.set_contact(True)  # the ground hears nothing and answers nothing
    link.loss = 1.0
    link.run(5)
    assert len(link.board.transfers.entity.transactions()) == 4
    link.loss = 0.0
    link.set_contact(True)
    assert link.run(200, lambda: len(link.ground.files) == 10)


def test_with_nothing_to_do_there_is_not_one_step() -> None:
    link = make()
    link.run(200)
    assert link.board.scheduler is not None
    steps = link.board.scheduler.totals().steps
    calls = link.loop.calls
    link.loop.run_until(link.loop.now_ns() + 50 * NS)
    assert link.board.scheduler.totals().steps - steps <= 1 and link.loop.calls - calls <= 1


def test_a_saturated_pass_is_file_data_almost_alone() -> None:
    link = make(pdus_down=100)
    link.board.outbox.put("a", Random(1).randbytes(2_000_000))
    link.run(2)
    link.set_contact(True)
    assert link.run(60, lambda: "a" in link.ground.files)
    assert 2_000_000 / link.down_octets >= 0.97


def test_a_store_that_fills_up_in_mid_transfer_cancels_with_the_reason() -> None:
    link = make(disk=Disk(Random(1), capacity_octets=3_000_000))
    transaction = link.ground.put("big", bytes(2_000_000))
    link.set_contact(True)
    link.run(2)
    link.disk.capacity_octets = sum(map(len, link.disk.durable.values())) + 600_000
    assert link.run(300, lambda: link.ground.end_of(transaction) is not None)
    end = link.ground.end_of(transaction)
    assert end is not None and not end.whole
    assert end.condition is ConditionCode.FILESTORE_REJECTION and end.status is not FileStatus.RETAINED
    assert link.board.store.entries() == []
    link.run(5)
    assert contents(link.disk.durable) == []


def test_faults_have_the_handlers_of_the_mission() -> None:
    settings = Settings()
    config = type(settings.cfdp)(handlers={"ack_limit_reached": "cancel"})
    assert config.entity_config(100).handlers == {ConditionCode.ACK_LIMIT_REACHED: FaultHandler.CANCEL}
    bad = type(settings.cfdp)(handlers={"ack": "cancel", "inactivity_detected": "wait"}, ground_entity=2)
    assert [key for key, _ in bad.faults()] == ["ground_entity", "handlers", "handlers"]


def test_in_a_contact_without_end_a_file_that_failed_is_tried_again_after_a_while() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(retry_s=200.0)))
    link.ground.store.refused.add("bad")
    link.board.outbox.put("bad", bytes(3000))
    link.run(1)
    link.set_contact(True)
    link.run(100)
    assert len(link.board.sink.named("file_not_sent")) == 1
    assert (link.board.outbox.waiting, link.board.outbox.backlog_octets) == (1, 3000)
    link.ground.store.refused.clear()
    assert link.run(400, lambda: "bad" in link.ground.files)


def test_what_waits_for_a_deaf_ground_holds_back_neither_class_1_nor_what_is_more_important() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(sends=4)))
    for number in range(10):
        link.board.outbox.put(f"f{number}", bytes(3000))
    link.run(1)
    link.pdus_up = 0  # it hears the node, and is not heard
    link.set_contact(True)
    link.run(20)
    assert order_of(link) == ["f0", "f1", "f2", "f3"]
    for number in range(10):
        link.board.outbox.put(f"need-not-{number}", bytes(3000), arrive=False, priority=2)
        link.board.outbox.put(f"urgent-{number}", bytes(3000), priority=0)
    link.run(20)
    came = order_of(link)[4:]
    assert [name for name in came if name.startswith("urgent")] == [f"urgent-{number}" for number in range(4)]
    assert not any(name.startswith("f") for name in came)
    link.run(5)
    link.pdus_up = 10
    assert link.run(400, lambda: len(link.ground.files) == 30)
    assert not link.board.sink.named("file_not_sent")


def test_class_1_flows_while_all_transfers_of_class_2_wait_for_an_answer() -> None:
    link = make(settings=Settings(outbox=OutboxConfig(sends=4)))
    for number in range(10):
        link.board.outbox.put(f"f{number}", bytes(3000))
        link.board.outbox.put(f"need-not-{number}", bytes(3000), arrive=False, priority=2)
    link.run(1)
    link.pdus_up = 0
    link.set_contact(True)
    link.run(20)
    assert order_of(link) == [*(f"f{number}" for number in range(4)), *(f"need-not-{number}" for number in range(10))]


def test_while_the_table_of_transfers_is_full_products_wait_without_a_word() -> None:
    settings = Settings()
    link = make(settings=Settings(cfdp=replace(settings.cfdp, transactions=4)))
    for number in range(20):
        link.board.outbox.put(f"f{number}", bytes(3000))
    link.run(1)
    link.pdus_up = 0
    link.set_contact(True)
    link.run(20)
    assert len(link.board.transfers.entity.transactions()) == 4 and link.board.outbox.waiting == 20
    assert not link.board.sink.named("file_not_sent")
    link.pdus_up = 10
    assert link.run(400, lambda: not link.board.outbox.waiting)


def test_an_app_may_give_one_name_for_ever_and_the_step_stays_short() -> None:
    link = make()
    outbox, store = link.board.outbox, link.board.store
    for number in range(300):
        outbox.put("count.txt", b"%d" % number)
        outbox.put("n" * 200, b"")
        if number % 25 == 24:
            link.run(1)
    names = [entry.name for entry in store.entries()]
    assert outbox.intake.refused == 0 and len(names) == 600
    assert {"count.txt", "count+2.txt", "count+300.txt", "n" * 200, "n" * 196 + "+300"} <= set(names)
    looked_up: list[str] = []
    find = store.find

    def find_and_note(directory: str, name: str) -> FileEntry | None:
        looked_up.append(name)
        return find(directory, name)

    store.find = find_and_note  # type: ignore[method-assign]
    outbox.put("count.txt", b"")
    assert len(looked_up) < 30


def test_products_that_wait_for_the_disk_leave_room_for_uploads_and_say_when_they_are_too_many() -> None:
    link = make()
    futures = [link.board.outbox.put(f"f{number}", b"") for number in range(64)]
    assert not any(future.done for future in futures) and link.board.outbox.room_octets == 0
    refused = link.board.outbox.put("one-too-many", b"")
    assert refused.done and refused.result() is False
    assert "64 files of 0 octets wait for the disk" in link.board.sink.named("product_refused")[0]["reason"]
    transaction = link.ground.put("up", b"x")
    link.ground.handle(link.ground.entity.set_contact(True, link.loop.now_ns()))
    link.contact = True
    link.step()
    assert not link.board.sink.named("upload_failed") and transaction is not None
    link.run(2)
    assert all(future.result() for future in futures) and link.board.outbox.room_octets > 0


def test_products_in_memory_after_a_failed_disk_are_bounded_by_their_number_as_well() -> None:
    link = make()
    link.disk.read_only = True
    for number in range(200):
        link.board.outbox.put(f"f{number}", b"")
        link.run(0.1)
    assert link.board.outbox.waiting == 64 and link.board.outbox.intake.refused == 200


def test_a_transfer_that_rests_in_pass_after_pass_is_told_once() -> None:
    link = make()
    for number in range(5):
        link.board.outbox.put(f"f{number}", bytes(3000))
    link.run(1)
    link.pdus_up = 0
    for _ in range(4):
        link.set_contact(True)
        link.run(120)
        link.set_contact(False)
        link.run(10)
    rests = [rest["name"] for rest in link.board.sink.named("transfer_rests")]
    assert sorted(rests) == [f"f{number}" for number in range(5)]


def test_a_file_that_is_spent_and_locked_is_no_room_for_products() -> None:
    link = make(settings=Settings(files=files_of(quota_octets=100_000), outbox=OutboxConfig(arrive=False)))
    link.board.outbox.put("a", bytes(60_000))
    link.run(1)
    link.set_contact(True)
    link.run(20)
    assert link.board.outbox.room_octets == 100_000
    (entry,) = link.board.store.entries()
    link.board.store.commit(link.board.store.locking(entry, True))
    link.run(1)
    assert link.board.outbox.room_octets == 40_000


def test_what_ground_has_is_counted_once_and_told_so_if_the_disk_does_not_take_it() -> None:
    link = make()
    link.board.outbox.put("a", bytes(3000))
    link.run(1)
    link.disk.read_only = True
    link.set_contact(True)
    link.run(20)
    (not_sent,) = link.board.sink.named("file_not_sent")
    assert not_sent["reason"].startswith("the ground has it, which could not be stored: ")
    assert link.board.outbox.endings.acknowledged == 0
    link.disk.read_only = False
    link.set_contact(False)
    link.run(1)
    link.set_contact(True)
    assert link.run(60, lambda: not link.board.store.entries())
    assert link.board.outbox.endings.acknowledged == 1


def test_a_file_that_an_upload_replaces_on_its_way_down_is_told_as_not_sent() -> None:
    link = make(pdus_down=2)
    link.set_contact(True)
    link.ground.put("a", bytes(90_000))
    assert link.run(60, lambda: bool(link.board.store.entries()))
    (entry,) = link.board.store.entries()
    link.run(5)
    left = link.board.outbox.send(entry)
    link.board.vault.commit(left.changes)
    left.apply()
    link.run(1)
    transaction = link.ground.put("a", b"new")
    assert link.run(60, lambda: link.ground.end_of(transaction) is not None)
    link.run(20)
    assert [each["name"] for each in link.board.sink.named("file_not_sent")] == ["uploads/a"]
    assert link.board.uploads.octets("a") == b"new" and link.ground.files == {}
