"""ST[23] on a whole simulated spacecraft, over the air: any file commands with any names, as hostile as they may be."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight.contract.dictionary import Dictionary
from flight.contract.failures import Failure
from flight.core.task import Task
from flight.link.cfdp.transactions.requests import Role
from flight.link.pus import PusTc
from flight.services.files.transfers import FileTransfers
from flight.store.files.file_store import FileStore
from ground.telemetry.decoder import DecodedPacket, Decoder
from tests.file_model import FileModel, commands, is_stored_name, names, unpacked
from tests.sim.conftest import PASS_START_S, MakeRig, Rig
from tests.step_meter import meter_spacecraft

STORED = {"products/a": b"a product " * 500, "uploads/b.png": b"", "models/a": bytes(20_000), "logs/a": b"x"}
# In transfer, besides what the model says of files that nobody sends.
_SLICE_OCTETS = 65_536
_SENT = {Failure.FILE_BUSY, Failure.REFUSED_IN_MODE}


class Flight:
    """A spacecraft in contact with some files on board, and the ground's decoder."""

    def __init__(self, rig: Rig, files: dict[str, bytes] | None = None) -> None:
        self.rig = rig
        self.decoder = Decoder(Dictionary.from_document(rig.dictionary.document()))
        self.now_s = PASS_START_S + 5
        rig.until(self.now_s)
        self.store = rig.node.part(FileStore)
        stored = STORED if files is None else files

        async def put(task: Task) -> None:
            for path, content in stored.items():
                directory, _, name = path.partition("/")
                draft = self.store.draft(directory, name, len(content))
                for at in range(0, len(content), _SLICE_OCTETS):
                    draft.write(at, content[at : at + _SLICE_OCTETS])
                    await task.sleep(0)
                await self.store.finish(task, draft)

        rig.node.scheduler.spawn("test.put", put)
        self.advance(2.0 + 0.05 * len(stored))

    def advance(self, duration_s: float) -> None:
        """Let the time go by."""
        self.now_s += duration_s
        self.rig.until(self.now_s)

    def decoded(self) -> list[DecodedPacket]:
        """Return all telemetry so far."""
        return [self.decoder.decode(raw) for raw in self.rig.raw]

    def endings(self, request: PusTc) -> list[tuple[int, str]]:
        """Return each terminal report of a request: its failure code and reason, 0 and "" if it was done."""
        word = int.from_bytes(request.request_id.encode()[2:], "big")
        return [
            (int(packet.raw.get("code", 0)), str(packet.raw.get("detail", "")))
            for packet in self.decoded()
            if packet.service == 1 and packet.subtype in (2, 4, 7, 8) and packet.raw["request_seq_word"] == word
        ]

    def have(self, name: str, *values: Any, duration_s: float = 3.0) -> tuple[int, str]:
        """Send a command, and return how it ended."""
        request = self.rig.send(name, *values)
        self.advance(duration_s)
        (ending,) = self.endings(request)
        return ending

    def check_sound(self) -> None:
        """Nothing has failed, and nothing stands on storage that belongs to nobody."""
        assert "task_failed" not in self.rig.node.event_counts()
        users = set(self.rig.node.parts.storage.users)
        for name in self.rig.craft.disk.durable:
            user = name.partition(".")[0]
            assert user in users and (user != "files" or is_stored_name(name)), name


def content_of(store: FileStore, path: str) -> bytes:
    directory, _, name = path.partition("/")
    entry = store.find(directory, name)
    assert entry is not None, path
    return store.read(entry, 0, entry.octets) if entry.octets else b""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(sent=st.lists(commands(), min_size=1, max_size=12))
def test_any_commands_end_once_with_a_reason_and_leave_what_a_model_leaves(
    make_rig: MakeRig, sent: list[tuple[str, tuple[Any, ...]]]
) -> None:
    flight = Flight(make_rig())
    model, downlinked = FileModel(dict(STORED)), set[str]()
    requests = [flight.rig.send(name, *values) for name, values in sent]
    flight.advance(10 + 2 * len(sent))
    for (name, values), request in zip(sent, requests, strict=True):
        (ending,) = flight.endings(request)
        code, reason = ending
        path = "/".join(map(str, values[:2]))
        codes = model.refusal(name, values)
        if code == 0:
            assert not codes, (name, values, codes)
            model.apply(name, values)
            if name == "downlink_file":
                downlinked.add(path)
            elif name == "move_file" and path in downlinked:
                downlinked.add("/".join(values[2:]))
        else:
            assert code in (codes | _SENT if path in downlinked else codes) and reason, (name, values, ending)
    assert sorted(entry.path for entry in flight.store.entries()) == sorted(model.files)
    for path, content in model.files.items():
        assert unpacked(path, content_of(flight.store, path)) == unpacked(path, content)
    locked = {entry.path for entry in flight.store.entries() if entry.locked}
    assert locked == model.locked & model.files.keys()
    flight.check_sound()


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(datas=st.lists(st.tuples(st.integers(1, 140), st.one_of(st.binary(max_size=60), names.map(str.encode))),
                      min_size=1, max_size=16))  # fmt: skip
