"""Storage duty: what the node writes, what that costs the medium, and how much is left; who holds what."""

# What a write costs the medium is computed by a model, pages of 4,096 octets, because a medium does not tell (ADR
# 0011). Counts of damage are those of the journals, as far as they were read: damage in a segment that nobody has read
# yet shows later.

from __future__ import annotations

from collections.abc import Iterable

from flight.contract.app import Sample
from flight.contract.dictionary import Declarations, Structure
from flight.contract.fields import Field
from flight.contract.service import Sampler, Service
from flight.services.recorder.recorder import Recorder
from flight.store.quota import Share, SharedStorage
from flight.store.vault import Vault

# Users of the storage. Everything that was acknowledged is in the vault, so the recorder has a lower priority and gives
# way to it (ADR 0011), and files give way to both. What is known of transfers is little, and files are worth less
# without it.
VAULT, BOOT, SECURITY, TRANSFERS, RECORDER, FILES = "vault", "boot", "security", "transfers", "recorder", "files"
_VAULT_QUOTA_OCTETS = 6_000_000  # two checkpoints of 1.7 MB at most, and the journal of 2.1 MB
_BOOT_QUOTA_OCTETS = 10_000  # two generations of a few hundred octets
_SECURITY_QUOTA_OCTETS = 100_000  # two generations: numbers, states, and keys that came up
_TRANSFERS_QUOTA_OCTETS = 8_000_000  # a record per open transaction, most of a few hundred octets


def shares(recorder_quota_octets: int, files_quota_octets: int) -> dict[str, Share]:
    """Return the users of a node's storage with quota and priority, before the mission's own [storage] section."""
    return {
        VAULT: Share(_VAULT_QUOTA_OCTETS, 0),
        BOOT: Share(_BOOT_QUOTA_OCTETS, 0),
        SECURITY: Share(_SECURITY_QUOTA_OCTETS, 0),
        TRANSFERS: Share(_TRANSFERS_QUOTA_OCTETS, 0),
        RECORDER: Share(recorder_quota_octets, 1),
        FILES: Share(files_quota_octets, 2),
    }


def declare(apid: int) -> Declarations:
    """Return the structure "storage"."""
    return Declarations(
        structures=(
            Structure(
                apid, 7, "storage", 60.0,
                (
                    Field("octets", "u64", "octet", "asked to be written since boot"),
                    Field("flash_octets", "u64", "octet", "what a medium of 4,096-octet pages writes for that"),
                    Field("write_amplification", "f32", "", "flash_octets in proportion to octets"),
                    Field("commits", "u32", "", "groups of writes made durable"),
                    Field("commit_last_ms", "f32", "ms", "how long the last one took"),
                    Field("commit_max_ms", "f32", "ms", "the longest since boot"),
                    Field("failures", "u32", "", "commits that failed; the first one is final until the next boot"),
                    Field("refused", "u32", "", "writes refused, by a quota, a reserve or a full medium"),
                    Field("free_octets", "u64", "octet", "left on the medium"),
                    Field("recorder_octets", "u64", "octet", "held by the recorder"),
                    Field("recorder_yielded", "u64", "octet", "given up by it for what is more important"),
                    Field("vault_octets", "u64", "octet", "held by commands, schedule, parameters and pointers"),
                    Field("vault_commits", "u32", "", "transactions since boot"),
                    Field("vault_checkpoints", "u32", "", "since boot"),
                    Field("vault_checkpoint_faults", "u32", "", "checkpoints that could not be stored"),
                    Field("records_missing", "u32", "", "of vault and recorder, stored once and gone or unreadable"),
                    Field("segments_damaged", "u32", "", "with unreadable octets, as far as they were read"),
                    Field("segments_gone", "u32", "", "stored once, and under no name any more"),
                    Field("segments_foreign", "u32", "", "of another journal, life or format, left alone"),
                    Field("segments_misplaced", "u32", "", "under a name that is not theirs, left alone"),
                    Field("segments_unreadable", "u32", "", "whose head is damaged, left alone"),
                ),
            ),
        )
    )  # fmt: skip


class StorageStatus(Service):
    """Samples the structure "storage"."""

    def __init__(self, storage: SharedStorage, vault: Vault, recorder: Recorder) -> None:
        self._storage = storage
        self._vault = vault
        # Damage is counted per journal; housekeeping shows the sum of all.
        self._journals = (vault.stats, *(store.stats for store in recorder.stores))

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "storage"."""
        return (Sampler("storage", self.sample),)

    def sample(self) -> Sample:
        """Return the values of the structure "storage"."""
        users, vault, journals = self._storage.users, self._vault, self._journals
        # The counters of the medium are the same by whichever user they are read.
        medium, recorder = users[VAULT].counters, users[RECORDER].usage
        return {
            "octets": medium.octets,
            "flash_octets": medium.flash_octets,
            "write_amplification": medium.write_amplification,
            "commits": medium.commits,
            "commit_last_ms": medium.commit_last_ns / 1e6,
            "commit_max_ms": medium.commit_max_ns / 1e6,
            "failures": medium.failures,
            # By the medium itself, and before it by quotas and reserves of each user.
            "refused": medium.refused + sum(user.usage.refused for user in users.values()),
            "free_octets": users[VAULT].free_octets(),
            "recorder_octets": recorder.held_octets,
            "recorder_yielded": recorder.yielded_octets,
            "vault_octets": users[VAULT].usage.held_octets,
            "vault_commits": vault.commits,
            "vault_checkpoints": vault.checkpoints,
            "vault_checkpoint_faults": vault.checkpoint_faults,
            "records_missing": sum(journal.missing for journal in journals),
            "segments_damaged": sum(journal.damaged for journal in journals),
            "segments_gone": sum(journal.gone for journal in journals),
            "segments_foreign": sum(journal.foreign for journal in journals),
            "segments_misplaced": sum(journal.misplaced for journal in journals),
            "segments_unreadable": sum(journal.unreadable for journal in journals),
        }
