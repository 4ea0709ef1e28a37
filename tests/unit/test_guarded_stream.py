"""A stream that never raises: what it passes on, what it counts, what it says of a stream that is not there."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable

import pytest

from flight.core.errors import reason_of
from flight.core.guarded_stream import GuardedStream
from tests.full_disk import full_device


class Bare:
    """What a log needs of a stream, and nothing else: no encoding, no descriptor, no end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.written: list[str] = []
        self.flushes = 0

    def write(self, text: str, /) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(text)

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        self.flushes += 1

    def isatty(self) -> bool:
        return True


def test_a_bare_stream_gets_every_character_as_it_is() -> None:
    bare = Bare()
    guarded = GuardedStream(bare)
    assert guarded.write("30 °C\n") == 6
    guarded.flush()
    guarded.close()
    assert (bare.written, bare.flushes) == (["30 °C\n"], 1)
    assert (guarded.faults, guarded.fault, guarded.encoding) == (0, "", "utf-8")
    assert guarded.isatty()
    with pytest.raises(OSError, match="no descriptor"):
        guarded.fileno()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("torn"), "torn"),
        (ValueError("I/O operation on closed file."), "I/O operation on closed file."),
    ],
)
def test_each_write_that_is_not_taken_is_counted_and_the_last_reason_kept(error: Exception, reason: str) -> None:
    bare = Bare(KeyError("an earlier one"))
    guarded = GuardedStream(bare)
    bare.error = OSError(5, "Input/output error")
    assert guarded.write("line\n") == 5
    bare.error = error
    guarded.flush()
    assert (guarded.faults, guarded.fault) == (2, reason) == (2, reason_of(error))
    guarded.write("line\n")
    assert guarded.faults == 3
    bare.error = None
    guarded.write("line\n")
    assert (guarded.faults, guarded.fault, bare.written) == (3, reason, ["line\n"])


def test_a_stream_that_is_not_there_takes_nothing_and_is_no_fault() -> None:
    guarded = GuardedStream(None)
    assert guarded.write("line\n") == 5
    guarded.flush()
    guarded.close()
    assert (guarded.faults, guarded.fault, guarded.isatty(), guarded.encoding) == (0, "", False, "utf-8")
    with pytest.raises(OSError, match="no descriptor"):
        guarded.fileno()


def test_what_the_encoding_lacks_is_escaped_and_the_stream_behind_keeps_its_descriptor() -> None:
    with tempfile.TemporaryFile("w+", encoding="ascii", errors="strict") as file:
        guarded = GuardedStream(file)
        assert guarded.write("30 °C, \udcff\n") == 9
        guarded.flush()
        assert (guarded.encoding, guarded.fileno(), guarded.isatty()) == ("ascii", file.fileno(), False)
        file.seek(0)
        assert file.read() == "30 \\xb0C, \\udcff\n"
        guarded.close()
        assert file.closed
    assert guarded.isatty() is False
    acts: list[Callable[[], object]] = [lambda: guarded.write("line\n"), guarded.flush]
    for faults, act in enumerate(acts, 1):
        act()
        assert guarded.faults == faults and "closed file" in guarded.fault


def test_a_file_whose_last_words_are_not_taken_is_closed_with_a_fault() -> None:
    with full_device() as full:
        guarded = GuardedStream(full)
        guarded.write("line\n")  # stays in memory
        assert guarded.faults == 0
        guarded.close()
        assert full.closed
    assert (guarded.faults, guarded.fault) == (1, "No space left on device")


def test_a_terminal_is_known_as_one() -> None:
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:
        assert GuardedStream(terminal).isatty()
    os.close(master)
    assert not GuardedStream(io.StringIO()).isatty()
