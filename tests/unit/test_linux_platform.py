"""The Linux platform: loop, signals, replies of other processes, and what its storage refuses."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN, SET_BACK_LATE_NS, LeapRow
from flight.core.utc.utc_time import MJD_OF_UNIX
from flight.linux.open_files import OPEN_FILES_MAX
from flight.linux.platform import CALLS_PER_ROUND, CANCELLED_KEPT, DESCRIPTORS, LinuxPlatform
from flight.linux.storage import CHANGES_MAX
from flight.linux.timerfd import TimerFd
from ground.server.ground_server import epoch_tai_ns
from hal.base import HalError
from tests.full_disk import limited_files
from tests.linux_loop import run_until
from tests.waiting import GIVE_UP_S

MS = 1_000_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LinuxPlatform]:
    made = LinuxPlatform(tmp_path / "store", "unit", seed=1)
    yield made
    made.close()


def run_for(platform: LinuxPlatform, ms: float) -> None:
    platform.call_at(platform.now_ns() + int(ms * MS), platform.stop)
    platform.run()


def run_until_done(platform: LinuxPlatform, future: Future[None]) -> None:
    assert run_until(platform, lambda: future.done)
    future.result()


# the loop


def test_timerfd_expires_and_disarms() -> None:
    timer = TimerFd()

    def expired() -> bool:
        return select.select([timer.fileno], [], [], 0.0)[0] != []

    assert not expired()
    timer.set(time.monotonic_ns() - 1)
    assert expired()
    timer.set(time.monotonic_ns() + 10**15)
    assert not expired()
    timer.set(0)  # the distant past, not "disarm"
    assert expired()
    timer.set(None)
    assert not expired()
    timer.close()


def test_an_expiry_wakes_the_loop_once(platform: LinuxPlatform) -> None:
    for i in range(1, 6):
        platform.call_at(platform.now_ns() + i * MS, lambda: None)
    run_for(platform, 60)
    counters = platform.counters
    assert counters.calls >= 6 and counters.expiries <= counters.calls
    # A round ends by an expiry, or at once if a call came due meanwhile: so many more on a machine that is busy.
    assert counters.rounds <= counters.expiries + counters.calls + 1


def test_a_flood_of_due_calls_does_not_starve_a_descriptor(platform: LinuxPlatform) -> None:
    reader, writer = os.pipe()
    made = 0

    def again() -> None:
        nonlocal made
        made += 1
        platform.call_at(0, again)

    platform.watch(reader, platform.stop)
    os.write(writer, b"x")
    platform.call_at(0, again)
    platform.run()
    assert made <= 3 * CALLS_PER_ROUND
    platform.unwatch(reader)
    os.close(reader)
    os.close(writer)


def test_cancelled_calls_do_not_pile_up(platform: LinuxPlatform) -> None:
    for _ in range(50 * CANCELLED_KEPT):
        platform.call_at(platform.now_ns() + 10**12, platform.stop).cancel()
    assert len(platform._heap) <= 2 * CANCELLED_KEPT  # noqa: SLF001 - a bound on what is kept


def test_cancel_after_the_call_is_harmless(platform: LinuxPlatform) -> None:
    timer = platform.call_at(0, lambda: None)
    run_for(platform, 1)
    timer.cancel()
    run_for(platform, 1)


def test_watching_what_cannot_be_watched(platform: LinuxPlatform, tmp_path: Path) -> None:
    with (tmp_path / "plain").open("wb") as file, pytest.raises(HalError, match="cannot be watched"):
        platform.watch(file.fileno(), platform.stop)
    platform.unwatch(12345)


def test_clocks(platform: LinuxPlatform) -> None:
    before, tai, after = time.time_ns(), platform.tai_ns(), time.time_ns()
    assert BUILT_IN.tai_from_unix(before) <= tai <= BUILT_IN.tai_from_unix(after)
    assert platform.now_ns() <= platform.now_ns()


END_S = 1_483_228_800  # POSIX time at the end of 2016, whose last second is 23:59:60
LEAP_TAI_NS = BUILT_IN.tai_from_unix((END_S - 1) * NS) + NS  # when that second begins
MS = 1_000_000


class ClocksOfLinux:
    """The two clocks of a computer at a time of TAI: CLOCK_REALTIME is set back `late_ns` after the end of the day."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, late_ns: int) -> None:
        self.tai_ns, self._late_ns = 0, late_ns
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.tai_ns - LEAP_TAI_NS + 7_000 * NS)
        monkeypatch.setattr(time, "time_ns", self._realtime)

    def _realtime(self) -> int:
        since_ns = self.tai_ns - LEAP_TAI_NS
        return END_S * NS + since_ns - (NS if since_ns >= self._late_ns else 0)


