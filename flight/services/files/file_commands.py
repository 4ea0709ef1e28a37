"""ST[23] file management: what files there are, and what becomes of them by command (ECSS-E-ST-70-41C, 6.23, 8.23).

A file is named by its directory, one of flight.store.files.file_names.DIRECTORIES, and a name. Subtypes below 128 are
the standard's, those from 128 on are our own. What transfers do: flight/services/files/transfer_commands.py.
"""

# Left out of the standard, since nobody needs it here: files are made by transfers and by apps, not created empty
# (TC[23,1]); the four directories are fixed (TC[23,9] to [23,11]); a file is found in the list of its directory
# (TC[23,7]); a copy on the same medium is worth nothing (TC[23,14]). So the list of a directory, TM[23,13], has no
# types of objects: all are files.
#
# Kept over reboots, each in the one transaction of its command: deletion, name, lock. Before acceptance only the names
# are looked at, everything else at execution: of two commands that come together, such as `compress_file` and
# `downlink_file` of what that makes, the second needs the first to be done.
#
# A file that a transfer reads is neither deleted nor moved: ground cancels the transfer first, and knows what it ends.

from __future__ import annotations

from collections.abc import Callable, Iterable

from flight.contract.app import CommandRefused, Durable, Slices
from flight.contract.dictionary import Command, Declarations, Report
from flight.contract.failures import Failure
from flight.contract.fields import Field, Row
from flight.contract.service import CommandHandler, Service, ServiceTask
from flight.services.files.compression import Compressor
from flight.services.files.file_refusals import as_command
from flight.services.reporting.row_report import RowReport
from flight.services.reporting.telemetry import Telemetry
from flight.store.files.file_changes import FileChange
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import DIRECTORIES, checked_directory, checked_name
from flight.store.files.file_store import FileStore

SERVICE = 23
ATTRIBUTES, CONTENTS, VERIFIED = 4, 13, 129
PRIORITY_MAX = 9
_CLASSES = ("as the mission says", "class 1", "class 2")
_ARRIVE = (None, False, True)  # by the number of the class

_DIRECTORY = Field("directory", "str", text=f"one of {', '.join(DIRECTORIES)}")
_NAME = Field("name", "str", text="of the file")
_FILE = (_DIRECTORY, _NAME)
_STATE = (
    Field("octets", "u64", "octet", "length of the file"),
    Field("made_time", "time", "", "when the file was whole"),
    Field("priority", "u8", "", "of its downlink, 0 first"),
    Field("value", "f32", "", "what its owner holds it worth"),
    Field("locked", "u8", "", "a locked file is neither deleted nor moved nor replaced", labels=("no", "yes")),
    Field("damaged", "u8", "", "whether its content is known to be unreadable", labels=("no", "yes")),
)

Send = Callable[[FileEntry, bool | None, int], Durable]


def declare(apid: int) -> Declarations:
    """Return commands and reports of ST[23] about files."""
    return Declarations(commands=_commands(apid), reports=_reports(apid))


def _commands(apid: int) -> tuple[Command, ...]:
    listed = Field("directory", "str", text=f"one of {', '.join(DIRECTORIES)}, or empty for all")
    target = (
        Field("to_directory", "str", text=_DIRECTORY.text), Field("to_name", "str", text="the new name of the file")
    )  # fmt: skip
    way = (
        Field("cfdp_class", "u8", "", "class 2 arrives whole or is sent again", labels=_CLASSES, default=0),
        Field("priority", "u8", "", "0 goes first", maximum=PRIORITY_MAX, default=1),
    )
    return (
        Command("delete_file", apid, SERVICE, 2, "delete a file", _FILE, durable=True),
        Command("report_file", apid, SERVICE, 3, "report what a file is: length, time, SHA-256, lock", _FILE,
                idempotent=True),
        Command("lock_file", apid, SERVICE, 5, "keep a file from being deleted, moved or replaced", _FILE,
                durable=True),
        Command("unlock_file", apid, SERVICE, 6, "let a file be deleted, moved and replaced again", _FILE,
                durable=True),
        Command("list_files", apid, SERVICE, 12, "report the files of a directory", (listed,), idempotent=True),
        Command("move_file", apid, SERVICE, 15, "give a file another name, and another directory if need be",
                (*_FILE, *target), durable=True),
        Command("verify_file", apid, SERVICE, 128, "read a file, and report its SHA-256 if that is what it was",
                _FILE, idempotent=True),
        Command("compress_file", apid, SERVICE, 130, "make NAME.z of a file, in the zlib format; the file stays",
                _FILE, durable=True),
        Command("downlink_file", apid, SERVICE, 131, "send a file to ground", (*_FILE, *way), durable=True),
    )  # fmt: skip


def _reports(apid: int) -> tuple[Report, ...]:
    usage = (
        Field("directory", "str"),
        Field("used_octets", "u64", "octet", "in its files, and kept for those on their way"),
        Field("quota_octets", "u64", "octet", "what the directory may hold"),
        Field("room_octets", "u64", "octet", "of a new file for which none has to give way"),
    )
    sha256 = Field("sha256", "str", text="of the content, hexadecimal")
    return (
        Report(apid, SERVICE, ATTRIBUTES, "file_attributes",
               (Field("directory", "str"), Field("name", "str"), *_STATE, sha256,
                Field("damage", "str", text="what is wrong with the content, if anything is known"))),
        Report(apid, SERVICE, CONTENTS, "directory_contents",
               (*usage, Field("files", "rows", fields=(Field("name", "str"), *_STATE)))),
        Report(apid, SERVICE, VERIFIED, "file_verified",
               (Field("directory", "str"), Field("name", "str"), Field("octets", "u64", "octet"), sha256)),
    )  # fmt: skip


