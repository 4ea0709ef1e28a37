"""Requests to the ground's API: what is wrong with one is said by its name, and none waits for what cannot come."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flight.core.errors import OrbitnodeError
from ground.server.requests import NotARequest, read_request


def line(**request: Any) -> bytes:
    return json.dumps(request).encode()


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "follow"},
        {"do": "follow", "what": "events", "name": ""},
        {"do": "events", "limit": 1, "severity": "high"},
        {"do": "events", "severity": ""},
        {"do": "command", "name": "ping", "raw": True, "bypass": False, "timeout_s": 0.5},
        {"do": "wait_for", "name": "power", "timeout_s": 0},
    ],
)
def test_a_request_is_read_as_it_is(request_: dict[str, Any]) -> None:
    assert read_request(line(**request_)) == request_


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"do": "follow", "what": "rubbish"}, "what is 'rubbish', should be one of packets, events"),
        ({"do": "events", "severity": "grave"}, "severity is 'grave', should be one of info, low, medium, high"),
        ({"do": "events", "limit": True}, "limit has the wrong type"),
        ({"do": "events", "limit": 0}, "limit should be at least 1"),
        ({"do": "wait_for", "timeout_s": True}, "timeout_s has the wrong type"),
        ({"do": "wait_for", "timeout_s": -1}, "timeout_s of a wait should be in 0 .. "),
        ({"do": "command", "timeout_s": float("nan")}, "timeout_s should be above 0 and at most"),
        ({"do": "command", "raw": 1}, "raw has the wrong type"),
        ({"do": "command", "texts": [1]}, "texts should be a list of texts"),
        ({"do": "command", "nam": "ping"}, "a request is a JSON object with some of "),
    ],
)
def test_what_is_wrong_with_a_request_is_said(request_: dict[str, Any], says: str) -> None:
    with pytest.raises(OrbitnodeError, match=says) as refused:
        read_request(line(**request_))
    assert not isinstance(refused.value, NotARequest)


@pytest.mark.parametrize(
    "octets", [b"", b"GET / HTTP/1.1", b"[]", b"{}", b'{"do": 1}', b"[" * 100_000, b"\xff", b"nan"]
)
def test_what_is_no_request_at_all_is_told_from_a_wrong_one(octets: bytes) -> None:
    with pytest.raises(NotARequest):
        read_request(octets)
