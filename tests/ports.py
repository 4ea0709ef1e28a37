"""Ports of this machine that stay free until a test binds them, also beside other runs of the suite.

A port that the system gave and took back again may be given to somebody else before the test binds it, the sooner the
busier the machine. So ports come from below the range that the system gives from, and each is reserved for this process
by an abstract socket of that number's name: two runs never choose the same one. A process reserves the newest
RESERVED_MAX, more than any one test takes: a descriptor per port of all tests leaves none to those that count them.
"""

from __future__ import annotations

import socket
from collections import deque
from pathlib import Path
from random import SystemRandom

HOST = "127.0.0.1"
_LOWEST = 10_100  # above the ports of the default missions
_TRIES = 1000
RESERVED_MAX = 64
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_reserved: deque[socket.socket] = deque()


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that nobody uses, and that no other test process will choose while this one lives."""
    highest = int(_RANGE.read_text().split()[0]) - 1
    assert highest - _LOWEST >= _TRIES, f"{_RANGE} leaves no ports to tests"
    random = SystemRandom()
    for _ in range(_TRIES):
        port = random.randint(_LOWEST, highest)
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            reservation.bind(f"\0orbitnode-test-port-{port}")
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.bind((HOST, port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        if len(_reserved) > RESERVED_MAX:
            _reserved.popleft().close()
        return port
    raise AssertionError(f"no free port between {_LOWEST} and {highest}")
