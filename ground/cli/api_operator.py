"""ground.operator.Operator over the API of a ground process, in real time. Edge code.

Every call completes before it returns, so that a procedure runs to its end in one step, in the caller's thread. The
session is at the ground (ground/server/operating.py); here are only its requests.

Ctrl-C interrupts a call in the middle of its answer. The connection is then out of step, and the next call, that of the
procedure's clean-up, has a new one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from ground.cli.client import GroundClient, GroundLost
from ground.exact_values import exact
from ground.operator import CommandRecord, Stage

ANSWER_S = 60.0  # beyond what a call may take by itself: a ground that is silent for so long is lost


class ApiOperator:
    """See the head of the file. Raises OrbitnodeError if there is no ground process on that port of 127.0.0.1.

    lost: why the ground is gone, "" while it is there. A procedure may catch that; the run has failed all the same.
    """

    def __init__(self, port: int) -> None:
        self.lost = ""
        self._dictionary: Dictionary | None = None
        self._port = port
        self._in_step = True
        self._client = GroundClient(port, faithful=True)
        begun = self._operate()
        # The ground may be on another machine, through a tunnel: its clock is read once, and carried on by ours. The
        # answer's way makes ours late by less than it takes, never early.
        self._ahead_s = float(begun["now_s"]) - time.monotonic()
        self._begun = datetime.fromisoformat(begun["time"]), float(begun["now_s"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def dictionary(self) -> Dictionary:
        """As the ground has it, asked for once. Raises OrbitnodeError."""
        if self._dictionary is None:
            self._dictionary = Dictionary.from_document(self._ask(0.0, do="dictionary")["dictionary"])
        return self._dictionary

    def now_s(self) -> float:
        return time.monotonic() + self._ahead_s

    def utc_text(self, now_s: float) -> str:
        """UTC at a time of the ground's timeline, by the ground's clock."""
        begun, begun_s = self._begun
        return (begun + timedelta(seconds=now_s - begun_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        return self._send(command, arguments, raw=False)

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        return self._send(command, arguments, raw=True)

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        answer = self._wait(do="wait_for", name=what, timeout_s=timeout_s)
        return None if answer["values"] is None else exact(answer["values"], answer["not_finite"])

    async def wait_contact(self, timeout_s: float) -> bool:
        return bool(self._wait(do="wait_contact", timeout_s=timeout_s)["contact"])

    async def sleep(self, s: float) -> None:
        try:
            self._stepping().idle(s)
        except GroundLost as error:
            self.lost = str(error)
            raise

    def _send(self, command: str, arguments: Mapping[str, object], *, raw: bool) -> CommandRecord:
        try:
            json.dumps(arguments)
        except (TypeError, ValueError, RecursionError) as error:
            raise OrbitnodeError(f"{command}: arguments are numbers, texts, lists and mappings: {error}") from None
        answer = self._ask(self._command_s, do="send", name=command, arguments=arguments, raw=raw)
        return _record(answer["record"])

    def _wait(self, *, timeout_s: float, **request: Any) -> dict[str, Any]:
        timeout_s = max(0.0, timeout_s)
        return self._ask(timeout_s, timeout_s=timeout_s, **request)

    def _ask(self, takes_s: float, **request: Any) -> dict[str, Any]:
        client = self._stepping()
        self._in_step = False
        try:
            answer = client.ask_within(takes_s + ANSWER_S, **request)
        except GroundLost as error:
            self.lost = str(error)
            raise
        except OrbitnodeError:
            self._in_step = True  # refused, and that was the whole answer
            raise
        self._in_step = True
        return answer

    def _stepping(self) -> GroundClient:
        """The connection, a new one if an answer is still under way on the old."""
        if self.lost:
            raise GroundLost(self.lost)
        if not self._in_step:
            self._client.close()
            self._client = GroundClient(self._port, faithful=True)
            self._operate()
            self._in_step = True
        return self._client

    def _operate(self) -> dict[str, Any]:
        begun = self._client.ask_within(ANSWER_S, do="operate")
        self._command_s = float(begun["command_timeout_s"])
        return begun


def _record(document: dict[str, Any]) -> CommandRecord:
    return CommandRecord(
        number=document["number"], name=document["name"], apid=document["apid"], seq=document["seq"],
        arguments=exact(document["arguments"], document["not_finite"]),
        stages=[Stage(one["name"], one["now_ns"], one["detail"]) for one in document["stages"]],
        outcome=document["outcome"], reason=document["reason"], code=document["code"],
    )  # fmt: skip
