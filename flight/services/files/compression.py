"""Compression of files on board: `a.tif` gets a companion `a.tif.z` in the zlib format (RFC 1950), and stays as it is.

On the ground `zlib-flate -uncompress < a.tif.z > a.tif` makes it again, or `zlib.decompress` of Python.
"""

# A file may have hundreds of megabytes, and a step 2 ms. So there is a task that compresses one file after the other, a
# slice per step, and what memory it takes does not depend on the file. Whoever asked waits for a future.
#
# The companion is a draft until its content is durable: a loss of power leaves it whole or not there, and an error or a
# caller that waits no longer (a command's limit of time) leaves nothing. Only if all is done but for a slow disk, the
# companion comes all the same, and whole. As it grows, others may have to give way to it; the file itself must not, so
# the store asks `reads`.

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from flight.contract.app import CommandRefused
from flight.contract.failures import Failure
from flight.core.errors import StorageError
from flight.core.future import Future, Queue
from flight.core.task import Task
from flight.services.files.file_refusals import refusal_of
from flight.store.files.draft import Draft
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused, Reason

SUFFIX = ".z"
WAITING_MAX = 4
# A slice takes under 2 ms on a board that compresses 4 MB/s, which is a slow one.
SLICE_OCTETS = 8_192
_LEVEL = 6  # zlib's own choice: more takes several times as long for a few hundredths of the size


@dataclass(slots=True)
class _Job:
    """A file to be compressed. abandoned: nobody waits for it any more."""

    entry: FileEntry
    done: Future[FileEntry] = field(default_factory=Future)
    abandoned: bool = False


class Compressor:
    """Compresses files of `store`, one at a time."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._jobs: Queue[_Job] = Queue(WAITING_MAX)
        self._read: FileEntry | None = None

    def reads(self, entry: FileEntry) -> bool:
        """Return whether the file is being compressed: it must stay until that is done."""
        return self._read is not None and self._read.number == entry.number

    async def compress(self, entry: FileEntry) -> FileEntry:
        """Wait until the companion of `entry` is durable, and return it.

        Raises CommandRefused. If the wait is cancelled, so is the compression.
        """
        job = _Job(entry)
        if not self._jobs.put(job):
            raise CommandRefused(Failure.FILE_BUSY, f"{WAITING_MAX} files wait to be compressed, no more may")
        try:
            return await job.done
        finally:
            job.abandoned = True

    async def run(self, task: Task) -> None:
        """Do what is asked for, for ever."""
        while True:
            job = await self._jobs.get()
            if job.abandoned:
                continue
            self._read = job.entry
            try:
                job.done.set_result(await self._make_companion(task, job))
            except FileRefused as refused:
                job.done.set_error(refusal_of(refused))
            except StorageError as error:
                job.done.set_error(error)
            finally:
                self._read = None

    async def _make_companion(self, task: Task, job: _Job) -> FileEntry:
        store, entry = self._store, job.entry
        # Without a length: nobody knows it before the end. What is written is admitted as it grows.
        draft = store.draft(entry.directory, entry.name + SUFFIX, None, priority=entry.priority, value=entry.value)
        finished = False
        try:
            await self._fill(task, job, draft)
            companion = await store.finish(task, draft, lambda _block: self._check_wanted(job))
            finished = True
        finally:
            if not finished:
                store.drop(draft)
        return companion

    async def _fill(self, task: Task, job: _Job, draft: Draft) -> None:
        packer, written = zlib.compressobj(_LEVEL), 0
        for at in range(0, job.entry.octets, SLICE_OCTETS):
            content = self._store.read(job.entry, at, min(SLICE_OCTETS, job.entry.octets - at))
            if octets := packer.compress(content):
                draft.write(written, octets)
                written += len(octets)
            await task.sleep(0)
            self._check_wanted(job)
        draft.write(written, packer.flush())

    @staticmethod
    def _check_wanted(job: _Job) -> None:
        if job.abandoned:
            raise FileRefused(Reason.BUSY, "nobody waits for it any more")