def test_any_octets_in_a_command_of_files_are_answered(make_rig: MakeRig, datas: list[tuple[int, bytes]]) -> None:
    flight = Flight(make_rig())
    requests = []
    for i, (subtype, data) in enumerate(datas):
        requests.append(PusTc(1, 5_000 + i, 23, subtype, data, ack=0b1011))
        flight.rig.send_packet(requests[-1].encode())
    flight.advance(10 + 2 * len(datas))
    for request in requests:
        ((code, reason),) = flight.endings(request)
        assert code == 0 or reason, (request, code)
    flight.check_sound()


def test_a_transfer_is_listed_suspended_resumed_and_cancelled(make_rig: MakeRig) -> None:
    flight = Flight(make_rig(), {"logs/trace": b"row of a trace\n" * 40_000})
    assert flight.have("downlink_file", "logs", "trace", 2, 3) == (0, "")
    assert flight.have("list_transfers") == (0, "")
    (report,) = [packet for packet in flight.decoded() if packet.name == "transfers"]
    values = {key.partition(".")[2]: value for key, value in report.raw.items()}
    assert values["octets"] == 600_000 and 0 < int(values["done_octets"]) < 600_000
    assert (values["role"], values["cfdp_class"], values["pause"]) == (Role.SENDER, 2, 0)
    number = int(values["entity"]), int(values["number"])
    code, reason = flight.have("delete_file", "logs", "trace")
    assert code == Failure.FILE_BUSY and "cancel_transfer" in reason

    transfers = flight.rig.node.part(FileTransfers).entity
    assert flight.have("suspend_transfer", *number) == (0, "")
    assert [status.suspended for status in transfers.transactions()] == [True]
    done = transfers.transactions()[0].octets_done
    flight.advance(10)
    assert transfers.transactions()[0].octets_done == done
    assert flight.have("resume_transfer", *number) == (0, "")
    assert transfers.transactions()[0].octets_done > done
    assert flight.have("cancel_transfer", *number) == (0, "")
    flight.check_sound()


def test_a_transfer_that_was_suspended_is_so_after_a_power_cut(make_rig: MakeRig) -> None:
    rig = make_rig(faults=f"power-cut@{PASS_START_S + 60:g}")
    flight = Flight(rig, {"logs/trace": b"row of a trace\n" * 40_000})
    assert flight.have("downlink_file", "logs", "trace", 2, 3) == (0, "")
    (status,) = rig.node.part(FileTransfers).entity.transactions()
    transaction = status.transaction
    assert flight.have("suspend_transfer", transaction.source, transaction.number) == (0, "")
    before = rig.node
    rig.until(PASS_START_S + 120)
    assert rig.node is not before
    (status,) = rig.node.part(FileTransfers).entity.transactions()
    assert status.transaction == transaction and status.suspended


def test_compression_and_the_downlink_of_what_it_makes_are_sent_together(make_rig: MakeRig) -> None:
    flight = Flight(make_rig(), {"logs/trace": b"row of a trace\n" * 4_000})
    requests = [
        flight.rig.send("compress_file", "logs", "trace"),
        flight.rig.send("verify_file", "logs", "trace.z"),
        flight.rig.send("downlink_file", "logs", "trace.z", 1, 0),
        flight.rig.send("delete_file", "logs", "trace"),
        flight.rig.send("list_files", ""),
    ]
    flight.advance(10)
    assert [flight.endings(request) for request in requests] == [[(0, "")]] * 5
    contents = [packet for packet in flight.decoded() if packet.name == "directory_contents"]
    assert [packet.values.get("files[0].name") for packet in contents if packet.values["directory"] == "logs"] == [
        "trace.z"
    ]
    flight.check_sound()


def test_no_step_of_a_command_does_more_than_a_step_may(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = meter_spacecraft(monkeypatch)
    files = {"models/net": Random(1).randbytes(1_500_000)} | {f"logs/trace-{i}": b"row\n" * i for i in range(300)}
    flight = Flight(make_rig(), files)
    requests = [
        flight.rig.send(name, *values)
        for name, values in (
            ("verify_file", ("models", "net")), ("compress_file", ("models", "net")),
            ("verify_file", ("models", "net.z")), ("list_files", ("",)),
            ("move_file", ("models", "net", "models", "old")), ("delete_file", ("models", "old")),
        )
    ]  # fmt: skip
    flight.advance(10)
    assert [flight.endings(request) for request in requests] == [[(0, "")]] * 6
    assert meter.over == []
    flight.check_sound()


@pytest.mark.parametrize("name", ["delete_file", "lock_file", "verify_file"])
def test_a_refusal_tells_the_ground_why(make_rig: MakeRig, name: str) -> None:
    flight = Flight(make_rig(), {})
    assert flight.have(name, "logs", "../../etc/passwd") == (
        Failure.FILE_NAME,
        "the name '../../etc/passwd' has '/' at 2, should be of A-Z a-z 0-9 . _ - +",
    )
    assert flight.have(name, "logs", "trace") == (Failure.NO_FILE, "no file logs/trace")
