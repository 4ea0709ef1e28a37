"""The sink of a loop's output: against real pipes, terminals and a full device, it never waits and never raises."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from flight.core.log import gap_line, node_log
from flight.core.nanoseconds import NS
from flight.linux.log_sink import SLOW, LogSink, diverted
from flight.services.health.log_watch import LogWatch
from tests.full_disk import full_device
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
PIPE_OCTETS = 4096
GAP = re.compile(r"orbitnode: (\d+) lines? (?:is|are) missing here, lost in [\d.]+ s: (.+)")


class Pipe:
    """A small pipe; the writing end is a text stream as a process has it."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_OCTETS)
        self.stream: TextIO = open(writer, "w", encoding="utf-8")  # noqa: SIM115 - closed below

    def read_to_end(self) -> str:
        """All that comes until every writer has closed."""
        self.stream.close()
        with open(self.reader, "rb", closefd=False) as file:
            return file.read().decode()

    def read_until(self, wanted: Callable[[str], object]) -> str:
        text = b""
        while not wanted(text.decode(errors="replace")):
            octets = os.read(self.reader, 4096)
            assert octets, f"ended with {text[-200:]!r}"
            text += octets
        return text.decode()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def until(condition: Callable[[], object]) -> None:
    wait_until(condition, "what the sink should have come to")


def run_script(script: str, *, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=GIVE_UP_S,
        check=False,
    )  # fmt: skip


def missing(lines: list[str], count: int, reason: str) -> int:
    """How many of "line 0" to "line {count - 1}" are not there; each gap says where and how many, in order."""
    next_number = lost = 0
    for line in lines:
        told = GAP.fullmatch(line)
        if told:
            assert told[2] in (reason, SLOW)  # the queue may be full before the first write was refused
            next_number += int(told[1])
            lost += int(told[1])
        else:
            assert line == f"line {next_number}"
            next_number += 1
    assert next_number == count
    return lost


def test_lines_come_in_order_and_a_line_without_end_comes_with_the_flush(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream)
    for number in range(20):
        print(number, "of", 20, file=sink)
    print("\r\x1b[2Kstatus", end="", file=sink, flush=True)
    assert sink.drain(60) and sink.close()
    assert pipe.read_to_end() == "".join(f"{n} of 20\n" for n in range(20)) + "\r\x1b[2Kstatus"
    assert sink.lost == 0 and sink.fault == ""


def test_a_paused_reader_finds_the_beginning_one_gap_and_what_came_after(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream, queue_octets=8192)
    for number in range(5000):
        sink.write(f"line {number}\n")  # nobody reads: on a plain stream this never returns
    until(lambda: sink.fault)
    assert sink.fault == SLOW and sink.lost > 3000
    lost = sink.lost
    reading = threading.Thread(target=lambda: text.append(pipe.read_until(lambda text: text.endswith("after\n"))))
    text: list[str] = []
    reading.start()
    until(lambda: sink.fault == "")
    assert sink.drain(60)  # the gap is told before there is room again
    sink.write("after\n")
    assert sink.drain(60) and sink.close() and sink.lost == lost
    reading.join()
    *lines, after = text[0].splitlines()
    assert missing(lines, 5000, SLOW) == lost and after == "after"


def test_a_reader_that_never_reads_does_not_keep_the_end_waiting(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream)
    for number in range(1000):
        sink.write(f"line {number}\n")
    assert not sink.close()
    sink.write("after the end\n")
    assert sink.lost == 1


