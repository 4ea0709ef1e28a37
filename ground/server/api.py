"""The API of the ground, for cmd, tm, events, procedures and programs of others: JSON lines on 127.0.0.1.

One JSON object per line; `do` says what is asked, every answer ends with a line that has "done" or "error". The first
request of a connection shows the token of this ground (ground/server/api_token.py), within HELLO_S; nothing is done
before that:

    {"do": "hello", "token": "5e1f..."}           -> "done"

A connection ends with the first line that is not a request: not a JSON object with a `do`, or too long. A request
that is wrong costs nothing but an error in answer. A client that ends its side of the connection counts as gone, even
if a request of it is under way; the command or file that it sent goes on.

    {"do": "status"}                              -> counters and contact, packets that wait undecoded
    {"do": "commands"}                            -> the commands of the dictionary
    {"do": "dictionary"}                          -> all of it, as `orbitnode dictionary --json` writes it
    {"do": "command", "name": ..., "texts": [...] | "arguments": {...}, "raw": false, "bypass": false,
     "timeout_s": 30}                             -> a line per stage, then the outcome
    {"do": "schedule", "name": ..., "texts": [...] | "arguments": {...}, "at": "+90" | "2026-03-20T10:00:00Z",
     "group": 0, "sub_schedule": 0}               -> as for a command: how its insertion into the schedule fares
    {"do": "files_put", "name": "uploads/a", "path": "/home/a" | "octets": "4f50...", "class": 2, "wait": true,
     "timeout_s": 30}                             -> a line with the transaction, lines with the octets there, then the
                                                     outcome: "completed" if the node has the file, "failed", or
                                                     "unconfirmed" (class 1), with a reason. The file is copied first.
                                                     Without "wait" the first line is the last. With `timeout_s` it is
                                                     given up if nothing more arrives for so long
    {"do": "files_get", "name": "products/a", "wait": true, "timeout_s": 30}
                                                  -> the same for a file of the node; with `path`, `octets` and `sha256`
                                                     of what came
    {"do": "files_progress", "missing": false}    -> transfers that ended lately and those that are open; with "missing"
                                                     each has the octets that lack, as ranges [start, end)
    {"do": "files_lead", "action": "cancel" | "suspend" | "resume", "transaction": "1.17"}
                                                  -> "done"
    {"do": "link", "action": "status"}            -> the command link: FOP-1, queues, newest CLCW
    {"do": "link", "action": "auto" | "initiate-clcw" | "set-window" ..., "value": 5}
                                                  -> the same after it was done; all of them are in
                                                     ground/link/cop1/directive_values.py
    {"do": "parameters"}                          -> the settings of the dictionary with their newest values
    {"do": "latest", "name": "power"}             -> newest values of that structure, parameter, or all
    {"do": "events", "limit": 50, "severity": ""} -> newest events, oldest first
    {"do": "identity"}                            -> whose ground it is: node, spacecraft_id, fingerprint of its master
                                                     key; the link that it commands over, and what else it hears
    {"do": "procedure", "octets": "0100..."}      -> what the ground's own end made of this procedure of 355.1
    {"do": "send_over", "spi": 2}                 -> whether telecommands go over this association from now on
    {"do": "leap_seconds"}                        -> the ground's table: rows of [MJD, TAI - UTC from then on], and
                                                     expires_mjd; old: whether that day has come
    {"do": "follow", "what": "packets" | "events", "name": ""} -> lines until the client sends anything or goes

An operator's session, one per connection, does what ground.operator.Operator says. Packets are kept for it from its
beginning on, and from each of its commands on.

    {"do": "operate"}                             -> the ground's timeline (now_s) and the same instant in UTC (time)
                                                     and TAI (tai_ns), with leap_seconds as below
    {"do": "send", "name": ..., "arguments": {...}, "raw": false}
                                                  -> the record, once it has ended
    {"do": "wait_for", "name": "power", "timeout_s": 20}
                                                  -> values of the next such packet, null if none came in time; and
                                                     not_finite, names of numbers that are texts here, such as "nan"
    {"do": "wait_contact", "timeout_s": 3600}     -> whether the node is heard
"""

