"""The timetable of the schedule: which activities wait for their release, and what is enabled, as it is in force.

    waiting --its time has come--> being released --ended, its row is gone-> executed or refused, with its reports
                                                  --ended, its row stands--> given up: out of sight until the next boot
            --deleted or shifted-> gone, or waiting anew

The vault's rows are the truth (schedule_store.py). What is in force follows them when a change is durable, or has
failed. A change on its way to the disk counts already for whoever asks the rows: commands are checked against them,
and what such a change deletes, shifts or disables is not executed. What is being released, or was given up, is out of
the reach of commands.
"""

from __future__ import annotations

from collections.abc import Collection

from flight.contract.app import Durable
from flight.core.errors import StorageError
from flight.core.future import Event
from flight.core.task import Task
from flight.services.automation.schedule_store import ID, Activity, Gates, ScheduleStore
from flight.services.commanding.command_log import name_commands
from flight.services.reporting.events import Events
from flight.services.settings.foreign_rows import ForeignRows
from flight.store.vault import Changes, Vault


class Timetable:
    """`store`: the rows. `gates`: what is enabled, in force. `changed` is set when what is in force may be another;
    `now_ns` is the time at boot.
    """

    def __init__(self, vault: Vault, events: Events, now_ns: int) -> None:
        self.store = ScheduleStore(vault, ForeignRows("schedule", events).tell)
        self.gates = Gates()
        self.changed = Event()
        self._waiting: dict[ID, Activity] = {}
        self._at_work: dict[ID, Task] = {}
        self._given_up: set[ID] = set()  # the disk did not take their release, or what is gone may have held it
        self._give_up_uncertain(vault, events, now_ns)
        self.refresh()

    def _give_up_uncertain(self, vault: Vault, events: Events, now_ns: int) -> None:
        """If the vault lost transactions, an activity that was due by now may have been released in them: never
        twice. Later ones stand: a schedule that ground deleted in what is lost is the lesser risk, and ground is told.
        """
        due = [one for one in self.store.activities().values() if one.time_ns <= now_ns and vault.is_stale(one.row)]
        if not due:
            return
        self._given_up.update(one.id for one in due)
        names = name_commands([one.id[1:] for one in due])
        text = f"{len(due)} activities may have been released in what is gone and are given up: {names}"
        events.emit("record_damaged", "schedule", text)
        try:
            vault.stage({one.row: None for one in due})
        except StorageError:
            return  # out of sight until the next boot, which finds them again

    @property
    def waiting(self) -> Collection[Activity]:
        """The activities that wait for their release, in force."""
        return self._waiting.values()

    @property
    def at_work(self) -> Collection[Task]:
        """The releases that have not ended."""
        return self._at_work.values()

    def first(self) -> Activity | None:
        """The one that is released next."""
        return min(self._waiting.values(), key=lambda one: one.order, default=None)

    def within_reach(self) -> list[Activity]:
        """What commands may change, as the rows have it, in order of release."""
        held = self.store.activities()
        return sorted((one for id, one in held.items() if not self.is_leaving(id)), key=lambda one: one.order)

    def is_leaving(self, id: ID) -> bool:
        """Whether the activity is being released, or is given up."""
        return id in self._at_work or id in self._given_up

    def change(self, changes: Changes) -> Durable:
        """What a command leaves to be done for `changes` of the rows."""
        return Durable(changes, self.refresh, self.refresh)

    def refresh(self) -> None:
        """A change is durable, or failed: have in force what the vault says."""
        self._given_up = {id for id in self._given_up if id in self.store}
        self._waiting = {one.id: one for one in self.within_reach()}
        self.gates = self.store.gates()
        self.changed.set()

    def drop(self, activity: Activity) -> None:
        """It was deleted or shifted: what it is now is in force when that is durable."""
        del self._waiting[activity.id]

    def begin(self, activity: Activity, release: Task) -> None:
        """It is being released, until that task ends."""
        del self._waiting[activity.id]
        self._at_work[activity.id] = release
        release.finished.add_callback(lambda _: self._end(activity.id))

    def _end(self, id: ID) -> None:
        del self._at_work[id]
        if id in self.store:
            self._given_up.add(id)