class FileCommands(Service):
    """Serves ST[23] for the files of `store`, and runs the `compressor`.

    send(entry, arrive, priority): returns what queues a file for downlink, or raises CommandRefused; arrive None: in
    the class that the mission says. is_used(entry): whether a transfer reads the file now. on_deleted(entry) is called
    when a file was deleted by command.
    """

    def __init__(
        self,
        apid: int,
        store: FileStore,
        compressor: Compressor,
        telemetry: Telemetry,
        *,
        send: Send,
        is_used: Callable[[FileEntry], bool],
        on_deleted: Callable[[FileEntry], None],
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._send = send
        self._is_used = is_used
        self._on_deleted = on_deleted
        self._attributes, contents, self._verified = _reports(apid)
        self._contents = RowReport(telemetry, contents)
        self._compressor = compressor

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[23] about files."""
        return (
            CommandHandler("delete_file", _check_file, self._delete),
            CommandHandler("report_file", _check_file, self._report),
            CommandHandler("lock_file", _check_file, lambda directory, name: self._lock(directory, name, True)),
            CommandHandler("unlock_file", _check_file, lambda directory, name: self._lock(directory, name, False)),
            CommandHandler("list_files", _check_listed, self._list),
            CommandHandler("move_file", _check_move, self._move),
            CommandHandler("verify_file", _check_file, self._verify),
            CommandHandler("compress_file", _check_file, self._compress),
            CommandHandler("downlink_file", lambda directory, name, *_: _check_file(directory, name), self._downlink),
        )

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that compresses files."""
        return (ServiceTask("files.compress", self._compressor.run, deadline_s=1.0),)

    def _found(self, directory: str, name: str) -> FileEntry:
        entry = self._store.find(directory, name)
        if entry is None:
            raise CommandRefused(Failure.NO_FILE, f"no file {directory}/{name}")
        return entry

    def _unused(self, directory: str, name: str) -> FileEntry:
        entry = self._found(directory, name)
        if self._is_used(entry):
            raise CommandRefused(Failure.FILE_BUSY, f"{entry.path} is in transfer, cancel_transfer ends that")
        if self._compressor.reads(entry):
            raise CommandRefused(Failure.FILE_BUSY, f"{entry.path} is being compressed")
        return entry

    def _delete(self, directory: str, name: str) -> Durable:
        entry = self._unused(directory, name)
        with as_command():
            change = self._store.removal(entry)

        def apply() -> None:
            change.apply()
            self._on_deleted(entry)

        return Durable(change.changes, apply, change.undo)

    def _lock(self, directory: str, name: str, locked: bool) -> Durable:
        entry = self._found(directory, name)
        with as_command():
            return _kept(self._store.locking(entry, locked))

    def _move(self, directory: str, name: str, to_directory: str, to_name: str) -> Durable:
        entry = self._unused(directory, name)
        with as_command():
            return _kept(self._store.renaming(entry, to_directory, to_name))

    def _report(self, directory: str, name: str) -> None:
        entry = self._found(directory, name)
        damage = self._store.damage_of(entry)
        values = (directory, *self._row(entry), entry.sha256.hex(), damage)
        self._emit(self._attributes, values)

    def _list(self, directory: str) -> Slices:
        for each in (directory,) if directory else DIRECTORIES:
            usage = self._store.usage(each)
            lead = (each, usage.octets, usage.quota_octets, usage.room_octets)
            yield from self._contents.send(map(self._row, self._store.entries(each)), lead)
        return None

    def _row(self, entry: FileEntry) -> Row:
        damaged = bool(self._store.damage_of(entry))
        return (
            entry.name, entry.octets, entry.made_ns, entry.priority, entry.value, int(entry.locked), int(damaged),
        )  # fmt: skip

    def _verify(self, directory: str, name: str) -> Slices:
        entry = self._found(directory, name)
        with as_command():
            yield from self._store.verify(entry)
        self._emit(self._verified, (directory, name, entry.octets, entry.sha256.hex()))
        return None

    async def _compress(self, directory: str, name: str) -> None:
        await self._compressor.compress(self._found(directory, name))

    def _downlink(self, directory: str, name: str, cfdp_class: int, priority: int) -> Durable:
        return self._send(self._found(directory, name), _ARRIVE[cfdp_class], priority)

    def _emit(self, report: Report, values: Row) -> None:
        self._telemetry.send(report.apid, report.service, report.subtype, report.layout.encode(values))


def _kept(change: FileChange) -> Durable:
    return Durable(change.changes, change.apply, change.undo)


def _check_file(directory: str, name: str) -> None:
    with as_command():
        checked_directory(directory)
        checked_name(name)


def _check_listed(directory: str) -> None:
    if directory:
        with as_command():
            checked_directory(directory)


def _check_move(directory: str, name: str, to_directory: str, to_name: str) -> None:
    _check_file(directory, name)
    _check_file(to_directory, to_name)