@pytest.mark.parametrize("late_ms", [0, 1, 4, 10, 49, 80])
@pytest.mark.parametrize("step_ns", [250 * MS, MS, 997_003])
def test_tai_goes_on_evenly_while_the_systems_clock_is_set_back(
    platform: LinuxPlatform, monkeypatch: pytest.MonkeyPatch, late_ms: int, step_ns: int
) -> None:
    """As Linux does it: CLOCK_REALTIME goes back by a second, a tick too late; CLOCK_MONOTONIC goes on."""
    clocks = ClocksOfLinux(monkeypatch, late_ms * MS)
    shown = set()
    for tai_ns in range(LEAP_TAI_NS - 2 * NS, LEAP_TAI_NS + 3 * NS, step_ns):
        clocks.tai_ns = tai_ns
        if late_ms * MS <= SET_BACK_LATE_NS or not SET_BACK_LATE_NS <= tai_ns - LEAP_TAI_NS < late_ms * MS:
            assert platform.tai_ns() == tai_ns
            shown.add(BUILT_IN.utc_text(tai_ns, 0)[11:19])
        else:
            platform.tai_ns()  # later than the guard: wrong until the clock is set back, and not longer
    monkeypatch.undo()
    assert {"23:59:58", "23:59:59", "23:59:60", "00:00:00", "00:00:01"} <= shown


@pytest.mark.parametrize("late_ms", [0, 4, 49])
@pytest.mark.parametrize("begin_ms", [-1000, -700, -1, 0, 3, 30, 500, 999, 1000, 1030, 1050])
def test_a_node_that_begins_within_a_leap_second_never_goes_back(
    platform: LinuxPlatform, monkeypatch: pytest.MonkeyPatch, late_ms: int, begin_ms: int
) -> None:
    """It may be a second behind until its clock means one time, and is right from then on."""
    clocks = ClocksOfLinux(monkeypatch, late_ms * MS)
    last_ns, behind = 0, set()
    for since_ms in range(begin_ms, 1200):
        clocks.tai_ns = LEAP_TAI_NS + since_ms * MS
        tai_ns = platform.tai_ns()
        assert tai_ns > last_ns
        last_ns = tai_ns
        if since_ms * MS < NS + SET_BACK_LATE_NS:
            behind.add(clocks.tai_ns - tai_ns)
        else:
            assert tai_ns == clocks.tai_ns
    monkeypatch.undo()
    # By its first number alone a node cannot know in which of the two seconds it is.
    assert behind == (set() if begin_ms >= 1050 else {NS} if begin_ms >= late_ms else {0})


