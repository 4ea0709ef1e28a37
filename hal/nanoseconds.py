"""Nanoseconds in a second, for drivers: hal imports nothing of ours, so that it has this number of its own."""

from __future__ import annotations

NS = 1_000_000_000
