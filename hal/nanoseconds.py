"""The number of nanoseconds in a second, for drivers: hal imports nothing else of ours, so it has a copy of its own."""

from __future__ import annotations

NS = 1_000_000_000