def test_a_reader_that_left_is_a_fault_that_is_told_and_ends_with_a_new_reader(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    stream = open(fifo, "w", encoding="utf-8")  # noqa: SIM115
    sink = LogSink(stream, queue_octets=8192, retry_s=0.02)
    stream.close()
    os.close(reader)
    for number in range(1000):
        sink.write(f"line {number}\n")
    until(lambda: sink.fault == "Broken pipe" and sink.lost)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    until(lambda: sink.fault == "")
    assert sink.drain(60) and sink.close()
    with open(reader, "rb") as file:
        assert missing(file.read().decode().splitlines(), 1000, "Broken pipe") == sink.lost


def test_a_full_device_is_tried_again_and_given_up_at_the_end() -> None:
    with full_device() as full:
        sink = LogSink(full, retry_s=0.01)
        sink.write("line\n")
        until(lambda: sink.fault == "No space left on device")
        assert not sink.close()


def test_a_file_that_may_not_grow_goes_on_without_a_torn_line_once_it_may(tmp_path: Path) -> None:
    """In a process of its own: the limit on file sizes stands for the full disk, and is lifted later."""
    path = tmp_path / "log"
    script = f"""
import time
from flight.linux.log_sink import LogSink
from tests.full_disk import limited_files
with open({str(path)!r}, "w") as file:
    sink = LogSink(file, queue_octets=400, retry_s=0.01)
    with limited_files(100):
        for number in range(100):
            sink.write(f"line {{number}}\\n")
        while sink.fault != "File too large" or not sink.lost:
            time.sleep(0.01)
        print(sink.lost)
    assert sink.drain(60)
    sink.write("after\\n")
    assert sink.drain(60) and sink.close()
"""
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, after = path.read_text().splitlines()
    assert missing(lines, 100, "File too large") == int(done.stdout) and after == "after"


def test_a_terminal_that_hung_up_is_a_fault_and_no_end() -> None:
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:
        sink = LogSink(terminal, retry_s=0.01)
        assert sink.isatty()
        sink.write("heard\n")
        assert sink.drain(60)
        os.close(master)
        sink.write("not heard\n")
        until(lambda: sink.fault == "Input/output error")
        assert not sink.close()


def test_a_descriptor_that_others_made_nonblocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    sink = LogSink(pipe.stream, retry_s=0.01)
    for number in range(2000):
        sink.write(f"line {number}\n")
    text = pipe.read_until(lambda text: "line 1999\n" in text)
    assert text == "".join(f"line {n}\n" for n in range(2000)) and sink.close() and sink.lost == 0


def test_an_inherited_descriptor_keeps_its_flags(pipe: Pipe) -> None:
    before = fcntl.fcntl(pipe.stream, fcntl.F_GETFL)
    sink = LogSink(pipe.stream)
    sink.write("line\n")
    assert sink.drain(60)
    assert fcntl.fcntl(pipe.stream, fcntl.F_GETFL) == before and os.get_blocking(pipe.stream.fileno())
    assert sink.drain(60) and sink.close()


def test_what_is_closed_and_opened_again_under_the_same_number_gets_no_line(pipe: Pipe, tmp_path: Path) -> None:
    sink = LogSink(pipe.stream)
    number = pipe.stream.fileno()
    pipe.stream.close()
    journal = os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT)
    assert journal == number
    sink.write("line\n")
    assert sink.drain(60) and sink.close()
    assert (tmp_path / "journal").read_bytes() == b"" and os.read(pipe.reader, 100) == b"line\n"
    os.close(journal)


def test_a_short_line_does_not_pass_a_long_one_that_was_dropped(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream, queue_octets=200_000)
    sink.write("x" * 150_000 + "\n")  # more than the pipe takes
    sink.write("y" * 100_000 + "\n")
    sink.write("short\n")
    assert sink.lost == 2
    reading = threading.Thread(target=lambda: text.append(pipe.read_to_end()))
    text: list[str] = []
    reading.start()
    assert sink.drain(60)
    sink.write("after\n")
    assert sink.drain(60) and sink.close()
    reading.join()
    first, gap, after = text[0].splitlines()
    told = GAP.fullmatch(gap)
    assert first.startswith("xxx") and told and (told[1], told[2]) == ("2", SLOW) and after == "after"


def test_a_line_longer_than_the_queue_is_missed_and_the_others_are_not(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream, queue_octets=1000)
    sink.write("x" * 1001 + "\n")
    assert sink.drain(60)
    sink.write("short\n")
    assert sink.drain(60) and sink.close()
    gap, line = pipe.read_to_end().splitlines()
    told = GAP.fullmatch(gap)
    assert told and told[1] == "1" and told[2] == "a line of 1002 octets, at most 1000 are kept" and line == "short"


def test_what_the_encoding_lacks_is_escaped() -> None:
    reader, writer = os.pipe()
    with open(writer, "w", encoding="ascii") as stream:
        sink = LogSink(stream)
        sink.write("30 °C, \udcff\n")
        assert sink.drain(60) and sink.close()
    with open(reader, "rb") as file:
        assert file.read() == b"30 \\xb0C, \\udcff\n"


def test_a_stream_in_memory_is_written_as_well_and_a_closed_one_is_a_fault() -> None:
    stream = io.StringIO()
    sink = LogSink(stream)
    sink.write("line\n")
    assert sink.drain(60) and sink.close() and stream.getvalue() == "line\n"
    stream.close()
    sink = LogSink(stream, retry_s=0.01)
    sink.write("line\n")
    until(lambda: "closed file" in sink.fault)
    assert not sink.isatty() and not sink.close()


