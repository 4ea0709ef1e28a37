"""The ground in real time: telemetry over UDP, CLTUs back, and an API of JSON lines for cmd, tm and events. Edge code.

API, one JSON object a line on 127.0.0.1; `do` says what is asked, every answer ends with a line that has "done" or
"error":

    {"do": "status"}                              -> counters and contact
    {"do": "commands"}                            -> the commands of the dictionary
    {"do": "command", "name": ..., "texts": [...] | "arguments": {...}, "raw": false, "bypass": false,
     "timeout_s": 30}                             -> a line a stage, then the outcome
    {"do": "schedule", "name": ..., "texts": [...] | "arguments": {...}, "at": "+90" | "2026-03-20T10:00:00Z",
     "group": 0, "sub_schedule": 0}               -> as for a command: how its insertion into the schedule fares
    {"do": "upload", "name": ..., "octets": "4f50...", "timeout_s": 30}
                                                  -> a line for what has arrived, then the outcome: "completed" if
                                                     the node said so, else "failed" or "unconfirmed", with a reason
    {"do": "parameters"}                          -> the settings of the dictionary with their newest values
    {"do": "latest", "name": "power"}             -> newest values whose name begins so
    {"do": "events", "limit": 50, "severity": ""} -> newest events, oldest first
    {"do": "follow", "what": "packets" | "events", "name": ""} -> lines until the connection ends
"""

from __future__ import annotations

import asyncio
import errno
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError, SetupError
from flight.core.nanoseconds import NS, tai_from_unix, utc_text
from flight.linux.ending_signals import ending_signals
from flight.linux.log_sink import LogSink
from ground.changes import Change, Packet
from ground.commands.commanding import describe_field, find_command, parse_arguments
from ground.commands.names import choices
from ground.commands.release_time import release_tai_ns
from ground.config import GroundConfig
from ground.link.mission_link import UdpLink
from ground.operator import CommandRecord
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from ground.telemetry.decoder import EVENT, REPORT, TIME_REPORT, VERIFICATION, DecodedPacket, parameter_rows

LINE_OCTETS_MAX = 1 << 16
BACKLOG_OCTETS_MAX = 1 << 20
_NO_ANSWERS = (VERIFICATION, TIME_REPORT[0])  # what comes while a command is open without answering it
_TIMER_S = 0.05
_COMMIT_S = 1.0
_QUIET_STATUS_S = 10.0
_NAMES = {"do", "name", "octets", "texts", "arguments", "raw", "bypass", "timeout_s", "limit", "severity", "what",
          "at", "group", "sub_schedule"}  # fmt: skip
# What a value of a strange kind may raise where our own checks have a hole: it must not cost the connection.
_REQUEST_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def epoch_tai_ns() -> int:
    """TAI at the zero of the monotonic clock, by the machine's idea of UTC."""
    return tai_from_unix(time.time_ns()) - time.monotonic_ns()


