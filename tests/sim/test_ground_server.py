"""The ground process in real time: UDP frames in, CLTUs out, cmd, tm and events over its API."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flight.contract.parameter_table import decode_table
from flight.core.errors import OrbitnodeError
from flight.link.aos_stack import AosConfig, AosFlightLink
from ground.changes import Change, Packet
from ground.cli import cmd, events, parameters, tm
from ground.cli.api.client import GroundClient
from ground.config import GroundConfig
from ground.link.aos_session import AosSession
from ground.link.mission_link import UdpLink
from ground.link.tm_tc_session import GroundSession
from ground.server.api import ClientSession, Services
from ground.server.api_token import ApiToken
from ground.server.connection import BACKLOG_OCTETS_MAX, ApiCounters, Connection
from ground.server.ground_server import GroundServer
from ground.server.requests import LINE_OCTETS_MAX
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from ground.telemetry.decoder import REPORT, DecodedPacket
from tests.archives import reading
from tests.command_line import command_line
from tests.full_disk import limited_files
from tests.ground_dictionary import make
from tests.ground_node import LittleNode
from tests.link_ends import BARE, unit_of
from tests.live_ground import Ground, UdpNode
from tests.ports import free_port
from tests.waiting import GIVE_UP_S, wait_until


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("ground"))
    yield made
    made.kill()


@pytest.fixture
def node(ground: Ground) -> Iterator[LittleNode]:
    made = UdpNode(ground)
    made.start()
    yield made.node
    made.end()


def command(*argv: str) -> int:
    """`orbitnode parameters`."""
    parser = argparse.ArgumentParser()
    parameters.add_arguments(parser)
    return parameters.execute(parser.parse_intermixed_args(argv))


def run(module: Any, ground: Ground, *argv: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    code: int = module.execute(parser.parse_args([*argv, "--port", str(ground.api)]))
    return code


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["pong"], "unknown command 'pong', did you mean 'ping'"),
        (["submit_job", "tiles=99"], "tiles: 99 is outside 1 .. 50"),
        (["submit_job", "tiles"], "not key=value"),
    ],
)
def test_wrong_commands_are_one_line(ground: Ground, argv: list[str], match: str) -> None:
    with pytest.raises(OrbitnodeError, match=match) as caught:
        run(cmd, ground, *argv)
    assert "\n" not in str(caught.value)


def test_no_node_is_said_and_the_command_is_never_sent_later(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cmd, ground, "ping", "--timeout", "0.3") == 1
    assert "never sent: no node was heard in time" in capsys.readouterr().out.replace("\n", " ")


def test_no_ground_process() -> None:
    parser = argparse.ArgumentParser()
    cmd.add_arguments(parser)
    match = r"no ground process on 127\.0\.0\.1:\d+; start one with `orbitnode ground`"
    with pytest.raises(OrbitnodeError, match=match):
        cmd.execute(parser.parse_args(["ping", "--port", str(free_port(socket.SOCK_STREAM))]))


def test_busy_ports_are_named(ground: Ground) -> None:
    second = ground.start()
    _, text = second.communicate(timeout=GIVE_UP_S)
    assert second.returncode == 1
    assert text.decode().splitlines()[-1].startswith(f"orbitnode: error: UDP port {ground.tm}: is in use; is another")


@pytest.mark.parametrize(
    "line",
    [
        b'{"do": "fly"}',
        b'{"do":"link","action":"fly"}',
        b'{"do":"link","action":"set-vs","value":"3"}',
        b'{"do":"link","action":"set-vs","value":NaN}',
        b'{"do":"link","action":"resume"}',
        b'{"do":"status","x":1}',
        b'{"do":"latest","name":[]}',
        b'{"do":"command","name":"ping","texts":[1]}',
        b'{"do":"events","limit":0}',
        b'{"do":"command","name":"ping","bypass":1}',
        b'{"do":"send","name":"ping"}',
        b'{"do":"wait_for","name":"power","timeout_s":-1}',
        b'{"do":"wait_for","name":"power","timeout_s":1e9}',
        b'{"do":"wait_contact","timeout_s":NaN}',
        b'{"do":"command","name":"set_parameters","arguments":{"parameters":[[NaN,1]]}}',
        b'{"do":"command","name":"set_parameters","arguments":{"parameters":[[[1],1]]}}',
        b'{"do":"command","name":"set_parameters","arguments":{"parameters":[[null,1]]}}',
        b'{"do":"command","name":"set_parameters","texts":["nan=1"]}',
        b'{"do":"command","name":"say","arguments":{"text":"\\ud800"}}',
        b'{"do":"command","name":"say","arguments":{"text":' + b"[" * 900 + b"]" * 900 + b"}}",
    ],
)
def test_bad_requests_get_an_error_and_the_ground_goes_on(ground: Ground, line: bytes) -> None:
    one, answers = ground.connect()
    with one, answers:
        # The second shows that the connection lives on.
        for _ in range(2):
            one.sendall(line + b"\n")
            assert "error" in json.loads(answers.readline())
    with GroundClient(ground.api) as client:
        assert client.ask(do="status")["contact"] is False


def test_the_command_link_is_shown_and_led_by_hand(ground: Ground) -> None:
    port = str(ground.api)
    assert command_line("link", "--port", port)[1].splitlines()[0].rstrip() == "mode        automatic"
    code, out, _ = command_line("link", "set-vs", "7", "--port", port, "--json")
    link = json.loads(out)
    assert (code, link["mode"], link["vs"], link["fop_state"], link["clcw"]) == (0, "manual", 7, "S6", None)
    code, _, err = command_line("link", "set-window", "100", "--port", port)
    assert (code, err) == (1, "orbitnode: error: set-window: 100 is outside 1..10\n")
    for words in (("set-vs",), ("terminate", "1"), ("fly",), ("set-vs", "x")):
        assert command_line("link", *words, "--port", port)[0] == 2
    assert json.loads(command_line("link", "auto", "--port", port, "--json")[1])["mode"] == "automatic"


def test_one_connection_is_one_operator(ground: Ground) -> None:
    with GroundClient(ground.api) as client:
        assert client.ask(do="operate")["mission"] == "test"
        for request, says in (
            ({"do": "operate"}, "has an operator's session already"),
            ({"do": "send", "name": "pong"}, "did you mean 'ping'"),
            ({"do": "wait_for"}, "no packet is called ''"),
        ):
            with pytest.raises(OrbitnodeError, match=says):
                client.ask(**request)
        assert client.ask(do="wait_contact")["contact"] is False


@pytest.mark.parametrize("said", [b"wait\n", b"wait\nand more\n"])
def test_a_client_that_goes_ends_its_wait(said: bytes) -> None:
    async def serve() -> bool:
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = Connection(reader, writer, ApiCounters())
            assert await client.read_line() == b"wait\n"
            try:
                await client.until(lambda: False, asyncio.Event(), 1e6)
            except ConnectionResetError:
                ended.set_result(True)
            client.close()

        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(said)
        await writer.drain()
        writer.close()
        made = await asyncio.wait_for(ended, GIVE_UP_S)
        listener.close()
        return made

    assert asyncio.run(serve())


def test_a_fault_in_serving_a_request_does_not_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our own checks let through by mistake is answered, counted, and the next request served."""
    station = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=0)
    services = Services(station, GroundConfig(), lambda _: None, ApiToken(1))

    async def answer(_session: ClientSession, _request: object) -> None:
        raise TypeError("of a strange kind")

    monkeypatch.setattr(ClientSession, "answer", answer)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ClientSession(services, Connection(reader, writer, services.counters)).serve()

    async def serve() -> list[dict[str, str]]:
        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b'{"do": "status"}\n' * 2)
        lines = [json.loads(await reader.readline()) for _ in range(2)]
        writer.close()
        listener.close()
        return lines

    text = "the request cannot be served: TypeError: of a strange kind"
    assert asyncio.run(serve()) == [{"error": text}] * 2 and services.counters.request_faults == 2