# States of a connection:
#
#   stranger --the token within HELLO_S--> client, or closed with a reason if `ground.clients` are there
#   stranger --anything else, silence, or STRANGERS_MAX newer ones--> closed, counted, told why if it still listens
#   client   --a request that is wrong--> client, with an error in answer
#   client   --a line that is not a request, the end of its side, or UNREAD_S without reading--> closed
#
# Why a line that is not a request ends the connection (ADR 0035): a web page can make a browser send an HTTP request to
# this port, with text of its choice in the body. A server that answers the header with an error and reads on would
# execute the body. Whoever does not speak this protocol is not listened to any further, whether or not it is known.
#
# Strangers have a list of their own and take no client's place. When too many wait, the oldest goes: somebody who opens
# connections and says nothing can then keep nobody out.
#
# Requests of one client are answered one after the other, each to its end. A client that wants to wait and to command
# at the same time has two connections. Every list, line and wait has a bound: lines LINE_OCTETS_MAX, clients
# `ground.clients`, waits WAIT_S_MAX, and what waits to be read BACKLOG_OCTETS_MAX (connection.py).

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.linux.log_sink import LogSink
from ground.changes import Change, Packet
from ground.config import GroundConfig
from ground.link.cop1.directive_values import STATUS
from ground.server.api_token import ApiToken
from ground.server.command_answers import Transmit, command, command_list, listening
from ground.server.connection import ApiCounters, Connection
from ground.server.file_answers import get_file, on_transfers, put_file
from ground.server.operating import Operating
from ground.server.requests import LINE_OCTETS_MAX, NotARequest, read_request
from ground.server.security_answers import on_security
from ground.server.telemetry_answers import events, latest, packet_line, parameters
from ground.station import GroundStation
from ground.telemetry.decoder import EVENT

HELLO_S = 10.0
STRANGERS_MAX = 64  # connections that have not shown the token yet

# What a value of an unexpected kind may raise if our own checks have a hole: it must not cost the connection, nor the
# ground. Not `Exception`: a fault of another class is ours, and goes to the loop's handler, which counts it.
_REQUEST_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Services:
    """What requests are answered from, for those who show `token`.

    transmit: takes the CLTUs of commands. sink: what stderr goes through, so that `status` can say what of it was lost.
    link: the one that it commands over. hears: further ones that it listens to.
    """

    station: GroundStation
    config: GroundConfig
    transmit: Transmit
    token: ApiToken
    sink: LogSink | None = None
    counters: ApiCounters = field(default_factory=ApiCounters)
    link: str = ""
    hears: tuple[str, ...] = ()


class Api:
    """Serves every client until it goes, or until `close`. A connection is a stranger until it has shown the token."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._strangers: dict[asyncio.Task[None], None] = {}  # oldest first
        self._clients: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection: to its end if it shows the token and there is room for it, else not at all."""
        client = Connection(reader, writer, self._services.counters)
        try:
            if await self._is_known(client):
                await self._serve(client)
        except (OSError, asyncio.CancelledError):
            pass  # the client is gone, or the ground ends: in either case nobody is there to answer
        finally:
            client.close()

    async def close(self) -> None:
        """End every connection, and wait until that is done."""
        tasks = [*self._strangers, *self._clients]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _is_known(self, client: Connection) -> bool:
        """Return whether it shows the token. One that does not is counted, and told why unless it has gone."""
        task = _current_task()
        self._strangers[task] = None
        if len(self._strangers) > STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            # Removed at once: if more come before its task has ended, each of them must push out another one.
            del self._strangers[oldest]
            oldest.cancel()
        known = False
        try:
            await asyncio.wait_for(_hello(client, self._services.token), HELLO_S)
            known = True
        except OrbitnodeError as error:
            client.put({"error": str(error)})
        except TimeoutError:
            client.put({"error": f"no hello within {HELLO_S:g} s"})
        finally:
            self._strangers.pop(task, None)
            self._services.counters.strangers += not known
        return known

    async def _serve(self, client: Connection) -> None:
        if len(self._clients) >= self._services.config.clients:
            number = f"{len(self._clients)} client{'s are' if len(self._clients) != 1 else ' is'}"
            client.put({"error": f"{number} connected, ground.clients admits no more"})
            return
        client.put({"done": True})
        task, session = _current_task(), ClientSession(self._services, client)
        self._clients.add(task)
        try:
            await session.serve()
        finally:
            self._clients.discard(task)
            session.close()


def _current_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _hello(client: Connection, token: ApiToken) -> None:
    """Read the first request. Raises OrbitnodeError if it does not show the token, ConnectionError if none comes."""
    line = await _next_line(client)
    if not line:
        raise ConnectionResetError
    request = read_request(line)
    if request["do"] != "hello":
        raise OrbitnodeError('a connection begins with {"do": "hello", "token": ...}')
    if not token.is_shown(request.get("token", "")):
        raise OrbitnodeError("the token is not that of this ground, which makes a new one at each start")


async def _next_line(client: Connection) -> bytes:
    """Return the next request, empty at the end. Raises NotARequest for a line that is too long."""
    try:
        return await client.read_line()
    except ValueError:
        raise NotARequest(f"a request is one line of at most {LINE_OCTETS_MAX} octets") from None


