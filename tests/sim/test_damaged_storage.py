"""A whole node on storage of which something was and is gone: what it says, and what it does not do twice."""

from __future__ import annotations

from flight.core.nanoseconds import NS
from flight.core.step_budget import Budget
from flight.link.pus import PusTc, PusTm
from flight.services.health.storage_status import StorageStatus
from flight.services.recorder.packet_store import PacketStore
from flight.services.recorder.recorder import Recorder
from flight.services.recorder.stored_packet import Stored
from flight.services.time.clock import Clock
from tests.sim.conftest import MakeRig, Rig

FILL = 75  # transactions of a kilobyte: into the second segment of the vault's journal, no checkpoint yet


def packets_from(store: PacketStore, number: int) -> tuple[list[Stored], int]:
    read = store.read_from(number, Budget())
    assert read is not None
    return read


def damages(rig: Rig) -> list[tuple[str, str]]:
    """(record, what) of each record_damaged event that is stored on board."""
    event = next(e for e in rig.dictionary.events if e.name == "record_damaged")
    packets = [one.packet for store in rig.node.part(Recorder).stores for one in packets_from(store, 0)[0]]
    reports = [PusTm.decode(packet) for packet in packets]
    told = [
        event.layout.decode(one.data[2:])
        for one in reports
        if (one.service, one.subtype, one.data[:2]) == (5, event.subtype, event.number.to_bytes(2, "big"))
    ]
    return [(str(record), str(what)) for record, what in told]


def fill(rig: Rig) -> None:
    for number in range(FILL):
        rig.node.parts.vault.stage({"test.fill": bytes(990) + number.to_bytes(2, "big")})


def cut_power(rig: Rig) -> dict[str, bytes]:
    """The disk's files, to be damaged before the node comes up again."""
    rig.craft.cut_power()
    files: dict[str, bytes] = rig.craft.disk.durable
    return files


def ping(rig: Rig, seq: int) -> bytes:
    command = rig.dictionary.command("ping")
    return PusTc(command.apid, seq, command.service, command.subtype, b"", ack=0b1011, source=7).encode()


def insert(rig: Rig, t_s: float, packet: bytes) -> None:
    time_ns = int(rig.node.part(Clock).tai_ns() + t_s * NS - rig.loop.now_ns())
    rig.send("insert_activities", 0, ((0, time_ns, packet),))


def test_the_newest_vault_segment_gone_is_told_and_nothing_is_done_twice(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(100)
    early, later = ping(rig, 5001), ping(rig, 5002)
    insert(rig, 120, early)
    insert(rig, 200, later)
    rig.until(110)
    fill(rig)
    rig.until(130)
    assert rig.stages(PusTc.decode(early)) == [1, 3, 7]
    files = cut_power(rig)
    segments = sorted(name for name in files if name.startswith("vault.journal.0"))
    assert len(segments) == 2
    del files[segments[-1]]
    rig.until(195)
    told = dict(damages(rig)[::-1])
    assert "gone" in told["vault"]
    assert "1 of the activities may have been released in what is gone, given up: 1/5001" in told["schedule"]
    rig.until(240)
    assert rig.stages(PusTc.decode(early)) == [1, 3, 7], "released twice"
    assert rig.stages(PusTc.decode(later)) == [1, 3, 7]


def test_both_boot_records_damaged_are_told_as_gone(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(50)
    rig.craft.cut_power()
    rig.until(65)
    files = cut_power(rig)
    for name in ("boot.a", "boot.b"):
        files[name] = files[name][:-1] + b"?"
    rig.until(90)
    assert ("boot", "both generations are damaged: what was stored is gone") in damages(rig)


def test_one_boot_record_damaged_is_told_as_one(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(50)
    rig.craft.cut_power()
    rig.until(65)
    files = cut_power(rig)
    files["boot.a"] = files["boot.a"][:-1] + b"?"
    rig.until(90)
    assert ("boot", "one generation is damaged, the other generation stands") in damages(rig)


def test_a_vault_or_a_boot_record_that_is_gone_as_a_whole_is_told(make_rig: MakeRig) -> None:
    for user in ("vault", "boot"):
        rig = make_rig()
        rig.until(100)
        fill(rig)
        rig.until(110)
        files = cut_power(rig)
        for name in [name for name in files if name.startswith(f"{user}.")]:
            del files[name]
        rig.until(130)
        assert any(record == user and "nothing is left of it" in what for record, what in damages(rig))


def test_a_swapped_pair_of_recorder_segments_costs_their_packets_and_is_told(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(60)
    store = next(one for one in rig.node.part(Recorder).stores if one.name == "housekeeping")
    packet = next(one.packet for one in packets_from(store, 0)[0])
    for _ in range(800):
        store.store(packet, False)
    rig.until(66)
    lost = sum(one.end - one.first for one in store.journal.segments[1:3])
    held = store.end.number
    files = cut_power(rig)
    one, two = (f"recorder.housekeeping.{index:08d}" for index in (1, 2))
    files[one], files[two] = files[two], files[one]
    rig.until(85)
    store = next(one for one in rig.node.part(Recorder).stores if one.name == "housekeeping")
    found, number = 0, 0
    while number < held:
        records, number = packets_from(store, number)
        found += sum(one.place.number < held for one in records)
    assert found == held - lost
    assert ("store housekeeping", "segments under a name that is not theirs, left alone: 2") in damages(rig)
    values = StorageStatus(rig.node.parts.storage, rig.node.parts.vault, rig.node.part(Recorder)).sample()
    assert (values["segments_misplaced"], values["segments_foreign"], values["records_missing"]) == (2, 0, lost)


def test_a_lost_generation_of_a_mark_is_told_once_and_made_good(make_rig: MakeRig) -> None:
    """The other stands alone until then, and a second fault would cost the mark."""
    for slot in ("a", "b"):
        rig = make_rig()
        rig.until(60)
        files = cut_power(rig)
        name = f"recorder.reports.mark.{slot}"
        files[name] = bytes(len(files[name]))
        rig.until(75)
        cut_power(rig)
        rig.until(90)
        assert [record for record, _ in damages(rig)] == ["store reports"]
