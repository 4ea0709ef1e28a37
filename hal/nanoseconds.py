"""The number of nanoseconds in a second, for drivers: hal imports no other package of ours, so it has its own copy."""

from __future__ import annotations

NS = 1_000_000_000