def test_a_clock_that_is_set_while_it_means_two_times_is_followed(
    platform: LinuxPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = ClocksOfLinux(monkeypatch, 0)
    clocks.tai_ns = BUILT_IN.tai_from_unix(0)
    platform.tai_ns()
    monkeypatch.setattr(time, "time_ns", lambda: END_S * NS - 1)  # the first answer of a time server
    assert platform.tai_ns() == LEAP_TAI_NS - 1
    monkeypatch.undo()


def test_a_removed_second_needs_no_guard(platform: LinuxPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock shows the second that is left out until it is set forward: the same time by another number."""
    first = LeapRow(61_771, 36)
    platform.leap_seconds = BUILT_IN.extended((first,), 61_900)
    end_ns = (first.mjd - MJD_OF_UNIX) * 86_400 * NS
    edge_ns = platform.leap_seconds.tai_from_unix(end_ns)
    since_ns = 0
    monkeypatch.setattr(time, "monotonic_ns", lambda: since_ns + 7_000 * NS)
    monkeypatch.setattr(time, "time_ns", lambda: end_ns + since_ns - (NS if since_ns < 4 * MS else 0))
    for since_ns in range(-2 * NS, 2 * NS, MS):
        assert platform.tai_ns() == edge_ns + since_ns
    monkeypatch.undo()


@pytest.mark.parametrize(("late_ms", "begin_ms"), [(0, -1001), (4, -900), (4, 2), (4, 500), (4, 1049), (4, 1050)])
def test_a_ground_that_starts_within_a_leap_second_waits_until_its_clock_means_one_time(
    monkeypatch: pytest.MonkeyPatch, late_ms: int, begin_ms: int
) -> None:
    clocks = ClocksOfLinux(monkeypatch, late_ms * MS)
    clocks.tai_ns = LEAP_TAI_NS + begin_ms * MS
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clocks.tai_ns += round(seconds * NS)

    monkeypatch.setattr(time, "sleep", sleep)
    assert epoch_tai_ns() + time.monotonic_ns() == clocks.tai_ns
    assert sum(naps) < 2.1 and bool(naps) == (-1000 <= begin_ms < 1050)
    monkeypatch.setattr(time, "time_ns", lambda: END_S * NS)  # a clock that stands still
    assert epoch_tai_ns() + time.monotonic_ns() == LEAP_TAI_NS
    monkeypatch.undo()


def test_a_newer_table_counts_from_the_next_look_on(platform: LinuxPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """News that come late set the time right: the system's clock has gone a second slower than TAI."""
    end_s = 1_830_297_600  # 2028-01-01
    monkeypatch.setattr(time, "time_ns", lambda: (end_s + 1) * NS)
    before_ns = platform.tai_ns()
    platform.leap_seconds = BUILT_IN.extended((LeapRow(61_771, 38),), 61_900)
    assert platform.tai_ns() == before_ns + NS
    monkeypatch.undo()


def test_seed_decides_randomness(tmp_path: Path) -> None:
    draws = []
    for seed in (7, 7, 8):
        platform = LinuxPlatform(tmp_path / "s", "seeded", seed)
        draws.append([platform.random.random() for _ in range(3)])
        platform.close()
    assert draws[0] == draws[1] != draws[2]


# replies of other processes


class Job:
    """One job of a real process: its pipe and its sentinel are what the loop waits on."""

    def __init__(self, work: Callable[[Connection], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def filenos(self) -> Sequence[int]:
        return (self._ours.fileno(), self._process.sentinel)

    def poll(self) -> str | None:
        try:
            if self._ours.poll():
                return str(self._ours.recv())
        except EOFError:
            return "died"
        return None if self._process.is_alive() else "died"

    def wait(self) -> str:
        return str(self._ours.recv())

    def kill(self) -> None:
        self._process.kill()

    def ask(self, request: str) -> None:
        self._ours.send(request)


def answer(pipe: Connection) -> None:
    pipe.send(pipe.recv())


def test_complete_gives_the_reply_and_sees_a_death(platform: LinuxPlatform) -> None:
    replies: dict[str, str] = {}

    def keep(name: str, reply: Future[str]) -> None:
        replies[name] = reply.result()

    jobs = {"lives": Job(answer), "dies": Job(answer)}
    for name, job in jobs.items():
        platform.complete(job, 1.0).add_callback(partial(keep, name))
    jobs["lives"].ask("answer")
    jobs["dies"].kill()
    assert run_until(platform, lambda: len(replies) == 2)
    assert replies == {"lives": "answer", "dies": "died"}
    assert not platform._works  # noqa: SLF001 - nothing is left behind


class Lingering:
    """Work whose one descriptor was closed at the other end, which is readable for ever, long before the reply."""

    def __init__(self) -> None:
        self.closed, far = os.pipe()
        os.close(far)
        self.done, self._end = os.pipe()
        self.polls = 0
        self.replied = False

    def filenos(self) -> Sequence[int]:
        return (self.done,) if self.polls else (self.closed, self.done)

    def poll(self) -> str | None:
        self.polls += 1
        return "reply" if self.replied else None

    def wait(self) -> str:
        return "reply"

    def kill(self) -> None:
        self.replied = True
        os.close(self._end)


def test_a_work_that_names_fewer_descriptors_is_asked_no_more_for_the_others(platform: LinuxPlatform) -> None:
    work = Lingering()
    future = platform.complete(work, 1.0)
    run_for(platform, 30)
    assert work.polls == 1 and not future.done
    work.kill()
    assert run_until(platform, lambda: future.done)
    assert future.result() == "reply" and not platform._works  # noqa: SLF001 - nothing is left behind
    os.close(work.closed)
    os.close(work.done)


# storage


def test_refusals_name_path_and_reason(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with pytest.raises(StorageError, match=r"plain: is not a folder"):
        LinuxPlatform(plain, "unit")
    with pytest.raises(StorageError, match=r"plain/below: is not a folder"):
        LinuxPlatform(plain / "below", "unit")
    with pytest.raises(StorageError, match=r"/proc/1/orbitnode: "):
        LinuxPlatform("/proc/1/orbitnode", "unit")


def test_a_process_that_may_not_open_enough_files_for_a_node_is_refused(tmp_path: Path) -> None:
    """Records that cannot be opened would look like lost ones, and be written over."""
    code = (
        "import resource, sys\n"
        "from flight.linux.platform import DESCRIPTORS, LinuxPlatform\n"
        "from flight.core.errors import SetupError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, int(sys.argv[2])))\n"
        "try: LinuxPlatform(sys.argv[1], 'unit').close(); print('flies')\n"
        "except SetupError as error: print(error)\n"
    )

    def said(most: int) -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "s"), str(most)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=GIVE_UP_S)
        return run.stdout

    assert said(1024) == "flies\n", "the limit is raised as far as it may be"
    assert said(100).startswith(f"only 100 open files are allowed, {DESCRIPTORS} are needed")


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    first = LinuxPlatform(tmp_path, "first")
    with pytest.raises(StorageError, match=rf"held by another process \({os.getpid()}\)"):
        LinuxPlatform(tmp_path, "second")
    first.close()
    LinuxPlatform(tmp_path, "second").close()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "~1", "LOCK", "x" * 101, "a\n"])
def test_bad_names(platform: LinuxPlatform, name: str) -> None:
    storage = platform.storage
    for act in (storage.read, storage.delete, lambda n: storage.append(n, b""), lambda n: storage.replace(n, b"")):
        with pytest.raises(StorageError, match="storage name"):
            act(name)


def test_a_full_disk_takes_a_partial_append_back(platform: LinuxPlatform) -> None:
    storage = platform.storage
    storage.append("log", b"a" * 3000)
    with limited_files(4096):
        with pytest.raises(StorageError, match=r"cannot append to .*log: the file would be larger"):
            storage.append("log", b"b" * 3000)
        with pytest.raises(StorageError, match=r"cannot replace .*new: "):
            storage.replace("new", b"b" * 5000)
    assert storage.read("log") == b"a" * 3000 and storage.names() == ["log"]
    storage.append("log", b"c")
    run_until_done(platform, storage.sync())
    assert storage.read("log") == b"a" * 3000 + b"c"


def test_an_uncommitted_replace_is_the_old_content_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from flight.linux.platform import DESCRIPTORS, LinuxPlatform as P\n"
        "p = P(sys.argv[1], 'victim'); s = p.storage\n"
        "s.replace('state', b'old'); s.append('log', b'1')\n"
        "s.sync().add_callback(lambda f: p.stop()); p.run()\n"
        "s.replace('state', b'new'); s.append('log', b'2'); assert s.read('state') == b'new'\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=False, env={**os.environ, "PYTHONPATH": "."}
    )
    assert ended.returncode == -signal.SIGKILL
    platform = LinuxPlatform(tmp_path, "after")
    assert platform.storage.read("state") == b"old"
    assert platform.storage.read("log") in (b"1", b"12")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["LOCK", "log", "state"]
    platform.close()


