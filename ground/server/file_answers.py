"""The API's answers about files: sending one, asking for one, and how transfers stand."""

# A file that goes up is copied first (ground/files/transfer_folder.py), in a thread, step by step: the disk that it is
# on may be slow, or far away, and the ground must not wait for it. If the client goes while its file is copied, the
# copy is given up. Once the transfer has begun it goes on, whoever is there.
#
# A client that waits is told once a second how far the transfer is. `timeout_s` counts from the last octet that arrived
# and is off unless it is asked for: a transfer may wait for days for its next contact.

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.link.cfdp.header import Mode
from ground.changes import Change
from ground.files.file_desk import FileDesk
from ground.files.transfer import DOWN, Transfer, transaction_text
from ground.files.transfer_folder import SourceCopy, TransferFolder
from ground.operator import COMPLETED, FAILED
from ground.server.command_answers import Transmit, listening
from ground.server.connection import LOOK_S, Connection
from ground.station import GroundStation


async def put_file(station: GroundStation, transmit: Transmit, request: dict[str, Any], client: Connection) -> None:
    """Send a file up and answer as api.py says. Raises OrbitnodeError, and ConnectionError if the client goes."""
    name, path = request.get("name", ""), request.get("path", "")
    if ("path" in request) == ("octets" in request):
        raise OrbitnodeError("request: files_put has a path or octets, and not both")
    desk = _desk_of(station)
    if "octets" in request:
        key, octets, digest = _kept(desk.folder, request["octets"])
    elif not Path(path).is_absolute():
        raise OrbitnodeError("request: path should begin at the root: the ground may run in another folder")
    else:
        key, octets, digest = await _copied(desk.folder, Path(path), client)
    mode = Mode.ACKNOWLEDGED if request.get("class", 2) == 2 else Mode.UNACKNOWLEDGED
    with _changes(station) as changed:
        transaction = transaction_text(
            desk.put(key, name=name, local=path, octets=octets, digest=digest, mode=mode, now_ns=time.monotonic_ns())
        )
        transmit(station.feed_files(time.monotonic_ns()))
        begun = {"transaction": transaction, "name": name, "octets": octets, "sha256": digest}
        wait = _Wait(client, changed, request.get("timeout_s"))
        outcome, reason = "", ""
        if request.get("wait", True):
            client.put(begun)
            look = partial(desk.transfer, transaction)
            if not await wait.until_ended(look, lambda: _is_over(look(time.monotonic_ns()))):
                desk.lead("cancel", transaction, time.monotonic_ns())
                transmit(station.feed_files(time.monotonic_ns()))
            ended = look(time.monotonic_ns())
            outcome, reason = (FAILED, "") if ended is None or ended.ended_ns is None else (ended.state, ended.reason)
    client.put({"done": True, "outcome": outcome, "reason": wait.given_up or reason, **begun})


async def get_file(station: GroundStation, transmit: Transmit, request: dict[str, Any], client: Connection) -> None:
    """Ask the node for a file and answer as api.py says; raises as `put_file` does."""
    desk = _desk_of(station)
    with _changes(station) as changed:
        get = desk.get(request.get("name", ""), time.monotonic_ns())
        transmit(station.feed_files(time.monotonic_ns()))
        begun = {"transaction": transaction_text(get.request), "name": get.name}

        def look(now_ns: int) -> Transfer | None:
            return None if get.arriving is None else desk.transfer(transaction_text(get.arriving), now_ns)

        wait = _Wait(client, changed, request.get("timeout_s"))
        if request.get("wait", True):
            client.put(begun)
            if not await wait.until_ended(look, lambda: bool(get.outcome)):
                get.fail(wait.given_up)
                desk.give_up(get, time.monotonic_ns())
                transmit(station.feed_files(time.monotonic_ns()))
    path = str((desk.products.path / get.product).absolute()) if get.product else ""
    client.put(
        {"done": True, "outcome": get.outcome, "reason": get.reason, **begun, "octets": get.octets,
         "sha256": get.digest, "path": path}
    )  # fmt: skip


def on_transfers(
    station: GroundStation, transmit: Transmit, request: dict[str, Any], now_ns: int
) -> dict[str, Any]:  # fmt: skip
    """Say how transfers stand (`files_progress`), or lead one (`files_lead`). Raises OrbitnodeError."""
    desk = _desk_of(station)
    if request["do"] == "files_progress":
        with_missing = request.get("missing", False)
        every = desk.transfers(now_ns)
        return {"transfers": [_shown(station, transfer, with_missing=with_missing) for transfer in every]}
    desk.lead(request.get("action", ""), request.get("transaction", ""), now_ns)
    transmit(station.feed_files(now_ns))
    return {}


