"""Futures, events and bounded queues: the only things a task can wait for.

Nothing here knows a clock or a loop: a future calls back whoever waits for it, and the scheduler is
one such caller. All three are used from the loop's thread alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar, cast

from flight.core.errors import MisuseError

T = TypeVar("T")


class Cancelled(BaseException):
    """Thrown into a task that is being cancelled; not an Exception, so that tasks do not swallow it."""


class Future(Generic[T]):
    """A value that arrives once, or an error in its place.

    `await future` suspends the task until then. A future that is resolved twice keeps the first outcome.
    """

    __slots__ = ("_callbacks", "_error", "_value", "done")

    def __init__(self) -> None:
        self.done = False  # to be read alone
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], None]] = []

    def result(self) -> T:
        """The value; raises the stored error. Only for a future that is done."""
        if not self.done:
            raise MisuseError("result of a future that is not done, await it")
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def set_result(self, value: T) -> None:
        self._finish(value, None)

    def set_error(self, error: BaseException) -> None:
        self._finish(None, error)

    def _finish(self, value: T | None, error: BaseException | None) -> None:
        if self.done:
            return
        self.done, self._value, self._error = True, value, error
        callbacks = self._callbacks
        if callbacks:
            self._callbacks = []
            for callback in callbacks:
                callback(self)

    def add_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Call `callback(self)` when done; at once where that is already so."""
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Forget `callback`; nothing happens where it is not known."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self.done:
            yield self
        return self.result()


class Event:
    """A flag that tasks wait for. `set` wakes all that wait; it stays set until `clear`.

    All who wait share one future, so waits that are given up leave nothing behind.
    """

    __slots__ = ("_raised",)

    def __init__(self) -> None:
        self._raised: Future[None] = Future()

    @property
    def is_set(self) -> bool:
        return self._raised.done

    def set(self) -> None:
        if not self._raised.done:
            self._raised.set_result(None)

    def clear(self) -> None:
        if self._raised.done:
            self._raised = Future()

    def wait(self) -> Future[None]:
        """A future that is done when the flag is set."""
        return self._raised


class Queue(Generic[T]):
    """A bounded first-in first-out queue. A full queue refuses and counts, it never blocks the giver."""

    __slots__ = ("_items", "_ready", "capacity", "refused")

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise MisuseError(f"queue with room for {capacity}, should be 1 at least")
        self.capacity = capacity
        self.refused = 0
        self._items: deque[T] = deque()
        self._ready = Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> bool:
        """Add `item`; False, and counted in `refused`, where the queue is full."""
        if len(self._items) >= self.capacity:
            self.refused += 1
            return False
        self._items.append(item)
        self._ready.set()
        return True

    def take(self) -> T | None:
        """The oldest item, or None from an empty queue."""
        return self._items.popleft() if self._items else None

    async def get(self) -> T:
        """Wait for the oldest item."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()