def test_close_commits_and_many_syncs_share_a_commit(tmp_path: Path) -> None:
    platform = LinuxPlatform(tmp_path, "unit")
    storage = platform.storage
    futures = []
    for i in range(50):
        storage.append("log", b"%02d" % i)
        futures.append(storage.sync())
    run_until_done(platform, futures[-1])
    assert all(f.done for f in futures) and storage.counters.commits == 1 and storage.counters.syncs == 50
    storage.replace("state", b"last")
    platform.close()
    platform = LinuxPlatform(tmp_path, "unit")
    assert platform.storage.read("state") == b"last" and len(platform.storage.read("log") or b"") == 100
    platform.close()


def test_a_failed_commit_is_final(tmp_path: Path) -> None:
    platform = LinuxPlatform(tmp_path / "store", "unit")
    storage = platform.storage
    storage.replace("state", b"1")
    (tmp_path / "store" / "state").mkdir()  # the rename of the commit will fail
    first, second = storage.sync(), storage.sync()
    with pytest.raises(StorageError, match="failed, restart the node"):
        run_until_done(platform, first)
    assert second.done and storage.counters.failures == 1
    acts: tuple[Callable[[], object], ...] = (
        lambda: storage.append("x", b""), lambda: storage.replace("x", b""), lambda: storage.sync().result(),
    )  # fmt: skip
    for act in acts:
        with pytest.raises(StorageError, match="failed, restart the node"):
            act()
    assert storage.read("state") == b"1"
    with pytest.raises(StorageError, match="failed"):
        platform.close()


