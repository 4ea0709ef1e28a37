"""ST[15] on-board storage and retrieval: its commands and reports, and the recorder's housekeeping (6.15, 8.15).

An empty list of stores means all of them.
"""

# Kept over reboots, each in the one transaction of its command: whether a store takes packets, what was deleted, where
# open retrieval starts, and whether it rests. A retrieval by time range is volatile: it ends with the power.
#
# Commands that search by time are generators: finding a packet's place may read many segments, and one step may not.
# All stores of one command change together, in one transaction, after all places have been found.

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial

from flight.contract.app import CommandRefused, Durable, Sample, Slices
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.failures import Failure
from flight.contract.fields import Field, Row, Value
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.step_budget import Budget, in_steps
from flight.services.recorder.recorder import Recorder, RecorderConfig
from flight.services.recorder.stored_packet import Place
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry

SUMMARY, STATUS = 13, 19
_ON_OFF = ("disabled", "enabled")
_OPEN = ("suspended", "running")
_BY_RANGE = ("idle", "running")

Stores = tuple[Row, ...]


def declare(apid: int, config: RecorderConfig) -> Declarations:
    """Return commands, reports and events of ST[15], and the recorder's structure: its fields depend on the stores."""
    return Declarations(
        structures=(Structure(apid, 8, "recorder", 10.0, _structure_fields(config)),),
        events=_events(apid),
        reports=_reports(apid, config),
        commands=_commands(apid, config),
    )


def _structure_fields(config: RecorderConfig) -> tuple[Field, ...]:
    u32 = "u32"
    out = [
        Field("storage_faults", u32, "", "times storage refused or failed"),
        Field("in_memory", u32, "", "packets that storage did not take, kept in memory until they are played back"),
        Field("lost", u32, "", "packets that found no room there either"),
        Field("returned", u32, "", "played back again: the contact ended before they were surely heard"),
    ]
    for store in config.store:
        out += [
            Field(f"{store.name}_waiting", u32, "", "packets that wait for playback"),
            Field(f"{store.name}_recorded", u32, "", "packets stored since boot"),
            Field(f"{store.name}_played", u32, "", "packets taken for playback since boot"),
            Field(f"{store.name}_overwritten", u32, "", "packets lost to newer ones before playback"),
            Field(f"{store.name}_refused", u32, "", "packets not taken: the store is full, or the packet too long"),
            Field(f"{store.name}_missing", u32, "", "stored packets found unreadable"),
            Field(f"{store.name}_filled_frac", "f32", "", "of its capacity"),
        ]
    return tuple(out)


def _events(apid: int) -> tuple[EventDefinition, ...]:
    store = Field("store", "str")
    packets = Field("packets", "u32")
    return (
        EventDefinition(apid, 60, "store_refuses", "low", "store {store} refuses packets, {packets} so far",
                        (store, packets)),
        EventDefinition(apid, 61, "store_overwrites", "low",
                        "store {store} overwrites what was not played back, {packets} packets so far",
                        (store, packets)),
        EventDefinition(apid, 62, "recorder_fault", "medium", "recorder: {faults} storage faults, the last: {reason}",
                        (Field("faults", "u32"), Field("reason", "str"))),
        EventDefinition(apid, 63, "range_retrieved", "info",
                        "store {store}: retrieval by time range has ended, {packets} packets", (store, packets)),
        EventDefinition(apid, 64, "packets_missing", "low",
                        "store {store}: {packets} packets were found unreadable or gone", (store, packets)),
    )  # fmt: skip


def _reports(apid: int, config: RecorderConfig) -> tuple[Report, ...]:
    store = _store_field(config)
    summary = (
        store,
        Field("oldest_time", "time", "", "packet time of the oldest packet, 0 if there is none"),
        Field("newest_time", "time", "", "packet time of the newest packet, 0 if there never was one"),
        Field("start_time", "time", "", "packet time of the next one in open retrieval"),
        Field("filled_percent", "u8", "%"),
        Field("waiting_percent", "u8", "%", "of the capacity, from the open retrieval's next packet on"),
    )
    status = (
        store,
        Field("storage", "u8", labels=_ON_OFF),
        Field("open_retrieval", "u8", labels=_OPEN),
        Field("range_retrieval", "u8", labels=_BY_RANGE),
    )
    return (
        Report(apid, 15, SUMMARY, "store_summary", (Field("stores", "rows", fields=summary),)),
        Report(apid, 15, STATUS, "store_status", (Field("stores", "rows", fields=status),)),
    )


