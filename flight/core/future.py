"""Futures, events and bounded queues: the only things that a task can wait for.

All three are used from the loop's thread alone.
"""

# Nothing here knows a clock or a loop: a future calls back whoever waits for it, and a task of the scheduler is one
# such caller. So drivers, storage and tests use the same futures, in real and in virtual time (ADR 0003).
#
#     future   open --set_result, set_error--> done, for good; whatever is set later is dropped
#     event    clear --set--> set --clear--> clear. A new future stands for each clear period, so a task that waits
#              wakes even if the event is cleared again before the task gets its turn
#     queue    bounded. When full it refuses and counts, and the giver decides; it never blocks and never drops what it
#              has accepted
#
# Callbacks run at once, in the call that resolves the future. They must be short: a task's only makes it ready.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar, cast

from flight.core.errors import MisuseError

T = TypeVar("T")


class Cancelled(BaseException):
    """Thrown into a task that is being cancelled. It is not an Exception, so that tasks do not swallow it."""


class Future(Generic[T]):
    """A value that arrives once, or an error in its place.

    `await future` suspends the task until then. A future that is resolved twice keeps the first outcome. `done` is for
    others to read, not to set.
    """

    __slots__ = ("_callbacks", "_error", "_value", "done")

    def __init__(self) -> None:
        self.done = False  # a plain attribute, since every wait reads it
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], None]] = []

    def result(self) -> T:
        """Return the value, or raise the error in its place. Raises MisuseError if the future is not done."""
        if not self.done:
            raise MisuseError("result of a future that is not done, await it")
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def set_result(self, value: T) -> None:
        """Resolve the future with `value`. Nothing happens if it is done."""
        self._finish(value, None)

    def set_error(self, error: BaseException) -> None:
        """Resolve the future with an error, which `result` raises. Nothing happens if it is done."""
        self._finish(None, error)

    def _finish(self, value: T | None, error: BaseException | None) -> None:
        if self.done:
            return
        self.done, self._value, self._error = True, value, error
        callbacks = self._callbacks
        if callbacks:
            self._callbacks = []  # taken out first: a callback may add or remove others
            for callback in callbacks:
                callback(self)

    def add_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Call `callback(self)` when the future is done, at once if it is."""
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Forget `callback`. Nothing happens if it is unknown."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self.done:
            yield self
        return self.result()


class Event:
    """A flag that tasks wait for. `set` wakes all that wait; the flag stays set until `clear`.

    All who wait share one future, so waits that are given up leave nothing behind.
    """

    __slots__ = ("_raised",)

    def __init__(self) -> None:
        self._raised: Future[None] = Future()

    @property
    def is_set(self) -> bool:
        """Whether the flag is set."""
        return self._raised.done

    def set(self) -> None:
        """Set the flag and wake everybody who waits."""
        if not self._raised.done:
            self._raised.set_result(None)

    def clear(self) -> None:
        """Clear the flag. Whoever was woken by the last `set` stays awake."""
        if self._raised.done:
            self._raised = Future()

    def wait(self) -> Future[None]:
        """Return a future that is done when the flag is set."""
        return self._raised


class Queue(Generic[T]):
    """A bounded first-in first-out queue. A full queue refuses and counts, it never blocks the giver."""

    __slots__ = ("_items", "_ready", "capacity", "refused")

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise MisuseError(f"queue with a capacity of {capacity}, should be 1 at least")
        self.capacity = capacity
        self.refused = 0
        self._items: deque[T] = deque()
        self._ready = Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> bool:
        """Add `item` and return True; if the queue is full, count it in `refused` and return False."""
        if len(self._items) >= self.capacity:
            self.refused += 1
            return False
        self._items.append(item)
        self._ready.set()
        return True

    def take(self) -> T | None:
        """Take out the oldest item; return None if the queue is empty."""
        return self._items.popleft() if self._items else None

    async def get(self) -> T:
        """Wait for an item, and take out the oldest one."""
        while not self._items:  # a loop: another task that waits as well may have taken the item first
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()
