"""ST[20] on the whole node: over the simulated radio, over power cuts, and with puslib at the other end."""

from __future__ import annotations

from typing import Any

import pytest
from puslib import get_policy
from puslib.ident import PusIdent
from puslib.packet import AckFlag, PusTcPacket, PusTmPacket
from puslib.parameter import Real64Parameter, UInt16Parameter
from puslib.services import RequestVerification
from puslib.services.pus_020_parameter_management import ParameterManagement
from puslib.streams.buffer import QueuedOutput

from flight.contract.parameter_table import encode_table
from flight.link.cfdp.checksums import CHECKSUMS, CRC32
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.directives import EndOfFile, Metadata
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, TransactionId
from flight.link.space_packet import SpacePacket
from flight.services.settings.parameters import Parameters
from tests.sim.conftest import PASS_START_S, MakeRig, Rig

IN_PASS_S = PASS_START_S + 60


def detail(rig: Rig, subtype: int) -> str:
    """The text of the newest failure report of that subtype."""
    report = next(r for r in rig.dictionary.reports if (r.service, r.subtype) == (1, subtype))
    return str(report.layout.decode(rig.reports(1, subtype)[-1].data)[3])


def events(rig: Rig, name: str) -> list[tuple[Any, ...]]:
    definition = next(e for e in rig.dictionary.events if e.name == name)
    reports = rig.reports(5, definition.subtype)
    number = definition.number.to_bytes(2, "big")
    return [definition.layout.decode(p.data[2:]) for p in reports if p.data[:2] == number]