class _Telemetry(asyncio.DatagramProtocol):
    """The UDP port that frames come to."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._receive(data)


class _Uplink(asyncio.DatagramProtocol):
    """The UDP socket that CLTUs leave by; a node that is not there shows as refusals."""

    def __init__(self) -> None:
        self.refused = 0

    def error_received(self, exc: Exception) -> None:
        self.refused += 1


class GroundServer:
    """Runs one GroundStation until stopped."""

    def __init__(
        self,
        station: GroundStation,
        archive: Archive,
        config: GroundConfig,
        link: UdpLink,
        sink: LogSink | None = None,
        receivers: Mapping[str, UdpLink] | None = None,
    ) -> None:
        """`sink` is what stderr goes through, for `status` to say what of it was lost. `receivers` are the ports of the
        station's further links, by name."""
        self._receivers = {} if receivers is None else receivers
        self._sink = sink
        self.station = station
        self._archive = archive
        self._config = config
        self._link = link
        self._uplink: asyncio.DatagramTransport | None = None
        self._stop: asyncio.Event | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._dropped_lines = 0
        self._request_faults = 0

    async def run(self) -> None:
        """Serve until a signal or `stop`. Raises SetupError for a port that cannot be had."""
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with AsyncExitStack() as ports:
            for name, link in {"": self._link, **self._receivers}.items():
                ports.callback((await self._listen(name, link)).close)
            self._uplink, _ = await _bound(
                loop.create_datagram_endpoint(_Uplink, remote_addr=(self._link.node_host, self._link.node_port)),
                "UDP", self._link.node_port, "check ground.node_host",
            )  # fmt: skip
            ports.callback(self._uplink.close)
            api = await _bound(
                asyncio.start_server(self._connected, "127.0.0.1", self._config.api_port, limit=LINE_OCTETS_MAX),
                "TCP", self._config.api_port, "is another ground running? end it, or set ground.api_port",
            )  # fmt: skip
            for number in ending_signals():
                loop.add_signal_handler(number, self._stop.set)
            async with api:
                print(self._welcome(), file=sys.stderr, flush=True)
                await self._until_stopped()
                api.close()
                for one in list(self._clients):
                    one.cancel()
                await asyncio.gather(*self._clients, return_exceptions=True)
        self.station.close(time.monotonic_ns())

    async def _listen(self, name: str, link: UdpLink) -> asyncio.DatagramTransport:
        """The port that frames of this link come to; the station's own has no name."""
        transport, _ = await _bound(
            asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Telemetry(lambda octets: self._receive(octets, name)),
                local_addr=(link.listen_host, link.listen_port),
            ),
            "UDP", link.listen_port, "is another ground running? end it, or change the link's driver",
        )  # fmt: skip
        return cast("asyncio.DatagramTransport", transport)

    def stop(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _welcome(self) -> str:
        link, dictionary = self._link, self.station.dictionary
        further = "".join(f", {name} on UDP {one.listen_port}" for name, one in self._receivers.items())
        return (
            f"ground of {dictionary.mission}: TM on UDP {link.listen_port}{further}, "
            f"CLTUs to {link.node_host}:{link.node_port}, API on 127.0.0.1:{self._config.api_port}, "
            f"archive {self._archive.path}; Ctrl-C ends it"
        )

    async def _until_stopped(self) -> None:
        """Timers, commits and the status line."""
        assert self._stop is not None
        commit_s = status_s = time.monotonic()
        live = sys.stderr.isatty()
        while not self._stop.is_set():
            self._send(self.station.on_time(time.monotonic_ns()))
            now_s = time.monotonic()
            if now_s >= commit_s:
                commit_s = now_s + _COMMIT_S
                self.station.commit()
            if now_s >= status_s:
                status_s = now_s + (_COMMIT_S if live else _QUIET_STATUS_S)
                end, start = ("", "\r\x1b[2K") if live else ("\n", "")
                print(start + self._status_line(), end=end, file=sys.stderr, flush=True)
            try:
                await asyncio.wait_for(self._stop.wait(), _TIMER_S)
            except TimeoutError:
                continue
        if live:
            print(file=sys.stderr)

    def _status_line(self) -> str:
        station = self.station
        counters, commands = station.session.counters, station.tracker.counters
        contact = "contact" if station.in_contact else "no contact"
        rejected = sum(counters.frames_rejected.values())
        coding = station.session.decoder.counters if station.session.decoder is not None else None
        faults, twice = station.station_counters.storage_faults, station.station_counters.packets_duplicate
        return (
            f"{utc_text(station.tai_ns(time.monotonic_ns()))[11:19]} {contact} | frames {counters.frames:,}, "
            f"missed {counters.frames_missed}, rejected {rejected}"
            + (f", {coding.symbols_corrected:,} symbols corrected" if coding is not None and coding.codewords else "")
            + f" | packets {counters.packets:,} | "
            f"commands {commands.completed}/{commands.sent} | alarms {station.station_counters.alarms}"
            + (f" | received twice {twice}" if twice else "")
            + (f" | storage faults {faults}" if faults else "")
        )

    def _receive(self, octets: bytes, link: str) -> None:
        self._send(self.station.on_downlink(octets, time.monotonic_ns(), link))

    def _send(self, cltus: list[bytes]) -> None:
        for one in cltus:
            if self._uplink is not None:
                self._uplink.sendto(one)

    # The API

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._clients) >= self._config.clients:
                _put(writer, {"error": f"{len(self._clients)} clients are connected, ground.clients admits no more"})
                return
            self._clients.add(task)
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client is gone, or the ground ends: either way there is nobody to tell
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                _put(writer, {"error": f"a request is one line of at most {LINE_OCTETS_MAX} octets"})
                return
            if not line:
                return
            try:
                await self._answer(_request(line), reader, writer)
            except OrbitnodeError as error:
                _put(writer, {"error": str(error)})
            except _REQUEST_FAULTS as error:
                self._request_faults += 1
                _put(writer, {"error": f"the request cannot be served: {type(error).__name__}: {error}"})
            await writer.drain()

    async def _answer(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match request.get("do"):
            case "status":
                state: dict[str, Plain] = {"contact": self.station.in_contact, "dropped_lines": self._dropped_lines}
                state["request_faults"] = self._request_faults
                if self._sink is not None:
                    state |= {"log_lines_lost": self._sink.lost, "log_fault": self._sink.fault}
                _put(writer, {"done": True, **state, "counters": self.station.counters()})
            case "commands":
                _put(writer, {"done": True, "commands": command_list(self.station.dictionary)})
            case "latest":
                name = request.get("name", "")
                values = self._latest(name)
                if not values:
                    self._check_known(name)
                _put(writer, {"done": True, "values": values})
            case "events":
                rows = [
                    _event(e.time_ns, e.name, e.severity, e.text)
                    for e in sorted(self.station.events, key=lambda e: e.time_ns)
                ]
                wanted = request.get("severity", "")
                chosen = [row for row in rows if wanted in ("", row["severity"])]
                _put(writer, {"done": True, "events": chosen[-request.get("limit", 50) :]})
            case "command" | "schedule":
                await self._command(request, writer)
            case "upload":
                await self._upload(request, writer)
            case "parameters":
                _put(writer, {"done": True, "parameters": self._parameters()})
            case "follow":
                await self._follow(request, reader, writer)
            case other:
                raise OrbitnodeError(f"request {other!r} is not known")

    def _latest(self, name: str) -> dict[str, dict[str, Plain]]:
        """Newest values of the parameters called `name`, of the structure `name`, or of all."""
        now_ns = self.station.tai_ns(time.monotonic_ns())
        return {
            key: {"value": _jsonable(one.value), "raw": _jsonable(one.raw), "unit": one.unit, "state": one.state,
                  "time": utc_text(one.time_ns), "age_s": round((now_ns - one.time_ns) / NS, 3)}
            for key, one in sorted(self.station.latest.items())
            if not name or key == name or key.startswith(f"{name}.")
        }  # fmt: skip

    def _check_known(self, name: str) -> None:
        """Raises OrbitnodeError for a name that no telemetry will ever have; structures defined from ground, and those
        that hold rows, may still bring it."""
        structures = {s.name: s for s in self.station.dictionary.structures}
        head, dot, _ = name.partition(".")
        if not name or head.startswith("hk-") or head in ("correlation", "parameter"):
            return
        one = structures.get(head)
        if one is None:
            raise OrbitnodeError(f"no telemetry is called {name!r}, {choices(head, list(structures))}")
        fields = [f"{head}.{f.name}" for f in one.fields]
        if dot and name not in fields and not any(f.type == "rows" for f in one.fields):
            raise OrbitnodeError(f"no telemetry is called {name!r}, {choices(name, fields)}")

    def _parameters(self) -> list[dict[str, Any]]:
        """The settings as the dictionary's document has them, and `latest`: the newest value, None before one came."""
        latest = self._latest("parameter")
        rows: list[dict[str, Any]] = self.station.dictionary.document()["settings"]
        return [row | {"latest": latest.get(f"parameter.{row['name']}")} for row in rows]

    async def _upload(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """Send a file up; a line whenever more of it has arrived, then the outcome."""
        try:
            octets = bytes.fromhex(request.get("octets", ""))
        except ValueError:
            raise OrbitnodeError("request: octets are hexadecimal") from None
        changed = asyncio.Event()

        def on_change(change: Change, what: object) -> None:
            if change is Change.UPLOAD:
                changed.set()

        self.station.listen(on_change)
        try:
            timeout_s = request.get("timeout_s", self._config.command_timeout_s)
            upload, cltus = self.station.upload(request.get("name", ""), octets, time.monotonic_ns(), timeout_s)
            self._send(cltus)
            arrived = 0
            while not upload.outcome:
                changed.clear()
                await changed.wait()
                if upload.acknowledged > arrived:
                    arrived = upload.acknowledged
                    _put(writer, {"arrived": arrived, "of": upload.pdus})
                    await writer.drain()
        finally:
            self.station.unlisten(on_change)
        end = {"outcome": upload.outcome, "reason": upload.reason, "said": upload.said, "transaction": upload.number}
        _put(writer, {"done": True, "name": upload.name, **end})

    async def _command(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """Send a command; a line for each stage and each report of data as they come, then the outcome."""
        name = request.get("name", "")
        arguments = dict(request.get("arguments", {}))
        if "texts" in request:
            arguments |= parse_arguments(find_command(self.station.dictionary, name), request["texts"])
        changed = asyncio.Event()
        record: CommandRecord | None = None

        def on_change(change: Change, what: object) -> None:
            if change is Change.COMMAND:
                changed.set()
            elif change is Change.PACKET and isinstance(what, Packet) and what.decoded is not None:
                packet = what.decoded
                if record is not None and packet.kind == REPORT and packet.service not in _NO_ANSWERS:
                    for values in _rows(self.station.dictionary, packet):
                        if writer.transport.get_write_buffer_size() > BACKLOG_OCTETS_MAX:
                            self._dropped_lines += 1
                            continue
                        _put(writer, {"report": packet.name, "values": values})

        self.station.listen(on_change)
        try:
            record, about, cltus = self._give(name, arguments, request)
            self._send(cltus)
            shown = 0
            while True:
                changed.clear()
                for stage in record.stages[shown:]:
                    ms = (stage.now_ns - record.stages[0].now_ns) / 1e6
                    _put(writer, {"stage": stage.name, "ms": round(ms, 3), "detail": stage.detail})
                shown = len(record.stages)
                if not record.is_open:
                    break
                await writer.drain()
                await changed.wait()
        finally:
            self.station.unlisten(on_change)
        trip_ns = record.round_trip_ns
        _put(
            writer,
            {"done": True, "number": record.number, "name": record.name, "arguments": dict(record.arguments),
             "outcome": record.outcome, "reason": record.reason, "code": record.code,
             "round_trip_ms": None if trip_ns is None else round(trip_ns / 1e6, 3)} | about,
        )  # fmt: skip

    def _give(
        self, name: str, arguments: dict[str, object], request: dict[str, Any]
    ) -> tuple[CommandRecord, dict[str, Any], list[bytes]]:
        """Send a command, or the insertion of one into the schedule: record, what more to say, CLTUs."""
        station, now_ns = self.station, time.monotonic_ns()
        if request["do"] == "schedule":
            release_ns = release_tai_ns(request.get("at", ""), station.onboard_tai_ns(now_ns))
            record, scheduled, cltus = station.schedule(
                name, arguments, release_ns, now_ns,
                group=request.get("group", 0), sub_schedule=request.get("sub_schedule", 0),
            )  # fmt: skip
            about = {"scheduled": scheduled.number, "apid": scheduled.apid, "seq": scheduled.seq,
                     "release": utc_text(release_ns)}  # fmt: skip
            return record, about, cltus
        record, cltus = station.send(
            name, arguments, now_ns, raw=request.get("raw", False),
            bypass=request.get("bypass", False), timeout_s=request.get("timeout_s"),
        )  # fmt: skip
        return record, {}, cltus

    async def _follow(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Packets or events as they come, until the client goes. One that does not read loses lines, counted."""
        name, events_only = request.get("name", ""), request.get("what") == "events"

        def on_change(change: Change, what: object) -> None:
            if change is not Change.PACKET or not isinstance(what, Packet) or what.decoded is None:
                return
            packet = what.decoded
            if (events_only and packet.kind != EVENT) or (name and packet.name != name.partition(".")[0]):
                return
            if writer.transport.get_write_buffer_size() > BACKLOG_OCTETS_MAX:
                self._dropped_lines += 1
                return
            _put(writer, self._packet(packet))

        self.station.listen(on_change)
        try:
            await reader.read(1)  # anything, or the end
        finally:
            self.station.unlisten(on_change)
        _put(writer, {"done": True})

    def _packet(self, packet: DecodedPacket) -> dict[str, Any]:
        time_ns = packet.time_ns or 0
        if packet.kind == EVENT:
            return _event(time_ns, packet.name, packet.severity, packet.text)
        latest = self.station.latest
        states = {n: latest[key].state for n in packet.values if (key := f"{packet.name}.{n}") in latest}
        values = {n: _jsonable(v) for n, v in packet.values.items()}
        kind, when = packet.kind, utc_text(time_ns)
        return {"packet": packet.name, "kind": kind, "time": when, "values": values, "states": states}


def _rows(dictionary: Dictionary, packet: DecodedPacket) -> list[dict[str, Plain]]:
    """The values of a report; of parameters one row each, by name. Of a report that has nothing to tell, none."""
    report = next((r for r in dictionary.reports if r.name == packet.name), None)
    if report is None or not report.fields:
        return []
    names: dict[int, Plain] = {setting.number: setting.name for setting in dictionary.settings}
    rows = parameter_rows(packet)
    if rows:
        return [{"parameter": names.get(number, number), "value": _jsonable(value)} for number, value in rows]
    every = (f for one in report.fields for f in (one, *one.fields))
    times = {one.name for one in every if one.type == "time"}
    return [{name: _shown(name.rpartition(".")[2] in times, value) for name, value in packet.values.items()}]


def _shown(is_time: bool, value: Plain) -> Plain:
    """A value for a report that answers a command: packet time as UTC, zero as none."""
    if is_time and isinstance(value, int):
        return utc_text(value) if value else ""
    return _jsonable(value)


async def _bound(opening: Any, kind: str, port: int, remedy: str) -> Any:
    """Open a port, or say in one line why not and what to do."""
    try:
        return await opening
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise SetupError(f"{kind} port {port}: {reason}; {remedy}") from None


def _request(line: bytes) -> dict[str, Any]:
    """One request with the types it should have; raises OrbitnodeError."""
    try:
        made = json.loads(line)
    except (ValueError, RecursionError):
        raise OrbitnodeError("a request is one JSON object a line") from None
    if not isinstance(made, dict) or not made.keys() <= _NAMES:
        raise OrbitnodeError(f"a request is a JSON object with some of {', '.join(sorted(_NAMES))}")
    kinds: dict[str, type | tuple[type, ...]] = {
        "do": str, "name": str, "octets": str, "texts": list, "arguments": dict, "raw": bool, "bypass": bool,
        "timeout_s": (int, float), "limit": int, "severity": str, "what": str,
        "at": str, "group": int, "sub_schedule": int,
    }  # fmt: skip
    for name, value in made.items():
        if not isinstance(value, kinds[name]):
            raise OrbitnodeError(f"request: {name} is of the wrong type")
    if not all(isinstance(text, str) for text in made.get("texts", [])):
        raise OrbitnodeError("request: texts are texts")
    if not 0 < made.get("timeout_s", 1) <= 86400 or made.get("limit", 1) < 1:
        raise OrbitnodeError("request: timeout_s is above 0 and at most 86400, limit at least 1")
    return made


def _event(time_ns: int, name: str, severity: str, text: str) -> dict[str, Any]:
    return {"time": utc_text(time_ns), "event": name, "severity": severity, "text": text}


def _jsonable(value: Plain) -> Plain:
    """JSON has no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _put(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(line).encode() + b"\n")


def command_list(dictionary: Dictionary) -> list[dict[str, Any]]:
    """Every command with its arguments, for people to choose from."""
    return [
        {"name": c.name, "text": c.text,
         "arguments": [{"name": f.name, "is": describe_field(f), "text": f.text, "default": f.default}
                       for f in c.arguments]}
        for c in dictionary.commands
    ]  # fmt: skip
