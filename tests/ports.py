"""Ports of this machine that stay free until a test binds them, even beside other runs of the suite."""

# The usual way is to bind port 0 and close the socket again. But then the system may give that port to somebody else
# before the test binds it, and does so sooner on a busy machine. So ports come from below the range from which the
# system gives.
#
# Each port is reserved for this process by an abstract socket with the number in its name. The kernel lets only one
# process have that name, and frees it when the process ends, so two runs never choose the same port and a killed run
# leaves nothing behind.
#
# A process keeps only its newest RESERVED_MAX reservations, more than any one test takes: one descriptor per port of
# all tests would disturb those tests that count descriptors.

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
    """Return a port that nobody uses, and that no other test process will choose while it is reserved."""
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
