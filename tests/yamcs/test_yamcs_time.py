"""A clock on board that is wrong: Yamcs says so. In a rig of its own, whose times nobody else can use afterwards."""

from __future__ import annotations

import re
from datetime import datetime

from flight.core.utc.leap_seconds import BUILT_IN
from tests.waiting import wait_until
from tests.yamcs.client import Json, YamcsClient
from tests.yamcs.rig import Rig

LEAP_S = 37  # what a clock is wrong by that takes UTC for TAI
_NEAR_NS = 10_000_000_000
_DEVIATION = re.compile(r"Deviation ([\d.]+) sec greater than the allowed validity")


def said(yamcs: YamcsClient) -> list[Json]:
    """Return the events of a deviation of about that size; a frame that a busy machine held up has a smaller one."""
    found = ((event, _DEVIATION.search(event["message"])) for event in yamcs.events())
    return [event for event, match in found if match and abs(float(match[1]) - LEAP_S) < 10]


def test_a_wrong_time_is_noticed(commanded: Rig) -> None:
    yamcs = commanded.yamcs
    yamcs.do("set_time_report_rate", rate=0)  # as often as they come
    wait_until(lambda: "coefficients" in yamcs.time_correlation(), lambda: f"correlated: {yamcs.time_correlation()}")

    yamcs.do("adjust_time", step_us=LEAP_S * 1_000_000)
    wait_until(lambda: said(yamcs), lambda: f"an event: {yamcs.events()}")
    event = said(yamcs)[0]
    assert event["severity"] != "INFO"

    # Nor is the wrong time taken over: what comes from now on is filed under the time of its reception.
    def after() -> list[tuple[Json, int]]:
        """Packets since the event, each with its time on board."""
        times = {octets: decoded.time_ns for octets, decoded in commanded.ours().packets.items()}
        live = (packet for packet in yamcs.packets() if packet["link"] == "TM.vc0")
        later = (packet for packet in live if packet["receptionTime"] > event["receptionTime"])
        found = ((packet, times.get(packet["octets"])) for packet in later)
        return [(packet, time_ns) for packet, time_ns in found if time_ns is not None]

    wait_until(after, "packets after that")
    for packet, on_board_ns in after():
        filed, received = (
            BUILT_IN.tai_from_utc(datetime.fromisoformat(packet[key])) for key in ("generationTime", "receptionTime")
        )
        assert on_board_ns - received > _NEAR_NS, packet
        assert abs(filed - received) < _NEAR_NS, packet