def test_changes_and_descriptors_are_bounded(platform: LinuxPlatform) -> None:
    storage = platform.storage
    for i in range(CHANGES_MAX + 9):
        storage.replace("one", b"%d" % i)  # each takes the place of the last: no pile
        storage.delete("other")
        storage.append("other", b"x")
    assert len(storage._pending.changes) <= 4  # noqa: SLF001 - a bound on what is kept
    for i in range(2 * OPEN_FILES_MAX):
        storage.append(f"file-{i}", b"x")
        if i % 20 == 19:
            run_until_done(platform, storage.sync())
    run_until_done(platform, storage.sync())
    assert storage.read("file-0") == b"x"
    assert sum(f.fileno is not None for f in storage._files.values()) <= OPEN_FILES_MAX + 21  # noqa: SLF001 - a bound on what is kept
    assert storage._open._files == {f.fileno: f for f in storage._files.values() if f.fileno is not None}  # noqa: SLF001 - a bound on what is kept
    for i in range(CHANGES_MAX - len(storage._pending.changes)):  # noqa: SLF001 - a bound on what is kept
        storage.replace(f"many-{i}", b"")
    with pytest.raises(StorageError, match=f"{CHANGES_MAX} changes wait"):
        storage.replace("one-more", b"")


def test_the_least_lately_opened_file_is_closed(platform: LinuxPlatform) -> None:
    storage = platform.storage

    def closed() -> list[str]:
        return sorted(name for name, file in storage._files.items() if file.fileno is None)  # noqa: SLF001 - a bound on what is kept

    names = [f"file-{i:02d}" for i in range(OPEN_FILES_MAX + 1)]
    for name in names[:-1]:
        storage.append(name, b"x")
    run_until_done(platform, storage.sync())
    storage.append(names[-1], b"x")
    assert closed() == names[:1]
    assert storage.read(names[0]) == b"x"
    assert closed() == names[1:2]
    assert storage.read(names[1]) == b"x"
    assert closed() == names[2:3], "the first was opened later than this one"


def test_the_nodes_secrets_do_not_come_from_its_seed(tmp_path: Path) -> None:
    seen = []
    for number in range(2):
        platform = LinuxPlatform(tmp_path / str(number), "unit", seed=7)
        seen.append((platform.random.randbytes(16), platform.unpredictable(16)))
        platform.close()
    assert seen[0][0] == seen[1][0] and seen[0][1] != seen[1][1]