def test_a_client_that_waits_for_a_command_and_does_not_read_loses_lines() -> None:
    station = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=0)
    counters = ApiCounters()
    services = Services(station, GroundConfig(), lambda _: None, ApiToken(1), counters=counters)
    values = {"note": "x" * 4000}
    report = Packet(0, b"", DecodedPacket("plan_detail", REPORT, 1, 0, b"", 11, 10, 0, values, values))

    async def flood() -> tuple[int, int]:
        sent, backlogs = asyncio.Event(), []
        station.listen(lambda change, _: sent.set() if change is Change.COMMAND else None)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving = asyncio.create_task(ClientSession(services, Connection(reader, writer, counters)).serve())
            await sent.wait()
            for _ in range(5000):  # more than the buffers of the machine take
                station._listeners.announce(Change.PACKET, report)
            backlogs.append(writer.transport.get_write_buffer_size())
            serving.cancel()
            writer.transport.abort()

        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b'{"do": "command", "name": "ping", "bypass": true}\n')
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), GIVE_UP_S)
        writer.transport.abort()
        listener.close()
        return backlogs[0], counters.dropped_lines

    backlog, dropped = asyncio.run(flood())
    assert dropped > 0 and backlog < BACKLOG_OCTETS_MAX + LINE_OCTETS_MAX


