"""The node over the simulated radio: commands and their reports, recorder, parameters, faults, reboots."""

from __future__ import annotations

import gc
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from spacepackets.ccsds.spacepacket import PacketId, PacketSeqCtrl, PacketType, SequenceFlags
from spacepackets.ecss.tc import PusTc as PeerTc
from spacepackets.ecss.tm import PusTm as PeerTm

from flight.contract.dictionary import Dictionary
from flight.contract.failures import Failure
from flight.core.nanoseconds import ns
from flight.mission import load
from flight.services.board.power import Power
from flight.services.commanding.commands import Commands
from flight.services.commanding.verification import Verification
from flight.services.health.status import BootRecord
from flight.services.recorder.recorder import Recorder
from flight.services.settings.parameters import Parameters
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import SimPlatform
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.world import World, WorldConfig
from tests.mission_security import mission_keys
from tests.sim.conftest import PASS_START_S, MakeRig, Rig

IN_PASS_S = PASS_START_S + 60


def detail(rig: Rig, subtype: int) -> str:
    """The text of the newest failure report of that subtype."""
    report = next(r for r in rig.dictionary.reports if (r.service, r.subtype) == (1, subtype))
    return str(report.layout.decode(rig.reports(1, subtype)[-1].data)[3])


def test_ping_is_accepted_started_completed_and_answered(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    request = rig.send("ping")
    rig.until(IN_PASS_S + 5)
    assert rig.stages(request) == [1, 3, 7]
    assert len(rig.reports(17, 2)) == 1


def test_a_ping_built_by_spacepackets_is_executed_and_its_reports_are_read_by_spacepackets(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    rig.send_packet(PeerTc(apid=1, service=17, message_subtype=1, seq_count=77, ack_flags=0b1011).pack())
    rig.until(IN_PASS_S + 5)
    peers = [PeerTm.unpack(raw, timestamp_len=6) for raw in rig.raw if raw[1] in (1, 2)]
    verified = [p for p in peers if p.service == 1]
    assert [p.message_subtype for p in verified] == [1, 3, 7]
    for report in verified:
        assert PacketId.from_raw(int.from_bytes(report.source_data[:2], "big")) == PacketId(PacketType.TC, True, 1)
        sequence = PacketSeqCtrl.from_raw(int.from_bytes(report.source_data[2:4], "big"))
        assert sequence == PacketSeqCtrl(SequenceFlags.UNSEGMENTED, 77)
    assert [p.message_subtype for p in peers if p.service == 17] == [2]


@pytest.mark.parametrize(
    ("service", "subtype", "data", "reason"),
    [
        (17, 9, b"", "TC[17,9]"),
        (20, 3, b"\1\0\1", "3 octets of data"),
        (20, 3, b"\1\0\1" + bytes([0x40, 0x59] + [0] * 6), "soc_safe_frac: 100 is outside 0 .. 0.95"),
        (20, 3, b"\1\0\1" + bytes([0x7F, 0xF8] + [0] * 6), "outside"),
        (20, 3, b"\0", "no parameter is named"),
        (20, 1, b"\1\x7f\xff", "no parameter 32767"),
        (8, 1, b"\0\1\x63", "mode: 99 is outside 0 .. 3"),
        (8, 1, b"\0\x63", "TC[8,1] function 99"),
        (3, 31, b"\1\0\xc7\x40\0\0\0", "no housekeeping structure 199"),
    ],
)
def test_a_bad_command_is_refused_with_its_reason(make_rig: MakeRig, service: int, subtype: int, data: bytes,
                                                  reason: str) -> None:  # fmt: skip
    rig = make_rig()
    rig.until(IN_PASS_S)
    rig.send_packet(PeerTc(apid=1, service=service, message_subtype=subtype, app_data=data, ack_flags=0b1011).pack())
    rig.until(IN_PASS_S + 5)
    assert [p.subtype for p in rig.packets if p.service == 1] == [2]
    assert reason in detail(rig, 2)


def test_a_command_to_nobody_and_one_with_a_broken_checksum(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    rig.send_packet(PeerTc(apid=99, service=17, message_subtype=1).pack())
    broken = bytearray(PeerTc(apid=1, service=17, message_subtype=1).pack())
    broken[-1] ^= 1
    rig.send_packet(bytes(broken))
    rig.until(IN_PASS_S + 5)
    assert detail(rig, 2) == "APID 99"
    assert rig.node.part(Commands).counts.unreadable == 1
    assert rig.reports(17, 2) == []


def test_more_commands_than_there_is_room_for_are_refused(make_rig: MakeRig) -> None:
    rig = make_rig(more="[commands]\nqueue = 4\n")
    rig.until(IN_PASS_S)
    raw = PeerTc(apid=1, service=17, message_subtype=1, ack_flags=0b1011).pack()
    for _ in range(10):
        rig.node.part(Commands).on_packet(bytes(raw))
    rig.until(IN_PASS_S + 5)
    assert len(rig.reports(17, 2)) == 4
    assert len(rig.reports(1, 2)) == 6
    assert rig.reports(1, 2)[0].data[4:6] == Failure.TOO_MANY.to_bytes(2, "big")


def test_packets_made_outside_passes_are_recorded_and_played_back_in_order(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(PASS_START_S - 10)
    recorded = rig.node.part(Recorder).waiting
    assert recorded > 25
    rig.until(PASS_START_S + 120)
    assert rig.node.part(Recorder).waiting == 0
    power = [p.time_ns for p in rig.reports(3, 25) if p.data[:2] == b"\0\2"]
    assert len(power) >= 15
    early = [t for t in power if t < rig.world.start_tai_ns + ns(PASS_START_S)]
    assert early == sorted(early)
    assert max(b - a for a, b in pairwise(early)) == ns(10)


def test_the_recorder_survives_a_power_cut(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@50")
    rig.until(49)
    before = rig.node.part(Recorder).waiting
    rig.until(70)
    assert rig.craft.boots == 2
    assert rig.node.part(Recorder).waiting >= before - 10  # what the last sync did not cover yet may be gone
    rig.until(IN_PASS_S + 60)
    boots = [p for p in rig.reports(5, 1) if p.data[:2] == b"\0\1"]
    assert [int.from_bytes(p.data[2:6], "big") for p in boots] == [1, 2]


def test_a_node_without_power_hears_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@150")
    rig.until(149)
    assert rig.air.modem.carrier()
    rig.until(151)
    assert rig.craft.node is None
    assert not rig.air.modem.carrier()
    rig.air.uplink(bytes(100))
    rig.until(159)
    assert rig.air.modem.receive() is None
    rig.until(161)
    assert rig.air.modem.carrier()


def test_what_was_commanded_is_kept_over_a_reboot(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@200")
    rig.until(IN_PASS_S)
    requests = [rig.send("payload_power", 0), rig.send("set_power_mode", 1)]
    rig.until(IN_PASS_S + 5)
    assert [rig.stages(one) for one in requests] == [[1, 3, 7]] * 2
    rig.until(220)
    assert rig.craft.boots == 2
    assert not rig.node.part(Power).payload_on
    assert rig.node.part(Power).mode.name == "eco"
    assert not rig.world.power.switched_on("payload")


def test_a_device_that_forgot_its_orders_is_told_again(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(60)
    assert rig.world.power.switched_on("payload")
    rig.world.set_switch("payload", False)  # as a board does that restarts itself
    rig.world.set_switch("heater", True)
    rig.until(125)
    assert rig.world.power.switched_on("payload")
    assert not rig.world.power.switched_on("heater")


def test_what_is_taken_for_playback_and_has_not_left_comes_down_after_a_power_cut(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@92.1")
    rig.until(92.0)
    held = rig.node.part(Recorder).waiting
    rig.until(92.2)
    rig.until(IN_PASS_S + 60)
    power = [p.time_ns for p in rig.reports(3, 25) if p.data[:2] == b"\0\2"]
    start_ns = rig.world.start_tai_ns
    assert held > 0
    assert [t for t in range(start_ns + ns(1), start_ns + ns(90), ns(10)) if t not in power] == []


def test_a_critical_task_that_fails_for_good_starts_the_node_anew(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    broken = {"left": 4}

    def fail() -> None:
        if broken["left"]:
            broken["left"] -= 1
            raise RuntimeError("broken")

    monkeypatch.setattr(rig.node.part(Power), "_retry", fail)  # in the midst of its task
    rig.until(IN_PASS_S + 60)
    assert rig.craft.boots == 2
    assert rig.node.part(Power).reading is not None
    assert rig.node.part(BootRecord).cause == "failure of task power"


def test_a_disk_that_takes_nothing_keeps_no_node_from_flying(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(50)
    rig.craft.disk.capacity_octets = 0
    rig.craft.cut_power()
    rig.until(IN_PASS_S)
    assert rig.node.part(BootRecord).count == 2
    ping = rig.send("ping")
    refused = rig.send("set_parameters", ((10, 5.5),))
    rig.until(IN_PASS_S + 10)
    assert rig.stages(ping) == [1, 3, 7]
    assert rig.stages(refused) == [2]
    assert rig.node.part(Parameters).get("heater_on_c") == 2.0
    assert rig.node.part(Recorder).storage_faults > 0


def test_a_set_parameter_outlives_the_power(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@160")
    rig.until(IN_PASS_S)
    request = rig.send("set_parameters", ((10, 5.5),))
    rig.until(IN_PASS_S + 5)
    assert rig.stages(request) == [1, 3, 7]
    rig.until(180)
    assert rig.craft.boots == 2
    assert rig.node.part(Parameters).get("heater_on_c") == 5.5


def test_housekeeping_period_is_set_from_ground(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    rig.send("set_hk_period", ((2, 0.5),))
    rig.until(IN_PASS_S + 20)
    fast = [
        p for p in rig.reports(3, 25) if p.data[:2] == b"\0\2" and p.time_ns > rig.world.start_tai_ns + ns(IN_PASS_S)
    ]
    assert 36 <= len(fast) <= 42
    rig.send("disable_hk", ((2,),))
    rig.until(IN_PASS_S + 25)
    count = len(rig.packets)
    rig.until(IN_PASS_S + 40)
    assert not [p for p in rig.packets[count:] if p.service == 3 and p.data[:2] == b"\0\2"]


def test_a_mute_eps_is_one_fault_and_one_recovery_for_reading_and_for_switching(make_rig: MakeRig) -> None:
    rig = make_rig(faults="eps-mute@100")
    rig.until(200)
    names = [e.name for e in events_of(rig)]
    # Reading and switching are told apart: an EPS that does not switch may still be read.
    assert names.count("device_fault") == 2
    assert names.count("device_recovered") == 2


def test_a_reading_that_is_stale_carries_no_decision(make_rig: MakeRig) -> None:
    rig = make_rig(faults="eps-mute@10")
    rig.until(15)
    assert rig.node.state() is not None
    rig.until(25)
    assert rig.node.state() is None
    rig.until(80)
    assert rig.node.state() is not None


def events_of(rig: Rig) -> list[Any]:
    numbers = {e.number: e for e in rig.dictionary.events if e.apid == 1}
    return [numbers[int.from_bytes(p.data[:2], "big")] for p in rig.packets if p.service == 5]


def test_low_battery_means_safe_mode_until_it_has_recovered(make_rig: MakeRig) -> None:
    rig = make_rig(more="[power]\nsoc_safe_frac = 0.905\nsoc_resume_frac = 0.95\n")
    rig.until(20)
    assert rig.node.part(Power).mode.name == "safe"
    rig.until(500)
    assert rig.node.part(Power).mode.name == "nominal"


def test_foreign_duplicated_and_damaged_uplink_is_counted_and_the_node_goes_on(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    noise = Random(5)
    for _ in range(20):
        rig.air.uplink(noise.randbytes(100))
    rig.until(IN_PASS_S + 20)
    request = rig.send("ping")
    cltu = next(a.octets for a in reversed(rig.acts) if hasattr(a, "octets"))
    rig.air.uplink(cltu)
    rig.air.uplink(cltu)
    rig.until(IN_PASS_S + 30)
    assert rig.stages(request) == [1, 3, 7]
    assert len(rig.reports(17, 2)) == 1


def test_commands_get_through_a_noisy_link(make_rig: MakeRig) -> None:
    rig = make_rig(bit_error_rate=1e-5)
    rig.until(IN_PASS_S)
    requests = [rig.send("ping") for _ in range(40)]
    rig.until(IN_PASS_S + 120)
    executed = rig.node.part(Verification).counts["completion_success"]
    assert executed == len(requests)


def test_two_nodes_in_one_virtual_time(bare_mission: Any) -> None:
    loop = VirtualLoop()
    crafts = []
    for name in ("alpha", "beta"):
        path = bare_mission(f'name = "{name}"')
        mission = load(path)
        loop_world = World(WorldConfig())
        silent = SilentRadio()
        keys = partial(mission_keys, mission)
        crafts.append(Spacecraft(mission, loop, loop_world, Random(1), radios={"s-band": silent}, keys=keys))
    for craft in crafts:
        craft.boot()
    loop.run_until(ns(60))
    crafts[0].cut_power()
    loop.run_until(ns(120))
    alpha, beta = (craft.node for craft in crafts)
    assert alpha is not None
    assert beta is not None
    assert (alpha.part(BootRecord).count, beta.part(BootRecord).count) == (2, 1)
    assert {alpha.dictionary.mission, beta.dictionary.mission} == {"alpha", "beta"}
    for craft in crafts:
        craft.shut_down()


class SilentRadio:
    """A modem that hears nobody."""

    def set_power(self, on: bool) -> None:
        pass

    def carrier(self) -> bool:
        return False

    def send(self, _unit: bytes) -> bool:
        return False

    def free_ns(self) -> int:
        return 0

    def receive(self) -> bytes | None:
        return None

    def dropped(self) -> int:
        return 0

    def on_event(self, call: Any) -> None:
        pass


def test_same_seed_same_digest_other_seed_another(make_rig: MakeRig) -> None:
    digests = []
    for seed in (3, 3, 4):
        rig = make_rig(seed=seed, bit_error_rate=1e-6, faults="power-cut@160")
        rig.until(IN_PASS_S)
        rig.send("ping")
        rig.until(240)
        digests.append(rig.digest.hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.campaign
def test_power_cut_at_every_early_storage_operation_leaves_a_node_that_boots_and_counts(bare_mission: Any) -> None:
    mission = load(bare_mission())
    for cut_at in range(1, 60):
        loop = VirtualLoop()
        world = World(WorldConfig())
        keys = partial(mission_keys, mission)
        craft = Spacecraft(mission, loop, world, Random(cut_at), radios={"s-band": SilentRadio()}, keys=keys)
        craft.disk.cut_at_operation = cut_at
        boot_or_cut(craft)
        craft.run_until(ns(130))
        assert craft.boots == 2, cut_at
        assert craft.node is not None
        assert craft.node.part(BootRecord).count in (1, 2)
        craft.shut_down()
    gc.collect()


def boot_or_cut(craft: Spacecraft) -> None:
    from sim_hw.machine.disk import PowerCut

    try:
        craft.boot()
    except PowerCut:
        craft.node = None
        craft.loop.call_at(ns(1), partial(_boot, craft))


def _boot(craft: Spacecraft) -> None:
    craft.boot()


def test_a_dictionary_document_survives_its_own_round_trip(make_rig: MakeRig) -> None:
    dictionary = make_rig().dictionary
    assert Dictionary.from_document(dictionary.document()).document() == dictionary.document()


def test_the_platform_makes_no_calls_without_power() -> None:
    loop, world, disk = VirtualLoop(), World(WorldConfig()), Disk(Random(1))
    platform = SimPlatform("n", loop, world, disk, Random(1))
    called: list[int] = []
    platform.call_at(ns(5), lambda: called.append(1))
    loop.run_until(ns(1))
    disk.cut()
    loop.run_until(ns(10))
    assert called == []