def _commands(apid: int, config: RecorderConfig) -> tuple[Command, ...]:
    store = _store_field(config)
    stores = Field("stores", "rows", text="empty: all", fields=(store,))
    time = Field("time", "time", text="packet time")
    ranges = Field("ranges", "rows", fields=(store, Field("from_time", "time"), Field("to_time", "time")))
    return (
        Command("enable_store", apid, 15, 1, "let packet stores take packets, kept over reboots", (stores,),
                durable=True),
        Command("disable_store", apid, 15, 2, "let packet stores take no packets, kept over reboots", (stores,),
                durable=True),
        Command("retrieve_range", apid, 15, 9,
                "send the packets of a time range, both ends included, one range a store at once; ends with the power",
                (ranges,)),
        Command("delete_stored", apid, 15, 11, "delete the packets up to a time, that included, played back or not",
                (time, stores), durable=True),
        Command("report_store_summary", apid, 15, 12, "report how full packet stores are, and of what times",
                (stores,), idempotent=True),
        Command("set_retrieval_start", apid, 15, 14,
                "let open retrieval go on from a time; what was not heard from there on comes again", (time, stores),
                durable=True),
        Command("resume_retrieval", apid, 15, 15, "let open retrieval go on, kept over reboots", (stores,),
                durable=True),
        Command("suspend_retrieval", apid, 15, 16, "let open retrieval rest, kept over reboots", (stores,),
                durable=True),
        Command("abort_range", apid, 15, 17, "end retrievals by time range", (stores,)),
        Command("report_store_status", apid, 15, 18, "report what packet stores and their retrievals do", (stores,),
                idempotent=True),
    )  # fmt: skip


def _store_field(config: RecorderConfig) -> Field:
    return Field("store", "u8", labels=tuple(store.name for store in config.store))