def test_a_full_disk_does_not_end_the_ground(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    try:
        with limited_files(1, ground.process.pid), GroundClient(ground.api) as client:
            client.ask(do="command", name="ping", timeout_s=0.1)
            wait_until(lambda: client.ask(do="status")["counters"]["station.storage_faults"], "a fault is counted")
        with GroundClient(ground.api) as client:
            client.ask(do="command", name="ping", timeout_s=0.1)
        assert ground.stop() == 0
    finally:
        ground.kill()
    with reading(tmp_path / "archive.db") as archive:
        assert archive.commands()[-1].outcome == "rejected"


def test_a_ground_out_of_descriptors_says_so_in_one_line_and_goes_on(own_ground: tuple[Ground, LittleNode]) -> None:
    """What the loop has to say of a call that failed was a traceback."""
    ground, _ = own_ground
    with GroundClient(ground.api) as client:
        most = resource.prlimit(ground.process.pid, resource.RLIMIT_NOFILE)
        few = 1 + max(int(name) for name in os.listdir(f"/proc/{ground.process.pid}/fd"))
        resource.prlimit(ground.process.pid, resource.RLIMIT_NOFILE, (few, most[1]))
        more = [socket.create_connection(("127.0.0.1", ground.api), GIVE_UP_S) for _ in range(8)]
        wait_until(lambda: client.ask(do="status")["counters"]["station.faults"], "a fault is counted")
        resource.prlimit(ground.process.pid, resource.RLIMIT_NOFILE, most)
        for one in more:
            one.close()
    with GroundClient(ground.api) as client:
        assert client.ask(do="status")["done"] is True
    ground.process.send_signal(signal.SIGINT)
    _, said = ground.process.communicate(timeout=GIVE_UP_S)
    assert b"ground: 1 fault of its own: OSError: [Errno 24] Too many open files; it goes on" in said
    assert b"Traceback" not in said and ground.process.returncode == 0


def test_foreign_datagrams_are_counted(ground: Ground) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for octets in (b"x", bytes(1115), bytes(3000), b""):
            one.sendto(octets, ("127.0.0.1", ground.tm))
    with GroundClient(ground.api) as client:

        def rejected() -> list[int]:
            counters = client.ask(do="status")["counters"]
            names = "link.frames_rejected.length", "link.frames_rejected.crc", "udp.empty"
            return [counters[name] for name in names]

        wait_until(lambda: rejected() == [2, 1, 1], "each is rejected for its own reason")


@pytest.fixture
def own_ground(tmp_path: Path) -> Iterator[tuple[Ground, LittleNode]]:
    """A ground and a node of the test's own: for the ground of the module, another node would be one restarted."""
    made = Ground(tmp_path)
    node = UdpNode(made)
    node.start()
    yield made, node.node
    node.end()
    made.kill()


def test_a_table_is_listed_packed_and_loaded(
    own_ground: tuple[Ground, LittleNode], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ground, node = own_ground
    table = tmp_path / "night.toml"
    table.write_text("soc_min = 0.35\ntiles_max = 7\n")
    document, packed = tmp_path / "dictionary.json", tmp_path / "night.table"
    document.write_text(json.dumps(make().document()))
    assert command("pack", str(table), "-o", str(packed), "--dictionary", str(document)) == 0
    assert decode_table(packed.read_bytes(), make().settings) == {"soc_min": 0.35, "tiles_max": 7.0}
    port = ("--port", str(ground.api))
    assert command("load", str(table), *port) == 0
    out = capsys.readouterr().out
    assert f"night.table: the node has {len(packed.read_bytes())} octets" in out
    assert "load_parameter_table completed" in out
    assert (node.values[7], node.values[9]) == (0.35, 7.0)
    assert node.files == [("night.table", packed.read_bytes())]
    assert "report_parameters completed" in out
    assert command("list", "--json", *port) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])}
    assert rows["soc_min"]["latest"]["value"] == 0.35 and rows["soc_min"]["below"] == "soc_full"
    assert rows["soc_full"]["latest"] is None
    assert command("list", *port) == 0 and "least charge for work" in capsys.readouterr().out


