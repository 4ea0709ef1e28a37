"""Which boot of the node a packet tells of: the beacon and the boot event say it. Sans-IO."""

# A boot is named by two numbers (ADR 0018): the count comes again if the node's storage is lost or cannot be written;
# the epoch is drawn at random and tells equal counts apart. Without an epoch in the node's telemetry the count stands
# alone. The time of the boot is worked out from each packet, and is good to a second.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flight.contract.fields import Plain
from flight.core.nanoseconds import NS
from ground.telemetry.decoder import EVENT, HOUSEKEEPING, DecodedPacket, whole

EPOCH_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Boot:
    """The name of one boot.

    `count` comes again if the node has lost its record or cannot write it. `epoch`, drawn at random at each boot, does
    not. It is None if the node's telemetry does not tell it.
    """

    count: int
    epoch: int | None = None


def boot_told(packet: DecodedPacket) -> tuple[Boot, int] | None:
    """Return the boot, and when it was by the on-board clock of the packet; None if the packet tells of none."""
    time_ns = packet.time_ns
    if (packet.kind, packet.name) == (HOUSEKEEPING, "node"):
        count, epoch, ago_s = (
            packet.whole("boot_count"),
            packet.whole("boot_epoch", EPOCH_MAX),
            packet.whole("uptime_s"),
        )
    elif (packet.kind, packet.name) == (EVENT, "boot"):
        count, epoch, ago_s = packet.whole("count"), packet.whole("epoch", EPOCH_MAX), -1  # the event is of that moment
    else:
        return None
    if time_ns is None or count is None or ago_s is None:
        return None
    # `uptime_s` is whole seconds, rounded down: with one more, the time is never later than the boot.
    return Boot(count, epoch), time_ns - (ago_s + 1) * NS


def stored_boot(raw: Mapping[str, Plain]) -> Boot | None:
    """Return the boot that the stored newest values tell of, `raw` by their names; None if they tell of none."""
    count, epoch = whole(raw.get("node.boot_count")), whole(raw.get("node.boot_epoch"), EPOCH_MAX)
    return None if count is None or epoch is None else Boot(count, epoch)


def repeated_text(boot: Boot, before: Boot) -> str:
    """Return what to say of a boot whose count does not rise."""
    why = "its boot record is lost or cannot be written"
    return f"the node booted again and counts boot {boot.count}, after boot {before.count}: {why}"
