"""ST[23] by its own commands and reports: what the ground sends, what it hears, and what is left after a power cut."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from flight.contract.failures import Failure
from flight.core.errors import StorageError
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.transactions.requests import Role, TransactionStatus
from flight.services.files.compression import SLICE_OCTETS, WAITING_MAX
from flight.services.files.file_refusals import refusal_of
from flight.store.files.file_names import DIRECTORIES
from flight.store.files.files_config import FilesConfig
from flight.store.files.refusal import FileRefused, Reason
from ground.telemetry.decoder import DecodedPacket
from sim_hw.machine.disk import Disk
from tests.file_command_bench import T0_NS, FileCommandBench

CONTENT = b"what the camera saw " * 5_000
MakeBench = Callable[..., FileCommandBench]


@pytest.fixture
def make() -> Iterator[MakeBench]:
    made: list[FileCommandBench] = []

    def make_bench(**more: Any) -> FileCommandBench:
        made.append(FileCommandBench(**more))
        return made[-1]

    yield make_bench
    for bench in made:
        assert bench.faults == []
        bench.close()


def test_a_file_is_deleted_and_stays_deleted_over_a_power_cut(make: MakeBench) -> None:
    bench = make()
    bench.put("products/a.png", CONTENT)
    bench.put("products/b.png", CONTENT)
    assert bench.have("delete_file", "products", "a.png") == "done"
    assert bench.paths() == ["products/b.png"] and bench.deleted == ["products/a.png"]
    bench.reboot()
    bench.run()
    assert bench.paths() == ["products/b.png"] and bench.content("products/b.png") == CONTENT


@pytest.mark.parametrize("seed", range(8))
def test_a_deletion_is_said_if_and_only_if_it_is_done(make: MakeBench, seed: int) -> None:
    bench = make(disk=Disk(Random(seed)))
    bench.put("products/a.png", CONTENT)
    bench.disk.commit_s = 0.5
    request = bench.send("delete_file", "products", "a.png")
    bench.run(0.1)
    assert bench.outcome(request) == "open"
    bench.reboot()  # what was not synced may have reached the medium all the same
    bench.run(5)
    if bench.outcome(request) == "done":
        assert bench.paths() == []
    else:
        assert bench.outcome(request) == "open" and bench.content("products/a.png") == CONTENT


def test_what_a_file_is_comes_as_one_report(make: MakeBench) -> None:
    bench = make()
    entry = bench.put("uploads/table.bin", b"12345", priority=3, value=2.5)
    assert bench.have("report_file", "uploads", "table.bin") == "done"
    (report,) = bench.reports("file_attributes")
    assert {**report.values, "made_time": 0} == {
        "directory": "uploads", "name": "table.bin", "octets": 5, "made_time": 0, "priority": 3, "value": 2.5,
        "locked": "no", "damaged": "no", "sha256": hashlib.sha256(b"12345").hexdigest(), "damage": "",
    }  # fmt: skip
    # The time code of a packet resolves 2^-16 s.
    assert abs(int(report.raw["made_time"]) - entry.made_ns) < 20_000 and entry.made_ns >= T0_NS


def test_a_locked_file_is_neither_deleted_nor_moved_until_it_is_unlocked(make: MakeBench) -> None:
    bench = make()
    bench.put("models/net.onnx", CONTENT)
    assert bench.have("lock_file", "models", "net.onnx") == "done"
    bench.reboot()
    bench.run()
    locked = f"{Failure.FILE_LOCKED}: "
    assert bench.have("delete_file", "models", "net.onnx").startswith(locked)
    assert bench.have("move_file", "models", "net.onnx", "models", "old.onnx").startswith(locked)
    bench.have("report_file", "models", "net.onnx")
    assert bench.reports("file_attributes")[-1].values["locked"] == "yes"
    assert bench.have("unlock_file", "models", "net.onnx") == "done"
    assert bench.have("delete_file", "models", "net.onnx") == "done"
    assert bench.paths() == []


def test_a_file_is_moved_to_another_name_and_directory(make: MakeBench) -> None:
    bench = make()
    bench.put("uploads/new.onnx", CONTENT)
    bench.put("models/taken.onnx", b"other")
    exists = f"{Failure.FILE_EXISTS}: "
    assert bench.have("move_file", "uploads", "new.onnx", "models", "taken.onnx").startswith(exists)
    assert bench.have("move_file", "uploads", "new.onnx", "models", "net.onnx") == "done"
    bench.reboot()
    bench.run()
    assert bench.paths() == ["models/net.onnx", "models/taken.onnx"]
    assert bench.content("models/net.onnx") == CONTENT and bench.content("models/taken.onnx") == b"other"


def test_the_files_of_a_directory_come_in_as_many_packets_as_they_need(make: MakeBench) -> None:
    bench = make()
    names = [f"{'long-name-' * 15}{i:03d}" for i in range(40)]
    for name in names:
        bench.put(f"logs/{name}", name.encode())
    assert bench.have("list_files", "logs") == "done"
    reports = bench.reports("directory_contents")
    assert len(reports) > 1
    rows = [row for report in reports for row in rows_of(report)]
    assert sorted(row["name"] for row in rows) == names
    assert {row["octets"] for row in rows} == {len(names[0])} and {row["locked"] for row in rows} == {"no"}
    assert {report.raw["used_octets"] for report in reports} == {40 * len(names[0])}
    assert {report.raw["quota_octets"] for report in reports} == {bench.config.logs.quota_octets}
    assert max(map(len, bench.raw)) < 1_100


def test_without_a_directory_all_are_listed_also_those_that_are_empty(make: MakeBench) -> None:
    bench = make()
    bench.put("products/a", b"a")
    assert bench.have("list_files", "") == "done"
    found = [(report.values["directory"], len(rows_of(report))) for report in bench.reports("directory_contents")]
    assert found == [(directory, int(directory == "products")) for directory in DIRECTORIES]


def test_a_file_is_verified_and_a_damaged_one_is_refused_with_the_reason(make: MakeBench) -> None:
    bench = make()
    entry = bench.put("models/net.onnx", CONTENT)
    assert bench.have("verify_file", "models", "net.onnx") == "done"
    (report,) = bench.reports("file_verified")
    assert report.values == {
        "directory": "models", "name": "net.onnx", "octets": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }  # fmt: skip
    bench.disk.flip(f"files.{entry.number}")
    bench.reboot()
    bench.run()
    assert bench.have("verify_file", "models", "net.onnx").startswith(f"{Failure.FILE_DAMAGED}: ")
    assert len(bench.reports("file_verified")) == 1


@pytest.mark.parametrize(
    "content", [b"", b"x", CONTENT, Random(1).randbytes(100_000), bytes(3 * SLICE_OCTETS)],
    ids=["empty", "an octet", "text", "noise", "zeros"],
)  # fmt: skip
def test_a_compressed_file_is_the_same_again_and_stays_over_a_power_cut(make: MakeBench, content: bytes) -> None:
    bench = make()
    bench.put("logs/trace", content, priority=4)
    assert bench.have("compress_file", "logs", "trace") == "done"
    bench.reboot()
    bench.run()
    assert bench.paths() == ["logs/trace", "logs/trace.z"]
    packed = bench.content("logs/trace.z")
    assert packed is not None and zlib.decompress(packed) == content and bench.content("logs/trace") == content
    entry = bench.store.find("logs", "trace.z")
    assert entry is not None and entry.priority == 4


def test_a_companion_that_exists_is_not_replaced(make: MakeBench) -> None:
    bench = make()
    bench.put("logs/trace", CONTENT)
    bench.put("logs/trace.z", b"something else")
    assert bench.have("compress_file", "logs", "trace").startswith(f"{Failure.FILE_EXISTS}: ")
    assert bench.content("logs/trace.z") == b"something else"


def test_a_companion_for_which_there_is_no_room_leaves_nothing(make: MakeBench) -> None:
    noise = Random(1).randbytes(600_000)
    quota = replace(FilesConfig().models, quota_octets=1_000_000)
    bench = make(files=FilesConfig(models=quota))
    bench.put("models/net.onnx", noise)
    room_octets = bench.store.usage("models").room_octets
    assert bench.have("compress_file", "models", "net.onnx").startswith(f"{Failure.FILE_QUOTA}: ")
    assert bench.paths() == ["models/net.onnx"]
    bench.run(5)
    assert bench.store.usage("models").room_octets == room_octets


def test_a_file_is_not_evicted_by_its_own_companion(make: MakeBench) -> None:
    noise = Random(1).randbytes(300_000)
    quota = replace(FilesConfig().logs, quota_octets=500_000)
    bench = make(files=FilesConfig(logs=quota))
    bench.put("logs/trace", noise)
    assert bench.have("compress_file", "logs", "trace").startswith(f"{Failure.FILE_QUOTA}: ")
    assert bench.paths() == ["logs/trace"] and bench.evicted == []


def test_a_compression_beyond_the_limit_of_time_is_given_up(make: MakeBench) -> None:
    bench = make(execution_limit_s=0.1)
    bench.put("logs/trace", CONTENT)
    bench.disk.commit_s = 0.2  # the companion waits for the disk
    outcome = bench.have("compress_file", "logs", "trace", duration_s=5)
    assert outcome == f"{Failure.UNFINISHED}: not done within 0.1 s, cancelled"
    packed = bench.content("logs/trace.z")  # only the disk was slow: then it is whole
    assert packed is None or zlib.decompress(packed) == CONTENT


def test_a_power_cut_in_a_compression_leaves_the_file_and_one_report(make: MakeBench) -> None:
    bench = make()
    bench.put("logs/trace", CONTENT)
    bench.disk.commit_s = 0.05
    request = bench.send("compress_file", "logs", "trace")
    bench.run(0.08)
    assert bench.outcome(request) == "open"
    bench.reboot()
    bench.run(5)
    assert bench.outcome(request).startswith(f"{Failure.INTERRUPTED}: ")
    assert bench.paths() == ["logs/trace"] and bench.content("logs/trace") == CONTENT


def test_commands_that_come_together_act_one_after_the_other(make: MakeBench) -> None:
    bench = make()
    bench.put("logs/trace", CONTENT)
    requests = [
        bench.send("compress_file", "logs", "trace"),
        bench.send("downlink_file", "logs", "trace.z", "class 1", 0),
        bench.send("delete_file", "logs", "trace"),
    ]
    bench.run(5)
    assert [bench.outcome(request) for request in requests] == ["done"] * 3
    assert bench.sent == [("logs/trace.z", False, 0)] and bench.paths() == ["logs/trace.z"]


def test_a_file_goes_down_as_it_was_asked_for(make: MakeBench) -> None:
    bench = make()
    bench.put("logs/trace", CONTENT)
    for cfdp_class in ("as the mission says", "class 1", "class 2"):
        assert bench.have("downlink_file", "logs", "trace", cfdp_class, 2) == "done"
    assert bench.sent == [("logs/trace", arrive, 2) for arrive in (None, False, True)]


def test_a_file_in_transfer_is_neither_deleted_nor_moved(make: MakeBench) -> None:
    bench = make()
    bench.put("products/a", CONTENT)
    bench.used.add("products/a")
    busy = f"{Failure.FILE_BUSY}: products/a is in transfer, cancel_transfer ends that"
    assert bench.have("delete_file", "products", "a") == busy
    assert bench.have("move_file", "products", "a", "logs", "a") == busy
    assert bench.have("report_file", "products", "a") == "done"


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("delete_file", ()), ("report_file", ()), ("lock_file", ()), ("unlock_file", ()), ("verify_file", ()),
        ("compress_file", ()), ("move_file", ("logs", "x")), ("downlink_file", (0, 1)),
    ],
)  # fmt: skip
def test_what_is_not_there_and_what_no_file_is_called_is_refused_in_words(
    make: MakeBench, command: str, values: tuple[Any, ...]
) -> None:
    bench = make()
    assert bench.have(command, "products", "a.png", *values) == f"{Failure.NO_FILE}: no file products/a.png"
    assert "there is no directory 'etc'" in bench.have(command, "etc", "passwd", *values)
    for name in ("", "..", "../a", "a/b", "a\0", ".hidden", "naïve", "a" * 201, "ａ", "a b"):
        outcome = bench.have(command, "products", name, *values)
        assert outcome.startswith(f"{Failure.FILE_NAME}: the name "), (name, outcome)
    assert bench.paths() == []


def test_the_new_name_of_a_file_is_looked_at_before_acceptance(make: MakeBench) -> None:
    bench = make()
    bench.put("products/a", b"a")
    assert bench.have("move_file", "products", "a", "products", "../a").startswith(f"{Failure.FILE_NAME}: ")
    assert bench.have("move_file", "products", "a", "/products", "a").startswith(f"{Failure.NO_DIRECTORY}: ")
    assert bench.have("list_files", "etc").startswith(f"{Failure.NO_DIRECTORY}: ")
    assert [packet.subtype for packet in bench.packets() if packet.service == 1] == [2, 2, 2]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_the_store_has_its_code_and_keeps_its_words(reason: Reason) -> None:
    refusal = refusal_of(FileRefused(reason, "in words"))
    assert isinstance(refusal.code, Failure) and str(refusal) == "in words"


def test_only_so_many_files_wait_to_be_compressed(make: MakeBench) -> None:
    bench = make()
    entry = bench.put("logs/trace", CONTENT)
    waits = [bench.compressor.compress(entry) for _ in range(WAITING_MAX + 1)]
    for work in waits[:-1]:
        work.send(None)
    with pytest.raises(Exception, match="4 files wait to be compressed, no more may") as refused:
        waits[-1].send(None)
    assert getattr(refused.value, "code", None) is Failure.FILE_BUSY
    for work in waits:
        work.close()
    bench.run()
    assert bench.paths() == ["logs/trace"]  # nobody waited any more


STATUS = TransactionStatus(
    TransactionId(2, 77), Role.SENDER, Mode.ACKNOWLEDGED, 1, "sending", "products/a", "a", 1_000, 400,
    ((0, 100), (300, 350)), ConditionCode.NO_ERROR, suspended=False, resting=False,
)  # fmt: skip


def test_the_transfers_under_way_come_with_what_is_missing(make: MakeBench) -> None:
    bench = make()
    bench.transfers.open = [
        STATUS,
        replace(STATUS, transaction=TransactionId(1, 2**63), role=Role.RECEIVER, mode=Mode.UNACKNOWLEDGED, octets=None,
                name="", suspended=True, gaps=(), condition=ConditionCode.NAK_LIMIT_REACHED),
        replace(STATUS, resting=True),
    ]  # fmt: skip
    assert bench.have("list_transfers") == "done"
    (report,) = bench.reports("transfers")
    first, second, third = rows_of(report)
    assert first == {
        "entity": 2, "number": 77, "role": "sending", "peer": 1, "cfdp_class": 2, "pause": "running",
        "state": "sending", "condition": ConditionCode.NO_ERROR.text, "octets": 1_000, "done_octets": 400,
        "missing_octets": 150, "gaps": 2, "name": "a",
    }  # fmt: skip
    assert (second["number"], second["role"], second["pause"], second["octets"]) == (2**63, "receiving", "suspended", 0)
    assert (second["cfdp_class"], second["condition"]) == (1, ConditionCode.NAK_LIMIT_REACHED.text)
    assert third["pause"] == "resting"


@pytest.mark.parametrize("act", ["suspend", "resume", "cancel"])
def test_a_transfer_is_told_once_that_is_durable(make: MakeBench, act: str) -> None:
    bench = make()
    bench.transfers.open = [STATUS]
    request = bench.send(f"{act}_transfer", 2, 77)
    bench.run()
    assert bench.transfers.acts == [(act, TransactionId(2, 77))] and bench.outcome(request) == "open"
    bench.transfers.durable()
    bench.run()
    assert bench.outcome(request) == "done"
    assert bench.have(f"{act}_transfer", 2, 78) == f"{Failure.NO_TRANSFER}: no transfer 78 of entity 2 is open"
    assert len(bench.transfers.acts) == 1


def test_a_transfer_whose_record_is_not_stored_is_not_reported_as_suspended(make: MakeBench) -> None:
    bench = make()
    bench.transfers.open = [STATUS]
    request = bench.send("suspend_transfer", 2, 77)
    bench.run()
    bench.transfers.durable(StorageError("the disk is full"))
    bench.run()
    assert bench.outcome(request) == f"{Failure.STORAGE}: the disk is full"


def rows_of(report: DecodedPacket) -> list[dict[str, Any]]:
    """Return the rows of a report, by the names of their fields."""
    rows: dict[int, dict[str, Any]] = {}
    for key, value in report.values.items():
        if (found := re.fullmatch(r"\w+\[(\d+)\]\.(\w+)", key)) is not None:
            rows.setdefault(int(found[1]), {})[found[2]] = value
    return [row for _, row in sorted(rows.items())]
