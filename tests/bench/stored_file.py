"""Put a file of pseudo-random octets into the storage of a node that is not running, as if an app had made it:

    python stored_file.py MISSION STORAGE NAME OCTETS

It waits in the outbox from the node's next boot on. A process of its own, since the storage belongs to one at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform
from flight.mission import load
from flight.services.files.outbox_label import Label, State
from flight.services.health import storage_status
from flight.services.recorder.recorder import RecorderConfig
from flight.store.files.file_names import PRODUCTS
from flight.store.files.file_store import FileStore
from flight.store.files.files_config import FilesConfig
from flight.store.quota import SharedStorage, StorageConfig
from flight.store.vault import Vault

BLOCK_OCTETS = 1 << 18
SYNC_OCTETS = 16 << 20  # written before the disk is waited for


def blocks(octets: int, seed: int = 1) -> Iterator[bytes]:
    """Yield the file's octets, a block at a time: the same for whoever asks."""
    random = Random(seed)
    for at in range(0, octets, BLOCK_OCTETS):
        yield random.randbytes(min(BLOCK_OCTETS, octets - at))


def main(mission_path: Path, folder: Path, name: str, octets: int) -> None:
    """Write the file, and wait until it is durable."""
    mission = load(mission_path)
    platform = LinuxPlatform(folder, mission.node.name)
    config = mission.section(FilesConfig)
    shares = storage_status.shares(mission.section(RecorderConfig).capacity_octets * 5 // 4, config.quota_octets)
    storage = SharedStorage(platform.storage, shares, mission.section(StorageConfig))
    vault = Vault(storage.user(storage_status.VAULT), epoch=platform.random.getrandbits(64))
    files = storage.user(storage_status.FILES)
    store = FileStore(config, files, vault, tai_ns=platform.tai_ns)
    failed: list[BaseException] = []

    async def write(task: Task) -> None:
        label = Label(State.WAITING, priority=1, arrive=True).encode()
        draft = store.draft(PRODUCTS, name, octets, label=label)
        at = 0
        for block in blocks(octets):
            draft.write(at, block)
            at += len(block)
            if at % SYNC_OCTETS == 0:
                await files.sync()
        await store.finish(task, draft)
        platform.stop()

    def fail(_task: Task, error: BaseException) -> None:
        failed.append(error)
        platform.stop()

    scheduler = Scheduler(platform, platform.cpu_ns, fail)
    scheduler.spawn("write", write)
    platform.run()
    scheduler.close()
    platform.close()
    if failed:
        raise failed[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