def test_set_refuse_report_reset(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    both = rig.send("set_parameters", ((1, 0.7), (2, 0.8)))
    against = rig.send("set_parameters", ((10, 1.0), (2, 0.65)))
    rig.until(IN_PASS_S + 5)
    assert [rig.stages(one) for one in (both, against)] == [[1, 3, 7], [1, 3, 8]]
    assert detail(rig, 8) == "soc_safe_frac: 0.7 should stay below soc_resume_frac, which is 0.65"
    assert [rig.node.part(Parameters).get(n) for n in ("soc_safe_frac", "soc_resume_frac", "heater_on_c")] == [
        0.7,
        0.8,
        2.0,
    ]
    rig.send("report_parameters", ((2,), (10,)))
    one = rig.send("reset_parameters", ((2,),))
    rig.until(IN_PASS_S + 10)
    report = next(r for r in rig.dictionary.reports if (r.service, r.subtype) == (20, 2))
    assert report.layout.decode(rig.reports(20, 2)[-1].data) == (((2, 0.8), (10, 2.0)),)
    assert rig.stages(one) == [1, 3, 8]  # 0.66 would not be above 0.7
    every = rig.send("reset_parameters", ())
    rig.until(IN_PASS_S + 15)
    assert rig.stages(every) == [1, 3, 7]
    assert rig.node.part(Parameters).get("soc_safe_frac") == 0.6


def upload(rig: Rig, name: str, octets: bytes) -> None:
    header = Header(TransactionId(1, rig.sent), 2)  # a transaction number of its own
    for pdu in (
        Metadata(header, len(octets), CRC32, name, name),
        FileData(header, 0, octets),
        EndOfFile(header, ConditionCode.NO_ERROR, CHECKSUMS[CRC32].of(octets), len(octets)),
    ):
        rig.send_packet(SpacePacket(3, rig.sent, pdu.encode(), is_command=True).encode())


def test_a_table_comes_up_takes_effect_whole_and_outlives_the_power(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@300")
    rig.until(IN_PASS_S)
    settings = rig.dictionary.settings
    early = rig.send("load_parameter_table", "t")
    upload(rig, "t", encode_table(settings, {"soc_safe_frac": 0.3, "heater_off_c": 9.0}))
    load = rig.send("load_parameter_table", "t")
    rig.until(IN_PASS_S + 10)
    assert rig.stages(early) == [2] and detail(rig, 2) == "no file uploads/t"
    assert [values[:2] for values in events(rig, "upload_received")] == [("t", 39)]
    assert rig.stages(load) == [1, 3, 7]
    upload(rig, "u", encode_table(settings, {"heater_off_c": 1.0}))
    against = rig.send("load_parameter_table", "u")
    upload(rig, "v", b"OPTB nonsense of some length")
    broken = rig.send("load_parameter_table", "v")
    rig.until(IN_PASS_S + 20)
    assert rig.stages(against) == [1, 3, 8]
    assert detail(rig, 8) == "heater_on_c: 2 should stay below heater_off_c, which is 1"
    assert rig.stages(broken) == [2] and "parameter table of format version 32" in detail(rig, 2)
    rig.until(350)
    assert rig.craft.boots == 2
    assert [rig.node.part(Parameters).get(n) for n in ("soc_safe_frac", "heater_off_c")] == [0.3, 9.0]
    assert events(rig, "parameters_restored") == [(2, 0, 0)]
    again = rig.send("load_parameter_table", "t")
    rig.until(360)
    assert rig.stages(again) == [1, 3, 7], "the file has outlived the power as well"


def test_power_cut_while_a_table_takes_effect_leaves_all_of_it_or_nothing(make_rig: MakeRig) -> None:
    outcomes = set()
    for operations in range(1, 4):
        rig = make_rig(seed=operations)
        rig.until(IN_PASS_S)
        upload(rig, "t", encode_table(rig.dictionary.settings, {"heater_on_c": -5.0, "heater_off_c": 9.0}))
        rig.until(IN_PASS_S + 5)
        rig.send("load_parameter_table", "t")
        rig.craft.disk.cut_at_operation = rig.craft.disk.operations + operations
        rig.until(IN_PASS_S + 40)
        assert rig.craft.boots == 2
        outcomes.add(tuple(rig.node.part(Parameters).get(n) for n in ("heater_on_c", "heater_off_c")))
    assert outcomes <= {(2.0, 6.0), (-5.0, 9.0)}


@pytest.fixture
def policy() -> Any:
    """puslib's format of packets set to the project's: PUS-C, counters of 16 bits, times without preamble."""
    made = get_policy()
    before = (made.common.pus_version, made.common.tc.source_id_type, made.common.tm.time.has_preamble)
    made.common.pus_version = 2
    made.common.tm.time.has_preamble = False
    yield made
    made.common.pus_version, made.common.tc.source_id_type, made.common.tm.time.has_preamble = before


def telecommand(subtype: int, seq: int, data: bytes) -> bytes:
    packet = PusTcPacket.create(
        pus_version=2, apid=1, name=seq, ack_flags=AckFlag(0b1011), service_type=20, service_subtype=subtype,
        source=0, data=data,
    )  # fmt: skip
    return bytes(packet)


def test_parameters_are_set_by_packets_of_puslib_and_reported_to_it(make_rig: MakeRig, policy: Any) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    wanted = {1: Real64Parameter(0.25), 11: Real64Parameter(12.5)}
    count = policy.function_management.count_type(len(wanted))
    numbers = {number: UInt16Parameter(number) for number in wanted}
    rows = b"".join(bytes(numbers[n]) + bytes(value) for n, value in wanted.items())
    rig.send_packet(telecommand(3, 1, bytes(count) + rows))
    rig.send_packet(telecommand(1, 2, bytes(count) + b"".join(map(bytes, numbers.values()))))
    rig.until(IN_PASS_S + 5)
    assert [p.subtype for p in rig.packets if p.service == 1] == [1, 3, 7, 1, 3, 7]
    (raw,) = [raw for raw in rig.raw if raw[7:9] == bytes((20, 2))]
    report = PusTmPacket.deserialize(raw, cuc_time=policy.CucTime())
    assert (report.service, report.subservice) == (20, 2)
    data = report.source_data
    assert type(count).from_bytes(data[:1]) == 2
    for at, (number, value) in zip((1, 11), wanted.items(), strict=True):
        assert UInt16Parameter.from_bytes(data[at : at + 2]) == number
        assert Real64Parameter.from_bytes(data[at + 2 : at + 10]) == value.value


@pytest.mark.usefixtures("policy")
def test_the_ground_s_commands_are_understood_by_a_node_of_puslib(make_rig: MakeRig) -> None:
    rig = make_rig()
    parameters = {1: Real64Parameter(0.1), 2: Real64Parameter(0.2)}
    ident, stream = PusIdent(1), QueuedOutput()
    service = ParameterManagement(ident, RequestVerification(ident, stream), stream, parameters)
    # One row at a time: puslib takes a real number for the last thing in the packet.
    sent = [("set_parameters", ((2, 0.75),)), ("set_parameters", ((1, 0.5),)), ("report_parameters", ((1,), (2,)))]
    for name, rows in sent:
        service.enqueue(PusTcPacket.deserialize(rig.send(name, rows).encode()))
        service.process()
    assert [one.value for one in parameters.values()] == [0.5, 0.75]
    answers = [stream.get() for _ in range(stream.size)]
    reports = [one for one in answers if (one.service, one.subservice) == (20, 2)]
    report = next(r for r in rig.dictionary.reports if (r.service, r.subtype) == (20, 2))
    assert report.layout.decode(reports[0].source_data) == (((1, 0.5), (2, 0.75)),)