def _desk_of(station: GroundStation) -> FileDesk:
    """Return the desk of files. Raises OrbitnodeError if this ground has none."""
    if station.files is None:
        raise OrbitnodeError("this ground has no folder for files")
    return station.files


def _is_over(transfer: Transfer | None) -> bool:
    """Return whether a transfer has ended, perhaps so long ago that nobody remembers it."""
    return transfer is None or transfer.ended_ns is not None


class _Wait:
    """A client's wait for the end of a transfer. `given_up`: why it waits no longer, "" if it did to the end."""

    def __init__(self, client: Connection, changed: asyncio.Event, timeout_s: float | None) -> None:
        self.given_up = ""
        self._client = client
        self._changed = changed
        self._timeout_s = timeout_s

    async def until_ended(self, look: Callable[[int], Transfer | None], ended: Callable[[], bool]) -> bool:
        """Tell the client how far it is until it has ended; return False if nothing more arrived for too long.

        look: gives the transfer at a time, None if there is none yet. Raises ConnectionError if the client goes.
        """
        there, moved_s = -1, time.monotonic()
        limit_s = LOOK_S if self._timeout_s is None else min(LOOK_S, self._timeout_s)
        while not ended():
            transfer, now_s = look(time.monotonic_ns()), time.monotonic()
            if transfer is not None and transfer.octets_there != there:
                there, moved_s = transfer.octets_there, now_s
                rate = round(transfer.octets_per_s, 1)
                self._client.put(
                    {"transaction": transfer.transaction, "there": there, "of": transfer.octets, "octets_per_s": rate}
                )
            elif self._timeout_s is not None and now_s - moved_s >= self._timeout_s:
                self.given_up = f"nothing more arrived for {self._timeout_s:g} s"
                return False
            await self._client.drain()
            await self._client.until(ended, self._changed, limit_s)
        return True


@contextmanager
def _changes(station: GroundStation) -> Iterator[asyncio.Event]:
    """Give an event that is set at every change of a transfer while the block runs."""
    changed = asyncio.Event()

    def on_change(change: Change, _what: object) -> None:
        if change is Change.TRANSFER:
            changed.set()

    with listening(station, on_change):
        yield changed


def _kept(folder: TransferFolder, text: str) -> tuple[str, int, str]:
    """Keep octets that came with the request; return key, length and SHA-256. Raises OrbitnodeError."""
    try:
        content = bytes.fromhex(text)
    except ValueError:
        raise OrbitnodeError("request: octets should be hexadecimal") from None
    return folder.keep(content), len(content), hashlib.sha256(content).hexdigest()


async def _copied(folder: TransferFolder, path: Path, client: Connection) -> tuple[str, int, str]:
    """Copy a file into the folder of transfers; return key, length and SHA-256. Raises OrbitnodeError."""
    copy = await asyncio.to_thread(folder.copy, path)
    is_whole = False
    try:
        while await _stepped(copy):
            client.check_there()
        client.check_there()
        is_whole = True
    finally:
        if not is_whole:  # the client is gone, or the ground ends: nobody wants the copy any more
            copy.abandon()
    return copy.key, copy.octets, copy.digest


async def _stepped(copy: SourceCopy) -> bool:
    """Do a step of a copy in a thread; it has ended when this has, also if this is cancelled.

    Else its files would be closed under it, and the numbers of their descriptors might be another file's by then.
    """
    step = asyncio.ensure_future(asyncio.to_thread(copy.step))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait((step,))
        raise


def _shown(station: GroundStation, transfer: Transfer, *, with_missing: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "transaction": transfer.transaction, "way": transfer.way, "name": transfer.name, "octets": transfer.octets,
        "there": transfer.octets_there, "class": transfer.mode, "state": transfer.state, "reason": transfer.reason,
        "path": _path(station, transfer), "octets_per_s": round(transfer.octets_per_s, 1),
        "began": station.utc_text(transfer.began_ns),
        "ended": None if transfer.ended_ns is None else station.utc_text(transfer.ended_ns),
    }  # fmt: skip
    return shown | {"missing": [list(stretch) for stretch in transfer.missing]} if with_missing else shown


def _path(station: GroundStation, transfer: Transfer) -> str:
    """Return the path of the file on this machine: what was sent, or what came, "" if there is none yet."""
    if transfer.way == DOWN and transfer.path and transfer.state == COMPLETED:
        return str((_desk_of(station).products.path / transfer.path).absolute())
    return transfer.path