def test_writing_from_many_threads_keeps_lines_whole(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream)

    def write(name: int) -> None:
        for number in range(200):
            sink.write(f"thread {name} line {number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    text = pipe.read_until(lambda text: text.count("\n") == 800)
    for thread in threads:
        thread.join()
    assert sink.drain(60) and sink.close()
    lines = text.splitlines()
    for name in range(4):
        mine = [line for line in lines if line.startswith(f"thread {name} ")]
        assert mine == [f"thread {name} line {n}" for n in range(200)]


def test_no_thread_to_be_had_is_a_fault_until_there_is_one() -> None:
    script = """
import resource, sys
from flight.linux.log_sink import LogSink
import threading
class None_(threading.Thread):
    def start(self):
        raise RuntimeError("can't start new thread")
real, threading.Thread = threading.Thread, None_
sink = LogSink(sys.stderr)
sink.write("first\\n")
assert sink.fault == "can't start new thread", sink.fault
threading.Thread = real
sink.write("second\\n")
assert sink.drain(60) and sink.close() and sink.fault == ""
"""
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, "first\nsecond\n")


def test_the_gap_in_a_log_of_json_is_json_and_says_since_when() -> None:
    t_ns = 2_152_690_537 * NS + 5_000_000
    line = gap_line("n1", lambda: t_ns, form="json")(12, 2.0, "Broken pipe")
    assert json.loads(line) == {
        "event": "12 lines of this log are missing here: Broken pipe",
        "level": "warning", "lines_lost": 12, "node": "n1",
        "since": "2026-03-20T09:34:58.005Z", "time": "2026-03-20T09:35:00.005Z",
    }  # fmt: skip


def test_a_node_logs_through_a_sink_and_a_plain_stream_cannot_hurt_it(pipe: Pipe) -> None:
    sink = LogSink(pipe.stream)
    node_log("n1", lambda: 0, sink).info("hello")
    assert sink.drain(60) and sink.close()
    assert "hello" in pipe.read_to_end()
    with full_device() as full:
        node_log("n1", lambda: 0, full).info("hello")
    node_log("n1", lambda: 0, full).info("hello")  # closed
    strict = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    node_log("n1", lambda: 0, strict).info("30 °C \udcff")


class Heard:
    """The events of a watch, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def emit(self, name: str, *values: object) -> None:
        self.events.append((name, *values))


def test_the_ground_hears_of_one_trouble_twice_however_long_it_lasts(pipe: Pipe) -> None:
    heard, sink = Heard(), LogSink(pipe.stream, queue_octets=8192)
    watch = LogWatch(sink, heard)
    watch.look()
    for number in range(5000):
        sink.write(f"line {number}\n")
    until(lambda: sink.fault)
    for _ in range(3):
        watch.look()
        sink.write("what the event says is lost as well\n")
    assert heard.events == [("log_stopped", SLOW)]
    reading = threading.Thread(target=pipe.read_until, args=(lambda text: text.endswith("end\n"),))
    reading.start()
    until(lambda: sink.fault == "")
    lost = sink.lost
    watch.look()
    watch.look()
    sink.write("end\n")
    reading.join()
    assert heard.events == [("log_stopped", SLOW), ("log_resumed", lost)]
    assert sink.drain(60) and sink.close()


def test_diverted_streams_are_put_back_and_nested_blocks_share_them(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr, sys.stdout
    with diverted() as sink:
        print("out")
        print("err", file=sys.stderr)
        with diverted() as inner:
            assert inner is sink
        print("err again", file=sys.stderr)
    assert (sys.stderr, sys.stdout) == before
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("out\n", "err\nerr again\n")


def test_two_names_for_one_pipe_keep_one_order() -> None:
    script = """
import sys
from flight.linux.log_sink import diverted
with diverted():
    for number in range(100):
        print(number, file=sys.stderr if number % 2 else sys.stdout)
"""
    done = run_script(script, stderr=subprocess.STDOUT)
    assert done.stdout == "".join(f"{n}\n" for n in range(100))


def test_a_terminal_paused_with_ctrl_s_holds_up_nobody() -> None:
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:
        sink = LogSink(terminal, queue_octets=8192)
        os.write(master, b"\x13")
        for number in range(5000):
            sink.write(f"line {number}\n")
        until(lambda: sink.fault)
        os.write(master, b"\x11")
        text = b""
        while b"missing here" not in text:
            assert select.select([master], [], [], 60)[0]
            text += os.read(master, 4096)
        until(lambda: sink.fault == "")
        assert sink.drain(60) and sink.close()
    os.close(master)


def test_a_sink_takes_no_descriptor_beside_its_own(pipe: Pipe) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        sink = LogSink(pipe.stream)
        sink.write("line\n")
        assert sink.drain(60) and sink.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > len(before)