def test_every_fault_of_a_table_is_said_with_its_line_and_nothing_is_sent(ground: Ground, tmp_path: Path) -> None:
    table = tmp_path / "bad.toml"
    table.write_text("# none of it\nsoc_mim = 0.5\nsoc_full = 0.4\ntiles_max = 1.5\nsoc_min = 0.5\n")
    with pytest.raises(OrbitnodeError) as caught:
        command("load", str(table), "--port", str(ground.api))
    assert str(caught.value).splitlines() == [
        f"table {table}: 3 faults",
        f"  {table}:2: soc_mim: unknown parameter, did you mean soc_min?",
        f"  {table}:4: tiles_max: 1.5 is not a whole number",
        f"  {table}:5: soc_min: is 0.5, should be below soc_full, 0.4",
    ]
    for text, says in (
        ("", "no parameter is named"),
        ("soc_max = 1\nsoc_min = ", rf"^{table}:2: not valid TOML: Invalid value \(at the end of the file\)$"),
        ("[soc_min\n", rf"^{table}:1: not valid TOML: Expected '\]' at the end of a table declaration \(column 9\)$"),
        ("[soc_min]\nx = 1", "is not a number"),
        ("soc_min = nan", "nan is outside"),
    ):
        table.write_text(text)
        with pytest.raises(OrbitnodeError, match=says):
            command("load", str(table), "--port", str(ground.api))
    with pytest.raises(OrbitnodeError, match="cannot be read: No such file"):
        command("load", str(tmp_path / "none.toml"), "--port", str(ground.api))


def test_an_upload_that_nobody_hears_fails_in_time(ground: Ground) -> None:
    with GroundClient(ground.api) as client:
        last = client.ask(do="files_put", name="a", octets="00", timeout_s=0.2)
    assert last["outcome"] == "failed" and last["reason"] == "nothing more arrived for 0.2 s"
    for request, says in (
        ({"name": "../a", "octets": "00"}, "cannot be the name of a file on board, 'a' can"),
        ({"name": "a", "octets": "0g"}, "octets should be hexadecimal"),
        ({"name": "a"}, "has a path or octets, and not both"),
        ({"name": "a", "path": "b"}, "path should begin at the root"),
        ({"name": "a", "path": "/none"}, "/none cannot be read: No such file"),
        ({"name": "a", "octets": "00", "class": 3}, "class is 3, should be one of 1, 2"),
    ):
        with GroundClient(ground.api) as client, pytest.raises(OrbitnodeError, match=says):
            client.ask(do="files_put", **request)