class ClientSession:
    """Answers one client's requests, one after the other."""

    def __init__(self, services: Services, client: Connection) -> None:
        self._services = services
        self._station = services.station
        self._client = client
        self._operating: Operating | None = None

    def close(self) -> None:
        """End the operator's session, if there is one: the client is gone."""
        if self._operating is not None:
            self._operating.close()

    async def serve(self) -> None:
        """Answer until the client goes.

        A request that is refused, or that fails by a hole in our checks, costs nothing but an error in answer. A line
        that is not a request ends the connection.
        """
        while True:
            try:
                line = await _next_line(self._client)
                if not line:
                    return
                await self.answer(read_request(line))
            except NotARequest as error:
                self._client.put({"error": str(error)})
                return
            except OrbitnodeError as error:
                self._client.put({"error": str(error)})
            except _REQUEST_FAULTS as error:
                self._services.counters.request_faults += 1
                self._client.put({"error": f"the request cannot be served: {type(error).__name__}: {error}"})
            await self._client.drain()

    async def answer(self, request: dict[str, Any]) -> None:
        """Answer one request. Raises OrbitnodeError."""
        station, client = self._station, self._client
        match request.get("do"):
            case "command" | "schedule":
                await command(station, self._services.transmit, request, client)
            case "files_put" | "files_get":
                await (put_file if request["do"] == "files_put" else get_file)(
                    station, self._services.transmit, request, client
                )
            case "follow":
                await self._follow(request)
            case "operate" | "send" | "wait_for" | "wait_contact" as asked:
                self._done(**await self._operate(asked, request))
            case asked:
                self._done(**self._known(asked, request))

    def _known(self, asked: object, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request for which nothing has to be waited. Raises OrbitnodeError."""
        station, now_ns = self._station, time.monotonic_ns()
        match asked:
            case "hello":
                return {}  # once more: the client is known already
            case "status":
                return self._status()
            case "commands":
                return {"commands": command_list(station.dictionary)}
            case "dictionary":
                return {"dictionary": station.dictionary.document()}
            case "latest":
                return {"values": latest(station, request.get("name", ""), now_ns)}
            case "events":
                return {"events": events(station, request.get("severity", ""), request.get("limit", 50))}
            case "identity" | "procedure" | "send_over":
                return on_security(station, request, self._services.link, self._services.hears)
            case "link":
                return {"link": self._lead(request, now_ns)}
            case "parameters":
                return {"parameters": parameters(station, now_ns)}
            case "files_progress" | "files_lead":
                return on_transfers(station, self._services.transmit, request, now_ns)
            case "leap_seconds":
                table = station.leap_seconds
                return {**table.document(), "old": table.is_old(station.tai_ns(now_ns))}
            case other:
                raise OrbitnodeError(f"unknown request {other!r}")

    def _lead(self, request: dict[str, Any], now_ns: int) -> dict[str, object]:
        """Do what an operator asks of the command link, and return how it is. Raises OrbitnodeError."""
        station, action = self._station, request.get("action", STATUS)
        if action != STATUS:
            self._services.transmit(station.lead(action, request.get("value"), now_ns))
        return {"contact": station.in_contact, **station.session.status(now_ns)}

    @property
    def _config(self) -> GroundConfig:
        return self._services.config

    def _done(self, **answer: Any) -> None:
        self._client.put({"done": True, **answer})

    def _status(self) -> dict[str, Any]:
        counters, sink = self._services.counters, self._services.sink
        state: dict[str, Plain] = {
            "contact": self._station.in_contact, "undecoded": self._station.undecoded, **asdict(counters),
        }  # fmt: skip
        if sink is not None:
            state |= {"log_lines_lost": sink.lost, "log_fault": sink.fault}
        return {**state, "counters": self._station.counters()}

    async def _operate(self, asked: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request of an operator's session, which `operate` begins. Raises OrbitnodeError."""
        if asked == "operate":
            if self._operating is not None:
                raise OrbitnodeError("this connection has an operator's session already, it can have one")
            services = self._services
            self._operating = Operating(self._station, services.transmit, self._client, services.counters)
            return self._operating.begin(self._config.command_timeout_s)
        if self._operating is None:
            raise OrbitnodeError(f'{asked} belongs to an operator\'s session, {{"do": "operate"}} begins one')
        if asked == "send":
            return await self._operating.send(request)
        if asked == "wait_for":
            return await self._operating.wait_for(request.get("name", ""), request.get("timeout_s", 0.0))
        return await self._operating.wait_contact(request.get("timeout_s", 0.0))

    async def _follow(self, request: dict[str, Any]) -> None:
        """Send packets or events as they come, until the client speaks or goes. One that does not read loses lines."""
        name, events_only = request.get("name", ""), request.get("what") == "events"

        def on_change(change: Change, what: object) -> None:
            if change is not Change.PACKET or not isinstance(what, Packet) or what.decoded is None:
                return
            packet = what.decoded
            if (events_only and packet.kind != EVENT) or (name and packet.name != name.partition(".")[0]):
                return
            self._client.offer(packet_line(self._station, packet))

        with listening(self._station, on_change):
            await self._client.spoken()
        self._done()
