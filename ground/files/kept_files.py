"""Files whose octets are all here, or of which no more will come: checked and put among the products, in slices."""

# To check a file of gigabytes takes seconds, in which no frame may be lost. So the work is a queue of generators, of
# which each call of `work` does `_SLICES` steps, the oldest file first. A count of steps, not a time, so that a run of
# the simulator is the same each time.
#
# A file is put among the products, and its row into the archive, before anything is said of it: `release` is called
# once the row is durable. If a kill comes in between, it is checked and put there once more by the next ground, and is
# recognised by its content.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping

from flight.core.errors import OrbitnodeError
from flight.link.cfdp.conditions import ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.tlv import FilestoreResponse
from flight.link.cfdp.transactions.indications import FileComplete, TransactionFinished
from flight.link.cfdp.transactions.requests import GAPS_SHOWN, Refused, Retained, TransactionStatus
from ground.files.file_check import check_file
from ground.files.ground_filestore import ArrivingFile
from ground.files.transfer_folder import TransferFolder
from ground.products.product_store import IncompleteFile, ProductStore
from ground.telemetry.archive_rows import ProductRow

_SLICES = 4  # per call of `work`

Result = ProductRow | OrbitnodeError  # a file that came, or what kept it from being stored


class KeptFiles:
    """See the head of the file. `results` grows by what became of each file.

    tai_ns: the time now. settle: called with what is to be told of a file that was checked. on_kept: called if it was
    kept, some time before that. on_part: called when a file of which no more comes was put away, as far as it came.
    """

    def __init__(
        self, folder: TransferFolder, products: ProductStore, *, tai_ns: Callable[[], int],
        settle: Callable[[TransactionId, Retained | Refused], None],
        on_kept: Callable[[ArrivingFile, ProductRow], None], on_part: Callable[[TransactionFinished], None],
    ) -> None:  # fmt: skip
        self.results: deque[Result] = deque()
        self._folder = folder
        self._products = products
        self._tai_ns = tai_ns
        self._settle = settle
        self._on_kept = on_kept
        self._on_part = on_part
        self._jobs: dict[TransactionId, Generator[None, None, None]] = {}  # the oldest first
        self._untold: dict[TransactionId, tuple[ArrivingFile, Retained]] = {}  # kept, and not told of yet

    @property
    def waiting(self) -> set[TransactionId]:
        """The transactions whose files wait, or are being checked."""
        return {*self._jobs, *self._untold}

    @property
    def has_untold(self) -> bool:
        """Whether files were kept whose rows have to be durable before `release`."""
        return bool(self._untold)

    def release(self) -> None:
        """Have told of the files that were kept: their rows are durable."""
        untold, self._untold = self._untold, {}
        for transaction, (arriving, answer) in untold.items():
            arriving.is_told = True
            self._settle(transaction, answer)

    def keep(self, arriving: ArrivingFile, complete: FileComplete, responses: tuple[FilestoreResponse, ...]) -> None:
        """Have a file checked and kept that has all its octets."""
        if arriving.transaction not in self.waiting:  # told of once more while it waits
            self._jobs[arriving.transaction] = self._keep(arriving, complete, responses)

    def keep_part(self, arriving: ArrivingFile, finished: TransactionFinished) -> None:
        """Have what came of a file kept."""
        self._jobs[arriving.transaction] = self._keep_part(arriving, finished)

    def drop(self, transaction: TransactionId) -> None:
        """Check the file of this transaction no further: it has ended."""
        self._jobs.pop(transaction, None)
        self._untold.pop(transaction, None)

    def work(self) -> None:
        """Do a little of the work."""
        for _ in range(_SLICES):
            if not self._jobs:
                return
            name, job = next(iter(self._jobs.items()))
            if next(job, self) is self and self._jobs.get(name) is job:
                del self._jobs[name]

    def finish(
        self, transactions: Callable[[], list[TransactionStatus]], arriving: Mapping[TransactionId, ArrivingFile]
    ) -> None:
        """Do all of the work, however long it takes; then put away what came of the files that are not whole."""
        while self._jobs:
            self.work()
        for status in transactions():
            file = arriving.get(status.transaction)
            if file is not None and not file.kept:
                self.keep_part(file, _cut_off(status))
        while self._jobs:
            self.work()

    def _keep(
        self, arriving: ArrivingFile, complete: FileComplete, responses: tuple[FilestoreResponse, ...]
    ) -> Generator[None, None, None]:
        name = complete.name or _nameless(arriving.transaction)
        try:
            if not complete.octets:
                arriving.working.truncate(0)  # makes it: nothing was ever written
            check = yield from check_file(arriving.working, complete.octets, complete.checksum_type, complete.checksum)
            if check.fault:
                self._answer(arriving.transaction, Refused(check.fault, responses=responses))
                return
            while not arriving.working.sync_soon():
                yield
            row = yield from self._products.keep(
                arriving.key, arriving.working.path, name, complete.octets, check.digest, self._tai_ns()
            )
            self._folder.sync_names_of(self._products.path)
        except OrbitnodeError as error:
            self.results.append(error)
            refused = Refused(str(error), ConditionCode.FILESTORE_REJECTION, FileStatus.REJECTED, responses)
            self._answer(arriving.transaction, refused)
            return
        arriving.kept, arriving.digest = row.name, row.sha256
        self.results.append(row)
        self._on_kept(arriving, row)
        self._untold[arriving.transaction] = arriving, Retained(responses)

    def _keep_part(self, arriving: ArrivingFile, finished: TransactionFinished) -> Generator[None, None, None]:
        came = finished.octets - sum(end - start for start, end in finished.missing)
        file = IncompleteFile(
            name=finished.name or _nameless(arriving.transaction),
            octets=finished.octets,
            missing=finished.missing,
            reason=finished.text or finished.condition.text,
            working=arriving.working.path if came else None,
        )
        try:
            if came or finished.name:
                row = yield from self._products.keep_part(arriving.key, file, self._tai_ns())
                if row is not None:
                    self.results.append(row)
        except OrbitnodeError as error:
            self.results.append(error)
        self._on_part(finished)

    def _answer(self, transaction: TransactionId, answer: Retained | Refused) -> None:
        self._jobs.pop(transaction, None)  # before what follows, which may be work of its own
        self._settle(transaction, answer)


def _nameless(transaction: TransactionId) -> str:
    """Return what a file is called whose metadata never came."""
    return f"transaction-{transaction.source}-{transaction.number}"


def _cut_off(status: TransactionStatus) -> TransactionFinished:
    """Return the end of a transfer that nobody goes on with."""
    gaps = status.gaps
    octets = status.octets if status.octets is not None else gaps[-1][1] if gaps else status.octets_done
    if len(gaps) >= GAPS_SHOWN:  # there may be more of them: what lies behind the last one counts as missing
        gaps = (*gaps[:-1], (gaps[-1][0], octets))
    return TransactionFinished(
        status.transaction, status.role, ConditionCode.CANCEL_REQUEST_RECEIVED, DeliveryCode.INCOMPLETE,
        FileStatus.UNREPORTED, status.name, octets, gaps, text="the ground ended before the file did",
    )  # fmt: skip
