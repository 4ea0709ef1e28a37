"""ground.operator.Operator over the API of a ground process, in real time. Edge code.

Every call completes before it returns, so that a procedure runs to its end in one step, in the caller's thread. The
session itself is at the ground (ground/server/operating.py); this module only sends its requests.
"""

# Why blocking calls in coroutines (ADR 0032): a procedure awaits nothing but its operator's calls. If each of them is
# complete when it returns, `send(None)` runs the procedure to its end, without an event loop and without a thread.
#
# States of the connection:
#
#   in step      --a request is sent--> out of step  --the whole answer came, or a refusal--> in step
#   out of step  --Ctrl-C in the middle of an answer--> stays out of step; the next call opens a new connection
#   any          --the ground ends, or is silent for ANSWER_S--> lost, for good
#
# A connection that is out of step may still receive the answer to a request that nobody waits for any more. The next
# answer read from it would be the wrong one, so it is closed. The new connection begins a new session at the ground,
# which knows nothing of packets that came before: this is the price of a clean-up that can still send commands.

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Self

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import LeapSeconds
from ground.cli.api.client import GroundClient, GroundLost
from ground.exact_values import exact
from ground.operator import CommandRecord, Stage

ANSWER_S = 60.0  # beyond what a call may take by itself: a ground that is silent for this long counts as lost


class ApiOperator:
    """See the head of the file. Raises OrbitnodeError if there is no ground process on that port of 127.0.0.1.

    lost: why the ground is gone, "" while it is there. A procedure may catch the exception; its run has failed anyway.
    """

    def __init__(self, port: int) -> None:
        self.lost = ""
        self._dictionary: Dictionary | None = None
        self._port = port
        self._in_step = True
        self._client = GroundClient(port, faithful=True)
        begun = self._operate()
        # The ground may be on another machine, behind a tunnel. Its clock is read once and carried on by ours. The time
        # that the answer took to arrive makes our copy late by at most that much, and never early.
        self._ahead_s = float(begun["now_s"]) - time.monotonic()
        self._begun = int(begun["tai_ns"]), float(begun["now_s"])
        self._leap_seconds = LeapSeconds.from_document(begun["leap_seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary that the ground decodes by, asked for once. Raises OrbitnodeError."""
        if self._dictionary is None:
            self._dictionary = Dictionary.from_document(self._ask(0.0, do="dictionary")["dictionary"])
        return self._dictionary

    def now_s(self) -> float:
        """Return seconds on the ground's timeline. Asks nobody."""
        return time.monotonic() + self._ahead_s

    def utc_text(self, now_s: float) -> str:
        """Return a time of the ground's timeline as UTC, by the ground's clock."""
        begun_ns, begun_s = self._begun
        return self._leap_seconds.utc_text(begun_ns + ns(now_s - begun_s))

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        """See Operator.send. Raises OrbitnodeError, and GroundLost if the ground is gone."""
        return self._send(command, arguments, raw=False)

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        """See Operator.send_raw. Raises OrbitnodeError, and GroundLost if the ground is gone."""
        return self._send(command, arguments, raw=True)

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        """See Operator.wait_for. Raises OrbitnodeError, and GroundLost if the ground is gone."""
        answer = self._wait(do="wait_for", name=what, timeout_s=timeout_s)
        return None if answer["values"] is None else exact(answer["values"], answer["not_finite"])

    async def wait_contact(self, timeout_s: float) -> bool:
        """See Operator.wait_contact. Raises OrbitnodeError, and GroundLost if the ground is gone."""
        return bool(self._wait(do="wait_contact", timeout_s=timeout_s)["contact"])

    async def sleep(self, s: float) -> None:
        """Wait `s` seconds of real time. Raises GroundLost if the ground ends meanwhile."""
        # The socket is watched meanwhile: a procedure must not sleep for hours on after its ground has gone.
        try:
            self._stepping().idle(s)
        except GroundLost as error:
            self.lost = str(error)
            raise

    def _send(self, command: str, arguments: Mapping[str, object], *, raw: bool) -> CommandRecord:
        # Tried before the request, so that a fault of the procedure leaves the connection in step.
        try:
            json.dumps(arguments)
        except (TypeError, ValueError, RecursionError) as error:
            raise OrbitnodeError(
                f"{command}: an argument must be a number, a text, a list or a mapping: {error}"
            ) from None
        answer = self._ask(self._command_s, do="send", name=command, arguments=arguments, raw=raw)
        return _record(answer["record"])

    def _wait(self, *, timeout_s: float, **request: Any) -> dict[str, Any]:
        timeout_s = max(0.0, timeout_s)  # below 0 means the same as 0, only a look; the API refuses it
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
            self._in_step = True  # the ground refused, and the refusal was the whole answer
            raise
        self._in_step = True
        return answer

    def _stepping(self) -> GroundClient:
        """Return the connection: a new one if an answer is still under way on the old one. Raises GroundLost."""
        if self.lost:
            raise GroundLost(self.lost)
        if not self._in_step:
            self._client.close()
            self._client = GroundClient(self._port, faithful=True)
            self._operate()
            self._in_step = True
        return self._client

    def _operate(self) -> dict[str, Any]:
        # A command's wait is bounded by the ground, and only the ground knows how long that is.
        begun = self._client.ask_within(ANSWER_S, do="operate")
        self._command_s = float(begun["command_timeout_s"])
        return begun


def _record(document: dict[str, Any]) -> CommandRecord:
    return CommandRecord(
        number=document["number"], name=document["name"], apid=document["apid"], seq=document["seq"],
        arguments=exact(document["arguments"], document["not_finite"]),
        stages=[Stage(stage["name"], stage["now_ns"], stage["detail"]) for stage in document["stages"]],
        outcome=document["outcome"], reason=document["reason"], code=document["code"],
    )  # fmt: skip
