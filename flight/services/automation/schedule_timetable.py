"""The timetable of the schedule: which activities wait for their release, and what is enabled, as it is in force.

    waiting --its time has come--> being released --ended, its row is gone---> executed or refused, with its reports
                                                  --ended, its row is there--> given up: out of sight until the boot
            --deleted or shifted-> gone, or waiting again

The rows of the vault are the truth (schedule_store.py). What is in force follows them when a change is durable, or has
failed.
"""

# Two views of one schedule are needed because a change takes the time of a disk. Commands are checked against the rows,
# in which a change on its way to the disk counts already: two commands in a row must not insert the same request id, or
# delete one activity twice. What is released goes by what is in force, but an activity is looked up in the rows once
# more before it begins, so that one which a change is about to delete, shift or disable is not executed.
#
# An activity that is being released is out of the reach of commands: by the time they are stored it may be executed.
# So is one that was given up: nobody knows whether its row will be there after a boot. After a loss of transactions in
# the vault, stale rows that were due by the time of boot are given up: their activities may have been released in what
# is lost, and none is executed twice.
# Later activities stand, although ground may have deleted them in what is lost. That is the lesser risk, and an event
# reports the loss to ground (ADR 0012).

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
    """What is in force of the schedule.

    `store` has the rows, `gates` says what is enabled. `changed` is set whenever the rows were read again. `now_ns` is
    the time at boot, in ns of TAI since 1958.
    """

    def __init__(self, vault: Vault, events: Events, now_ns: int) -> None:
        self.store = ScheduleStore(vault, ForeignRows("schedule", events).report)
        self.gates = Gates()
        self.changed = Event()
        self._waiting: dict[ID, Activity] = {}
        self._at_work: dict[ID, Task] = {}
        self._given_up: set[ID] = set()  # their release was not stored, or may be in what the vault lost
        self._give_up_uncertain(vault, events, now_ns)
        self.refresh()

    def _give_up_uncertain(self, vault: Vault, events: Events, now_ns: int) -> None:
        """Give up what may have been released in transactions that the vault has lost."""
        stale = [activity for activity in self.store.activities().values() if vault.is_stale(activity.row)]
        due = [activity for activity in stale if activity.time_ns <= now_ns]
        if not due:
            return
        self._given_up.update(activity.id for activity in due)
        names = name_commands([activity.id[1:] for activity in due])
        text = f"{len(due)} of the activities may have been released in what is gone, given up: {names}"
        events.emit("record_damaged", "schedule", text)
        try:
            vault.stage({activity.row: None for activity in due})
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
        """Return the activity that is released next, or None if none waits."""
        return min(self._waiting.values(), key=lambda activity: activity.order, default=None)

    def within_reach(self) -> list[Activity]:
        """Return what commands may change, as the rows have it, in order of release."""
        held = self.store.activities()
        reachable = (activity for id, activity in held.items() if not self.is_leaving(id))
        return sorted(reachable, key=lambda activity: activity.order)

    def is_leaving(self, id: ID) -> bool:
        """Whether the activity is being released, or was given up."""
        return id in self._at_work or id in self._given_up

    def change(self, changes: Changes) -> Durable:
        """Return what a command leaves to be done for `changes` of the rows."""
        # The rows are read again if the change failed as well: it counted while it was on its way.
        return Durable(changes, self.refresh, self.refresh)

    def refresh(self) -> None:
        """Put in force what the rows say, after a change has become durable or has failed."""
        self._given_up = {id for id in self._given_up if id in self.store}
        self._waiting = {activity.id: activity for activity in self.within_reach()}
        self.gates = self.store.gates()
        self.changed.set()

    def drop(self, activity: Activity) -> None:
        """Take out of what waits an activity that a change deletes or shifts. Its new state comes with the change."""
        del self._waiting[activity.id]

    def begin(self, activity: Activity, release: Task) -> None:
        """Take the activity as being released until the task `release` ends."""
        del self._waiting[activity.id]
        self._at_work[activity.id] = release
        release.finished.add_callback(lambda _: self._end(activity.id))

    def _end(self, id: ID) -> None:
        del self._at_work[id]
        if id in self.store:
            # The disk did not take its release. Whether it will be found again, the next boot decides.
            self._given_up.add(id)
