"""Which boot of the node a packet tells of: the beacon and the boot event say it. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.nanoseconds import NS
from ground.telemetry.decoder import EVENT, HOUSEKEEPING, DecodedPacket


@dataclass(frozen=True, slots=True)
class Boot:
    """Names one boot. `count` comes again if the node has lost its record or cannot write it; `epoch`, drawn at
    random at each boot, does not. It is None if the node's telemetry does not tell it."""

    count: int
    epoch: int | None = None


def boot_told(packet: DecodedPacket) -> tuple[Boot, int] | None:
    """The boot, and when it was by the on-board clock of the packet; None if the packet tells of none."""
    raw, time_ns = packet.raw, packet.time_ns
    if time_ns is None:
        return None
    if (packet.kind, packet.name) == (HOUSEKEEPING, "node") and {"boot_count", "uptime_s"} <= raw.keys():
        count, epoch = raw["boot_count"], raw.get("boot_epoch")
        time_ns -= (int(raw["uptime_s"]) + 1) * NS  # whole seconds: it was not before
    elif (packet.kind, packet.name) == (EVENT, "boot") and "count" in raw:
        count, epoch = raw["count"], raw.get("epoch")
    else:
        return None
    return Boot(int(count), None if epoch is None else int(epoch)), time_ns


def repeated_text(boot: Boot, before: Boot) -> str:
    """What to say of a boot whose count does not rise."""
    why = "its boot record is lost or cannot be written"
    return f"the node booted again and counts boot {boot.count}, after boot {before.count}: {why}"
