"""The HTTP API of a Yamcs, as far as the tests ask it."""

# The verifiers of one command share a context, and Yamcs lets two threads into it: that of telemetry, and that of the
# command history. If a report comes in the frame that also acknowledges the command, as here, a verifier may miss it
# and gives up in the end. In 7,075 pings it happened once (5.12.8), with the report in the archive. So a command is
# given again if, and only if, that is how it was.

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from tests.waiting import GIVE_UP_S, wait_until

Json = dict[str, Any]
_SOURCE_DATA = 19  # octets before the source data of a PUS report
_STAGES = ("Accepted", "Execution", "Complete")
_MISSED_MAX = 3


class YamcsError(Exception):
    """What Yamcs answers if it refuses a request: its status and text."""


class YamcsClient:
    """One instance of a Yamcs on this machine."""

    def __init__(self, port: int, instance: str) -> None:
        self._root = f"http://127.0.0.1:{port}/api"
        self.instance = instance
        self.system = f"/{instance}"  # our node's space system has the name of the instance

    def ask(self, path: str, body: Json | None = None, query: Mapping[str, object] | None = None) -> Json:
        """Return the answer to a request. Raises YamcsError if it is refused, OSError if nobody is there."""
        octets = self.octets(path, body, query)
        answer: Json = json.loads(octets) if octets.strip() else {}
        return answer

    def octets(self, path: str, body: Json | None = None, query: Mapping[str, object] | None = None) -> bytes:
        """Return the answer as it came."""
        url = f"{self._root}/{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method="GET" if body is None else "POST")
        try:
            with urllib.request.urlopen(request, timeout=GIVE_UP_S) as answer:
                octets: bytes = answer.read()
                return octets
        except urllib.error.HTTPError as error:
            raise YamcsError(f"{error.code}: {error.read().decode(errors='replace')}") from None

    def is_up(self) -> bool:
        """Return whether the instance runs."""
        try:
            return self.ask(f"instances/{self.instance}").get("state") == "RUNNING"
        except (OSError, YamcsError):
            return False

    # Links and COP-1.

    def link(self, name: str) -> Json:
        """Return state and counts of a link."""
        return self.ask(f"links/{self.instance}/{name}")

    def cop1(self) -> Json:
        """Return the state of FOP-1."""
        return self.ask(f"cop1/{self.instance}/TC.vc0/status")

    def initialise_cop1(self, kind: str, **more: object) -> None:
        """Give the directive that begins the AD service: WITH_CLCW_CHECK, UNLOCK, SET_VR and the like."""
        self.ask(f"cop1/{self.instance}/TC.vc0:initialize", {"type": kind, **more})

    def disable_cop1(self) -> None:
        """End the AD service."""
        self.ask(f"cop1/{self.instance}/TC.vc0:disable", {"setBypassAll": False})

    # Commands.

    def issue(self, name: str, /, **arguments: object) -> str:
        """Issue a command and return its id. Raises YamcsError if Yamcs refuses it."""
        return self._issue(name, {"args": arguments})

    def issue_bypass(self, name: str, /, **arguments: object) -> str:
        """Issue a command that goes up as a BD frame."""
        bypass = {"cop1Bypass": {"type": "BOOLEAN", "booleanValue": True}}
        return self._issue(name, {"args": arguments, "extra": bypass})

    def _issue(self, name: str, body: Json) -> str:
        answer = self.ask(f"processors/{self.instance}/realtime/commands{self.system}/{name}", body)
        return str(answer["id"])

    def history(self, command: str) -> dict[str, Any]:
        """Return the attributes of a command so far."""
        answer = self.ask(f"archive/{self.instance}/commands/{quote(command)}")
        attributes = {each["name"]: value_of(each["value"]) for each in answer.get("attr", [])}
        return attributes | {"id": command}

    def outcome(self, command: str) -> dict[str, Any]:
        """Wait until the command has ended, well or not, or a verifier gave up; return its attributes."""
        wait_until(lambda: _is_over(self.history(command)), lambda: f"{command} has ended: {self.history(command)}")
        return self.history(command)

    def end_of(self, issue: Callable[[], str]) -> dict[str, Any]:
        """Issue a command and wait for its end, well or not; return its attributes. It may be issued more than once."""
        for _ in range(_MISSED_MAX):
            history = self.outcome(issue())
            if "CommandComplete_Status" in history or not self.has_missed(history):
                return history
        raise AssertionError(f"{_MISSED_MAX} times in a row Yamcs has missed a report that it has: {history}")

    def has_missed(self, history: dict[str, Any]) -> bool:
        """Return whether a verifier gave up although the last report of the command is in the archive."""
        request = history["binary"][:4]
        last = [
            packet for packet in self.packets() if packet["id"]["name"].endswith(("completion_success", "_failure"))
        ]
        return any(packet["octets"][_SOURCE_DATA:][:4] == request for packet in last)

    def do(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """Issue a command and wait for its end; return its attributes. Raises AssertionError if it did not go well."""
        history = self.end_of(lambda: self.issue(name, **arguments))
        assert history.get("CommandComplete_Status") == "OK", history
        return history

    # Telemetry.

    def packets(self) -> list[Json]:
        """Return the packets in the archive, the oldest first, each with its octets."""
        rows = self._pages(f"archive/{self.instance}/packets", "packet")
        return [row | {"octets": base64.b64decode(row["packet"])} for row in rows]

    def extracted(self, packet: Json) -> dict[str, Any]:
        """Return what Yamcs reads out of a packet of its archive: engineering values by the names of parameters."""
        name = quote(packet["id"]["name"], safe="")
        answer = self.ask(
            f"archive/{self.instance}/packets/{name}/{quote(packet['generationTime'])}"
            f"/{packet['sequenceNumber']}:extract"
        )
        return {
            value["parameter"]["name"]: (value_of(value["rawValue"]), value_of(value["engValue"]))
            for value in answer.get("parameterValues", [])
        }

    def newest(self, *parameters: str) -> dict[str, Json]:
        """Return the newest live values, each with its times, by the names of the parameters."""
        ids = [{"name": f"{self.system}/{name}"} for name in parameters]
        answer = self.ask(f"processors/{self.instance}/realtime/parameters:batchGet", {"id": ids, "fromCache": True})
        return {value["id"]["name"].rpartition("/")[2]: value for value in answer.get("value", [])}

    def live(self, parameter: str) -> Any:
        """Return the newest live value of a parameter, None if there was none."""
        return {name: value_of(value["engValue"]) for name, value in self.newest(parameter).items()}.get(parameter)

    def time_correlation(self) -> Json:
        """Return what the service that compares time reports with their reception has found."""
        return self.ask(f"tco/{self.instance}/tco0/status")

    # Files.

    def transfers(self, name: str) -> list[Json]:
        """Return the transfers of a file, the newest first. In a transfer down the node has the file in a directory."""
        rows: list[Json] = self.ask(self._transfers).get("transfers", [])
        return [row for row in rows if name in (row.get("objectName"), *row.get("remotePath", "").rsplit("/", 1))]

    def until_ended(self, name: str) -> Json:
        """Wait until the newest transfer of a file has ended, well or not, and return it."""
        ends = {"COMPLETED", "FAILED"}
        wait_until(
            lambda: (found := self.transfers(name)) and found[0]["state"] in ends,
            lambda: f"{name} is transferred: {self.transfers(name)}",
        )
        return self.transfers(name)[0]

    def until_transferred(self, name: str) -> Json:
        """Wait until the transfer of a file has ended well, and return it. Raises AssertionError if it has failed."""
        transfer = self.until_ended(name)
        assert transfer["state"] == "COMPLETED", transfer
        return transfer

    def upload(self, name: str, *, reliable: bool) -> None:
        """Send a file of the bucket cfdpUp up: by class 2 if reliable, else by class 1."""
        body = {
            "direction": "UPLOAD", "bucket": "cfdpUp", "objectName": name, "remotePath": name, "source": "ground",
            "destination": "node", "options": {"reliable": reliable},
        }  # fmt: skip
        self.ask(self._transfers, body)

    def download(self, path: str, name: str) -> None:
        """Ask the node for a file (proxy put), which comes into the bucket cfdpDown."""
        body = {
            "direction": "DOWNLOAD", "bucket": "cfdpDown", "objectName": name, "remotePath": path, "source": "node",
            "destination": "ground", "options": {"reliable": True},
        }  # fmt: skip
        self.ask(self._transfers, body)

    def cancel(self, transfer: Json) -> None:
        """Cancel a transfer."""
        self.ask(f"{self._transfers}/{transfer['id']}:cancel", {})

    def listing(self, directory: str) -> list[str]:
        """Ask the node for a list of a directory, wait for it, and return its lines."""
        where = {"source": "ground", "destination": "node", "remotePath": directory}
        self.ask(f"filetransfer/{self.instance}/cfdp0/files:sync", where)
        files: list[Json] = []

        def has_come() -> bool:
            files[:] = self.ask(f"filetransfer/{self.instance}/cfdp0/files", query=where).get("files", [])
            return bool(files)

        wait_until(has_come, f"the list of {directory}")
        return [each["name"] for each in files]

    @property
    def _transfers(self) -> str:
        return f"filetransfer/{self.instance}/cfdp0/transfers"

    def file(self, bucket: str, name: str) -> bytes:
        """Wait until a file is in a bucket, and return its content."""
        # Yamcs calls a transfer completed before it has put the file there.
        wait_until(lambda: name in self._objects(bucket), lambda: f"{name} in {bucket}: {self._objects(bucket)}")
        return self.octets(f"storage/buckets/{bucket}/objects/{name}")

    def _objects(self, bucket: str) -> list[str]:
        return [each["name"] for each in self.ask(f"storage/buckets/{bucket}/objects").get("objects", [])]

    def put_object(self, bucket: str, name: str, content: bytes) -> None:
        """Put a file into a bucket."""
        url = f"{self._root}/storage/buckets/{bucket}/objects/{name}"
        request = urllib.request.Request(url, content, {"Content-Type": "application/octet-stream"}, method="POST")
        with urllib.request.urlopen(request, timeout=GIVE_UP_S):
            pass

    # Events.

    def events(self) -> list[Json]:
        """Return the events of the archive, the oldest first."""
        return list(self._pages(f"archive/{self.instance}/events", "event"))

    def _pages(self, path: str, key: str) -> Iterator[Json]:
        query: dict[str, object] = {"order": "asc", "limit": 1000}
        while True:
            answer = self.ask(path, query=query)
            yield from answer.get(f"{key}s") or answer.get(key) or []
            if "continuationToken" not in answer:
                return
            query["next"] = answer["continuationToken"]


def _is_over(history: dict[str, Any]) -> bool:
    ended = history.get("CommandComplete_Status") in {"OK", "NOK"}
    return ended or "TIMEOUT" in {history.get(f"Verifier_{stage}_Status") for stage in _STAGES}


def value_of(value: Json) -> Any:
    """Return a value of the API as Python's."""
    kind = value["type"]
    if kind == "AGGREGATE":
        members = value["aggregateValue"]
        return {name: value_of(each) for name, each in zip(members["name"], members["value"], strict=True)}
    if kind == "ARRAY":
        return [value_of(each) for each in value.get("arrayValue", [])]
    key = kind.lower() + "Value" if kind not in {"ENUMERATED", "TIMESTAMP"} else "stringValue"
    found: Any = value.get(key, value.get("stringValue"))
    if kind in {"UINT64", "SINT64"}:
        return int(found)
    if kind in {"FLOAT", "DOUBLE"}:
        return float(found)  # "NaN" and "Infinity" come as texts
    if kind == "BINARY":
        return base64.b64decode(found)
    return found