def test_a_name_that_no_telemetry_has_is_told_from_one_that_has_not_come(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, says in (
        ("pwer", "did you mean 'power'"), ("power.so", "did you mean 'power.soc'"), ("zz", "known: "),
        ("soc", r"did you mean 'power\.soc'\?$"), ("zz.soc", "known: "),
    ):  # fmt: skip
        for argv in ([name], [name, "--follow"]):
            with pytest.raises(OrbitnodeError, match=f"no telemetry is called '{name}', {says}"):
                run(tm, ground, *argv)
    for name in ("power", "power.soc", "hk-300", "plan", "correlation", "answer.ndvi.ndvi_mean"):
        assert run(tm, ground, name) == 1
        assert f"no value of {name} has been received yet" in capsys.readouterr().err


def test_one_command_is_listed_by_its_name(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cmd, ground, "--list", "cancel_job") == 0
    assert capsys.readouterr().out == "cancel_job  forget a job\n    job: u32\n"
    with pytest.raises(OrbitnodeError, match="did you mean 'cancel_job'"):
        run(cmd, ground, "--list", "cancel_jb")


def test_rows_of_a_report_are_rows_of_the_table() -> None:
    first = {"note": "x", "entries[0].at": 1, "entries[0].command": "aa", "entries[1].at": 2, "entries[1].command": ""}
    assert cmd.report_rows([first, {"job": 3}, {}]) == [
        {"note": "x", "at": 1, "command": "aa"},
        {"note": "x", "at": 2, "command": ""},
        {"job": 3},
    ]


def test_a_second_name_is_answered_with_one_at_a_time(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tm, ground, "power.soc", "thermal.board")
    assert ended.value.code == 2
    says = "one name at a time, such as power.soc_frac; TASK and --once belong to `orbitnode tm tasks`"
    assert says in capsys.readouterr().err


def test_a_list_of_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    class Answers:
        def lines(self, **request: Any) -> Iterator[dict[str, Any]]:
            yield {"done": True, **request, "reason": "", "round_trip_ms": None}

    for name, outcome, shown in (
        ("list_jobs", "completed", "no jobs\nlist_jobs completed\n"),
        ("list_jobs", "lost", "list_jobs lost\n"),
        ("ping", "completed", "ping completed\n"),
    ):
        answers: Any = Answers()
        cmd.command(answers, {"name": name, "outcome": outcome}, as_json=False)
        assert capsys.readouterr().out == shown


def test_ping_telemetry_events_and_a_clean_end(
    ground: Ground, node: LittleNode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Ctrl-C ends it" in ground.welcome
    assert run(cmd, ground, "ping", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [x["stage"] for x in lines[:-1]] == ["sent", "acknowledged", "accepted", "started", "completed"]
    assert lines[-1]["outcome"] == "completed" and lines[-1]["round_trip_ms"] > 0

    assert run(cmd, ground, "ping", "--json", "--bypass") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["outcome"] == "completed"

    assert run(cmd, ground, "report_parameters", "soc_min", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (report,) = [x for x in lines if "report" in x]
    assert report["report"] == "parameter_values" and report["values"]["parameter"] == "soc_min"
    assert run(cmd, ground, "report_parameters", "soc_min") == 0
    assert "parameter_values" in capsys.readouterr().out

    assert run(cmd, ground, "set_parameters", "soc_min=5", "--raw") == 1
    assert "acceptance failed: argument out of range" in capsys.readouterr().out

    node.tm(1, 3, 25, b"\x00\x01" + make().structures[0].layout.encode([0.3, 8.0, 1, -5]))
    node.tm(1, 5, 2, b"\x00\x02\x00")
    wait_until(lambda: run(tm, ground, "power", "--json") == 0, "power came down")
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["power.soc"]["state"] == "yellow" and values["power.mode"]["value"] == "idle"
    assert run(tm, ground) == 0 and "power.battery" in capsys.readouterr().out
    assert run(tm, ground, "ground") == 0
    assert re.search(r"^contact\n.*\nudp\.datagrams +[\d,]+\n", capsys.readouterr().out, re.DOTALL)
    assert run(tm, ground, "ground", "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert state["contact"] is True and state["counters"]["udp.dropped"] == 0 and state["strangers"] == 0
    wait_until(lambda: run(events, ground, "--json") == 0 and capsys.readouterr().out, "the event came down")
    assert run(events, ground) == 0 and "mode safe" in capsys.readouterr().out
    assert run(cmd, ground, "--list") == 0 and "deadline_s: f32 from 1 s, default 600.0" in capsys.readouterr().out

    assert ground.stop() == 0
    with reading(ground.folder / "archive.db") as archive:
        assert [c.outcome for c in archive.commands()][-2:] == ["completed", "rejected"]


def test_a_further_link_has_a_port_of_its_own(tmp_path: Path) -> None:
    """Frames of a simplex link come to their own port, and count beside those of the station's own link."""
    config = AosConfig(coding="frame")
    session = AosSession(config)
    ports = [free_port(socket.SOCK_DGRAM) for _ in range(3)]
    with Archive(tmp_path / "archive.db") as archive:
        station = GroundStation(
            make(),
            GroundSession(BARE),
            epoch_tai_ns=0,
            archive=archive.enter(make()),
            further_links={"x-band": session},
        )
        server = GroundServer(
            station, archive, GroundConfig(api_port=free_port(socket.SOCK_STREAM)),
            UdpLink("127.0.0.1", ports[0], "127.0.0.1", ports[1]),
            receivers={"x-band": UdpLink("127.0.0.1", ports[2], "127.0.0.1", 1)},
        )  # fmt: skip

        async def serve() -> None:
            running = asyncio.create_task(server.run())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
                while not session.counters.frames:
                    assert not running.done()
                    node.sendto(unit_of(AosFlightLink(config)), ("127.0.0.1", ports[2]))
                    await asyncio.sleep(0.01)
            server.stop()
            await running

        asyncio.run(asyncio.wait_for(serve(), 30))
        assert station.counters()["links.x-band.link.frames"] == session.counters.frames >= 1
        assert station.counters()["links.x-band.udp.datagrams"] == session.counters.frames
        assert station.counters()["link.frames"] == 0 and not station.in_contact
