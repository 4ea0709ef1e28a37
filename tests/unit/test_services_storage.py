"""What the node tells of its storage: every field by name, and who may hold how much."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flight.core.nanoseconds import NS
from flight.services.health import storage_status
from flight.services.recorder.recorder import Recorder, RecorderConfig
from flight.store.quota import Share, SharedStorage
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.recorder_bench import packet, small

APID = 1
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "mission.md"


class Board:
    """Vault and recorder on one storage, shared as on a node."""

    def __init__(self, disk_octets: int = 64_000_000) -> None:
        self.loop = VirtualLoop()
        self.disk = Disk(Random(1), capacity_octets=disk_octets)
        config = RecorderConfig(store=(small("one", services=(1,), capacity_octets=400_000), small("two")))
        self.shared = SharedStorage(
            self.disk.boot(self.loop), storage_status.shares(config.capacity_octets * 5 // 4, 0)
        )
        self.vault = Vault(self.shared.user(storage_status.VAULT))
        self.recorder = Recorder(config, self.shared.user(storage_status.RECORDER), self.vault)
        self.shared.user(storage_status.RECORDER).on_pressure(self.recorder.give_up)
        self.status = storage_status.StorageStatus(self.shared, self.vault, self.recorder)

    def shown(self) -> dict[str, Any]:
        """The newest report as the ground sees it."""
        (structure,) = storage_status.declare(APID).structures
        sample = self.status.sample()
        octets = structure.layout.encode([sample[one.name] for one in structure.fields])
        return dict(zip((one.name for one in structure.fields), structure.layout.decode(octets), strict=True))


@pytest.mark.parametrize("wraps", [0, 1], ids=["", "beyond 32 bits"])
def test_every_field_shows_what_it_is_named_after_and_wraps_at_its_width(wraps: int) -> None:
    """Each source has a value of its own; counts that have gone beyond 32 bits go on from zero."""
    board, fresh = Board(), count(1_000_003, 1_009)
    beyond = wraps << 32
    users = board.shared.users
    medium, vault, recorder = users[storage_status.VAULT].counters, board.vault, users[storage_status.RECORDER].usage
    right: dict[str, Any] = {name: next(fresh) for name in ("commits", "failures", "refused")}
    medium.commits, medium.failures = right["commits"] + beyond, right["failures"] + beyond
    of_users = {user.name: next(fresh) for user in users.values()}
    for user in users.values():
        user.usage.refused = of_users[user.name]
    medium.refused = right["refused"] - sum(of_users.values()) + beyond
    medium.octets, medium.flash_octets = next(fresh) + beyond, 4 * (next(fresh) + beyond)
    medium.commit_last_ns, medium.commit_max_ns = 4_000_000, 250_000_000
    recorder.held_octets, recorder.yielded_octets = next(fresh) + beyond, next(fresh) + beyond
    users[storage_status.VAULT].usage.held_octets = 77_777
    right["free_octets"] = 6_000_000 - 77_777  # its quota, on a larger medium
    for name in ("commits", "checkpoints", "checkpoint_faults"):
        right[f"vault_{name}"] = next(fresh)
        setattr(vault, name, right[f"vault_{name}"] + beyond)
    journals = [vault.stats, *(one.stats for one in board.recorder.stores)]
    for name in ("missing", "damaged", "gone", "foreign", "misplaced", "unreadable"):
        of_journals = [next(fresh) for _ in journals]
        for stats, value in zip(journals, of_journals, strict=True):
            setattr(stats, name, value + beyond)
        right["records_missing" if name == "missing" else f"segments_{name}"] = sum(of_journals)
    right |= {
        "octets": medium.octets, "flash_octets": medium.flash_octets,
        "write_amplification": medium.flash_octets / medium.octets, "commit_last_ms": 4.0, "commit_max_ms": 250.0,
        "recorder_octets": recorder.held_octets, "recorder_yielded": recorder.yielded_octets, "vault_octets": 77_777,
    }  # fmt: skip
    shown = board.shown()
    assert shown == {
        name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value for name, value in right.items()
    }
    assert len(set(shown.values())) == len(shown), "two fields have the same value, a swap would go unseen"


def test_what_is_written_is_shown() -> None:
    board = Board()
    board.vault.commit({"a": bytes(1000)})
    for number in range(100):
        board.recorder.store(packet(number))
    board.loop.run_until(NS)
    shown = board.shown()
    assert shown["octets"] >= sum(map(len, board.disk.durable.values())) > 10_000
    assert shown["commits"] == shown["vault_commits"] == 1
    assert shown["recorder_octets"] == sum(len(v) for k, v in board.disk.durable.items() if k.startswith("recorder"))
    assert (shown["failures"], shown["refused"], shown["recorder_yielded"]) == (0, 0, 0)


def test_the_recorder_gives_way_to_what_was_acknowledged() -> None:
    board = Board(disk_octets=600_000)
    number = 0
    while not board.recorder.storage_faults:
        board.recorder.store(packet(number, 1))
        number += 1
    for row in range(300):
        board.vault.commit({f"row.{row}": bytes(1000)})
        board.loop.run_until(board.loop.now_ns() + 10**8)
    assert all(len(board.vault.get(f"row.{row}") or b"") == 1000 for row in range(300))
    shown = board.shown()
    assert shown["recorder_yielded"] > 0 and board.recorder.overwritten > 0


def test_the_guide_says_who_may_hold_how_much() -> None:
    (section,) = re.findall(r"\n## `\[storage\]`\n(.*?)\n```toml", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    shares = storage_status.shares(123, 456)
    names = storage_status.VAULT, storage_status.BOOT, storage_status.SECURITY, storage_status.TRANSFERS
    vault, boot, security, transfers = (shares.pop(name) for name in names)
    assert (
        "| `vault` | commands, schedule, parameters, the catalogue of files "
        f"| {vault.quota_octets:,} | {vault.priority} |\n"
        f"| `boot` | the boot record | {boot.quota_octets:,} | {boot.priority} |\n"
        "| `security` | numbers, keys and associations of link security "
        f"| {security.quota_octets:,} | {security.priority} |\n"
        f"| `transfers` | how far file transfers are | {transfers.quota_octets:,} | {transfers.priority} |\n"
        "| `recorder` | packet stores | what they need | 1 |\n"
        "| `files` | the file store | the quotas of its directories | 2 |\n"
    ) in section
    assert shares == {storage_status.RECORDER: Share(123, 1), storage_status.FILES: Share(456, 2)}