class RetrievalCommands(Service):
    """Serves ST[15] for a recorder, and runs it."""

    def __init__(
        self, apid: int, config: RecorderConfig, recorder: Recorder, telemetry: Telemetry, events: Events
    ) -> None:
        self._apid = apid
        self._recorder = recorder
        self._telemetry = telemetry
        self._events = events
        self._summary, self._status = (report.layout for report in _reports(apid, config))

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[15]."""
        enable, suspend = self._recorder.enable, self._suspend
        return (
            CommandHandler("enable_store", None, lambda stores: self._each(stores, partial(enable, enabled=True))),
            CommandHandler("disable_store", None, lambda stores: self._each(stores, partial(enable, enabled=False))),
            CommandHandler(
                "resume_retrieval", None, lambda stores: self._each(stores, partial(suspend, suspended=False))
            ),
            CommandHandler(
                "suspend_retrieval", None, lambda stores: self._each(stores, partial(suspend, suspended=True))
            ),
            CommandHandler("delete_stored", None, self._delete),
            CommandHandler("set_retrieval_start", None, self._set_start),
            CommandHandler("retrieve_range", self._check_ranges, self._retrieve),
            CommandHandler("abort_range", None, self._abort),
            CommandHandler("report_store_summary", None, self._report_summary),
            CommandHandler("report_store_status", None, self._report_status),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "recorder"."""
        return (Sampler("recorder", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that makes packets durable and deletes what is to go."""
        return (ServiceTask("recorder", lambda task: self._recorder.run(task, self._events), deadline_s=2.0),)

    def sample(self) -> Sample:
        """Return the values of the structure "recorder"."""
        recorder = self._recorder
        values: dict[str, Value] = {
            "storage_faults": recorder.storage_faults,
            "in_memory": recorder.in_memory,
            "lost": recorder.lost,
            "returned": recorder.returned_packets,
        }
        for store, retrieval in zip(recorder.stores, recorder.retrievals, strict=True):
            values |= {
                f"{store.name}_waiting": retrieval.waiting,
                f"{store.name}_recorded": store.recorded,
                f"{store.name}_played": retrieval.played_back,
                f"{store.name}_overwritten": retrieval.overwritten,
                f"{store.name}_refused": store.refused,
                f"{store.name}_missing": store.missing,
                f"{store.name}_filled_frac": store.filled_frac(),
            }
        return values

    def _indices(self, stores: Stores) -> Iterable[int]:
        """Return the stores that are meant, each once, in order."""
        return sorted({int(index) for (index,) in stores}) or range(len(self._recorder.stores))

    def _each(self, stores: Stores, act: Callable[[int], Durable]) -> Durable:
        """Return the changes that `act` makes to each store, as one."""
        return _together([act(index) for index in self._indices(stores)])

    def _each_from(self, stores: Stores, time_ns: int, act: Callable[[int, Place], Durable]) -> Slices:
        """Return the changes that `act` makes to each store from a time on, as one.

        `act` gets the store and the place of its first packet not made before `time_ns`.
        """
        budget = Budget()
        changes: list[Durable] = []
        for index in self._indices(stores):
            place = yield from self._recorder.stores[index].place_at(time_ns, budget)
            changes.append(act(index, place))
        return _together(changes)

    def _suspend(self, index: int, suspended: bool) -> Durable:
        return self._recorder.retrievals[index].suspend(suspended)

    def _delete(self, time_ns: int, stores: Stores) -> Slices:
        # `delete_stored` includes its time: the first packet to keep is made at least 1 ns later.
        return self._each_from(stores, time_ns + 1, self._recorder.delete_before)

    def _set_start(self, time_ns: int, stores: Stores) -> Slices:
        retrievals = self._recorder.retrievals
        return self._each_from(stores, time_ns, lambda index, place: retrievals[index].start_at(place))

    def _check_ranges(self, ranges: tuple[Row, ...]) -> None:
        indices = [int(index) for index, _, _ in ranges]
        for index, from_ns, to_ns in ranges:
            name = self._recorder.stores[int(index)].name
            if int(from_ns) > int(to_ns):
                raise CommandRefused(Failure.BAD_VALUE, f"store {name}: the range ends before it begins")
            if indices.count(int(index)) > 1 or self._recorder.retrieves_range(int(index)):
                raise CommandRefused(
                    Failure.TOO_MANY, f"store {name}: one range at a time, abort_range ends the one before"
                )

    def _retrieve(self, ranges: tuple[Row, ...]) -> None:
        self._check_ranges(ranges)  # others may have begun since it was accepted
        for index, from_ns, to_ns in ranges:
            self._recorder.start_range(int(index), int(from_ns), int(to_ns))

    def _abort(self, stores: Stores) -> None:
        for index in self._indices(stores):
            self._recorder.abort_range(index)

    def _report_summary(self, stores: Stores) -> Slices:
        rows: list[Row] = []
        budget = Budget()
        for index in self._indices(stores):
            row = yield from self._summarise(index, budget)
            rows.append(row)
        self._send(SUMMARY, self._summary.encode((tuple(rows),)))
        return None

    def _summarise(self, index: int, budget: Budget) -> Generator[None, None, Row]:
        store, retrieval = self._recorder.stores[index], self._recorder.retrievals[index]
        oldest = yield from in_steps(store.oldest, budget)
        start_ns = yield from in_steps(retrieval.start_ns, budget)
        filled, waiting = store.filled_frac(), store.filled_frac(retrieval.pointer.number)
        return (
            index, oldest.time_ns if oldest else 0, store.newest_ns, start_ns,
            round(100 * filled), round(100 * waiting),
        )  # fmt: skip

    def _report_status(self, stores: Stores) -> None:
        recorder = self._recorder
        rows = tuple(
            (i, int(recorder.enabled[i]), int(not recorder.retrievals[i].suspended), int(recorder.retrieves_range(i)))
            for i in self._indices(stores)
        )
        self._send(STATUS, self._status.encode((rows,)))

    def _send(self, subtype: int, data: bytes) -> None:
        self._telemetry.send(self._apid, 15, subtype, data)


def _together(changes: list[Durable]) -> Durable:
    """Return all changes as one."""

    def apply() -> None:
        for change in changes:
            change.apply()

    return Durable({key: value for change in changes for key, value in change.changes.items()}, apply)
