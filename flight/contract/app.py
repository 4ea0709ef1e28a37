"""What the node offers a payload app, and what it asks of one.

mission.toml lists the apps, each with a name and a class (`app = "payloads.manager:InferenceManager"`). The class is
imported, its section is read with its own config dataclass, and the node hands it an AppContext. The app touches
nothing else.
"""

# The life of an app, in the order of the node's boot: `CONFIG` reads its section, `declare` says what it adds to the
# dictionary, `section_faults` what this machine lacks, the class is made with its context, `start` spawns tasks, and at
# the end `close` gives back processes. The first two run wherever a mission is read, also on the ground.
#
# Several apps share one node and know nothing of each other (ADR 0031). What they share goes by their names: rows of
# the vault and tasks of an app are called by its name, a dot, and what the app calls them; so are files for the ground,
# if there is more than one app. So no app can reach another one's rows, whatever key it uses.
#
# The classes here are Protocols, since an app is given thin wrappers (flight/app_host.py) and not the node's services:
# they check what an app hands over, and know whose it is.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from flight.contract.dictionary import Declarations
from flight.contract.failures import FailureCode
from flight.contract.fields import Value
from flight.core.future import Future
from flight.core.platform import Platform
from flight.core.task import Body, Task
from flight.store.vault_view import VaultView
from flight.swarm.protocol import Swarm
from hal.base import Imager


class CommandRefused(Exception):
    """Raised by a handler to refuse a command: `code` is one that its owner declares, the message is its detail."""

    def __init__(self, code: FailureCode, detail: str) -> None:
        if not isinstance(code, FailureCode):
            raise TypeError(f"CommandRefused with code {code!r}, should be a FailureCode that its owner declares")
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Durable:
    """What the handler of a durable command returns: it changes nothing itself (ADR 0012).

    `changes` of its owner's rows in the vault are stored in one transaction with the command's own outcome. `apply` is
    called once that is durable and its reports are emitted. If it was not stored, or nobody can know, `undo` is called
    in its place: what is not kept must not be done. Neither can fail the command any more; what an app's raises is
    reported by an event.
    """

    changes: Mapping[str, bytes | None] = field(default_factory=dict)
    apply: Callable[[], None] = lambda: None
    undo: Callable[[], None] = lambda: None


Slices = Generator[None, None, Durable | None]
Handler = Callable[..., Awaitable[Durable | None] | Slices | Durable | None]


class EventSink(Protocol):
    """Where events go."""

    def emit(self, name: str, *values: Value) -> None:
        """Report the app's event `name`, with values in the order of its fields."""


class CommandTable(Protocol):
    """Where commands get their handlers."""

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler) -> None:
        """Serve the command `name`: `check` and `execute` are called with one value per argument.

        `check` runs before acceptance, `execute` after it; either may raise CommandRefused. If `execute` returns an
        awaitable, the command is completed when that is. What a durable command wants kept it returns as Durable. An
        `execute` with more to do than a step holds (flight.core.step_budget) is a generator: at each `yield` others
        have their turn.
        """


class TaskTable(Protocol):
    """Where tasks are started."""

    def spawn(
        self, name: str, body: Body, *, deadline_s: float = 1.0, budget_s: float = 0.05, critical: bool = False,
        starve_s: float | None = None,
    ) -> Task:  # fmt: skip
        """Start `body`, an `async def` of one argument, as flight.core.scheduler.Scheduler does.

        `name` begins with the app's name and a dot. If a body returns without ever having waited, an event says so.
        """


Sample = Mapping[str, Value]
"""Values of a housekeeping structure by the names of its fields."""


class HousekeepingTable(Protocol):
    """Where housekeeping structures get their values."""

    def provide(self, structure: str, sample: Callable[[], Sample]) -> None:
        """Call `sample` whenever a report of `structure` is due.

        Several owners may each give a part of one structure. Together they give every field once, which is checked
        at boot and at each report. A count that its field cannot hold wraps around there (flight.contract.fields).
        """


class ReportSink(Protocol):
    """Where reports go."""

    def send(self, name: str, *values: Value) -> None:
        """Send the app's report `name` (Declarations.reports)."""


class FileOutbox(Protocol):
    """Products on their way to the ground, as files that survive a loss of power (docs/guides/files.md)."""

    @property
    def backlog_octets(self) -> int:
        """File octets waiting or in transfer."""

    @property
    def room_octets(self) -> int:
        """File octets for which there is still room, without a file that waits being evicted for it."""

    def put(
        self, name: str, octets: bytes, *, priority: int = 1, value: float = 1.0, arrive: bool | None = None
    ) -> Future[bool]:
        """Store a file for downlink. It begins at once, and need not be awaited.

        The future is True once the file is durable on board, and False if it was refused, which an event says as well.
        Files go down by priority, 0 to 255 with 0 first, then by value per octet, the greater first, then by age.
        arrive: the file must arrive whole (CFDP class 2), or need not (class 1); None: as the mission says. If there
        are several apps, the file reaches ground as `app.name`.
        """


@dataclass(frozen=True, slots=True)
class PowerMode:
    """One row of mission.toml's mode table: what power the payload may draw, and how fast it then is.

    `tile_s` is the duration of one inference by the table, `payload_w` what the payload draws meanwhile.
    """

    name: str
    payload_w: float
    tile_s: float
    admits: bool


@dataclass(frozen=True, slots=True)
class NodeState:
    """What an admission decision may look at, sampled by the node's own services."""

    soc_frac: float
    board_c: float
    radiator_c: float
    mode: PowerMode
    payload_on: bool
    in_contact: bool
    payload_cycles: int = 0
    """How often the payload was switched on since boot, so that nobody misses it going off and on between two looks."""


@dataclass(frozen=True, slots=True)
class AppContext:
    """Everything an app gets. `state()` is the newest NodeState, None before the first sample."""

    name: str
    """The app's name in the mission. The names of its tasks begin with it and a dot."""
    platform: Platform
    scheduler: TaskTable
    vault: VaultView
    tai_ns: Callable[[], int]
    """On-board time, ns of TAI since 1958: the platform's, corrected by ground. It may be set back."""
    config: Any
    events: EventSink
    commands: CommandTable
    housekeeping: HousekeepingTable
    reports: ReportSink
    outbox: FileOutbox
    swarm: Swarm
    imager: Imager | None
    state: Callable[[], NodeState | None]
    set_load: Callable[[bool], None]
    """Says whether this app is working, so that the payload draws its mode's `payload_w`, or idle."""


class App(Protocol):
    """A payload app. `CONFIG` is the dataclass that reads its section of the mission.

    The class may also offer `section_faults(config)`: pairs of a key, and what is wrong and what would be right, for
    what its section names and this machine does not have. It is called before a node boots, so that this is reported
    with the mission's other faults.
    """

    CONFIG: type[Any]

    @staticmethod
    def declare(apid: int, config: Any) -> Declarations:
        """Return what the app adds to the dictionary, given its APID and its section of the mission."""

    def __init__(self, context: AppContext) -> None: ...

    def start(self) -> None:
        """Spawn tasks. Called once, after every service is in place."""

    def close(self) -> None:
        """Give back processes and shared memory; the node is going down."""
