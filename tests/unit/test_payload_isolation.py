"""Workers with apps that do what an app must not do: real processes, and the kernel that this runs on."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flight.core.errors import SetupError
from hal.base import Image
from payloads.worker import control_group, system_calls
from payloads.worker.guards import Guard
from payloads.worker.pool import Answered, PoolConfig, Reply, WorkerFailure, WorkerPool
from payloads.worker.process import LOG_OCTETS, Process, contradicted, sealed_memory
from payloads.worker.settings import WorkerSettings
from payloads.worker.wire import SlotShape
from tests.waiting import GIVE_UP_S, wait_until

SIDE = 16
APPS = Path(__file__).resolve().parents[1] / "hostile_apps.py"
GROUPS = control_group.home()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hostile")
    shutil.copy(APPS, made / "hostile_copy.py")
    (made / "m.onnx").write_bytes(b"")
    (made / "m.json").write_text("{}")
    return made


@contextlib.contextmanager
def pool_of(folder: Path, app: str, **options: Any) -> Iterator[WorkerPool]:
    sys.path.insert(0, str(folder))
    try:
        pool = WorkerPool(PoolConfig(folder / "m.onnx", f"hostile_copy:{app}", height=SIDE, width=SIDE, **options))
        try:
            pool.start()
            yield pool
        finally:
            pool.close()
    finally:
        sys.path.remove(str(folder))


def ask(pool: WorkerPool, value: int = 0) -> Reply:
    samples = value.to_bytes(2, sys.byteorder) * (4 * SIDE * SIDE)
    work = pool.submit(Image(5, 4, SIDE, SIDE, samples))
    assert work is not None
    return work.wait()


def needs(pool: WorkerPool, *guards: Guard) -> None:
    missing = [one for guard in guards for one in (guard & pool.missing).labels]
    if missing:
        pytest.skip(f"not granted on this machine: {', '.join(missing)}")


def leftovers() -> list[int]:
    """Processes of workers of this process, children included: they keep the command line, or the session."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (one / "cmdline").read_bytes().split(b"\0")
            state = (one / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if b"payloads.worker" in words and str(os.getpid()).encode() in words and state != "Z":
                found.append(int(one.name))
    return found


# Shared memory


@pytest.mark.parametrize("app", ["Shrinks", "Grows"])
def test_shared_memory_keeps_its_size(folder: Path, app: str) -> None:
    """A slot made shorter would end the node by SIGBUS; a log made longer would fill memory."""
    with pool_of(folder, app) as pool:
        assert isinstance(ask(pool), Answered)


def test_sealed_memory_is_sealed_against_its_maker_too() -> None:
    descriptor = sealed_memory("orbitnode-test", 4096)
    try:
        for size in (0, 8192):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def test_an_app_may_print_for_ever_and_only_the_last_request_is_kept(folder: Path) -> None:
    with pool_of(folder, "Prints") as pool:
        for _ in range(70):
            assert isinstance(ask(pool), Answered)
        process = pool._workers[0]._process  # noqa: SLF001 - the worker's process, to be killed
        assert process is not None
        assert os.fstat(process.log_fd).st_size == LOG_OCTETS
        assert process.log().endswith("xxx end")


@pytest.mark.parametrize(
    ("value", "text"), [(1, "product of tile 9, job 0, should be of tile 5"), (2, "mask with class 7, highest is 2")]
)
def test_what_the_slot_holds_must_be_what_was_asked_for(folder: Path, value: int, text: str) -> None:
    with pool_of(folder, "Forges") as pool:
        reply = ask(pool, value)
        assert isinstance(reply, WorkerFailure), reply
        assert reply.reason == "bad output"
        assert text in reply.detail


def test_a_slot_belongs_to_one_process(folder: Path) -> None:
    with pool_of(folder, "Good") as pool:
        before = pool._workers[0]._process  # noqa: SLF001 - the worker's process, to be killed
        work = pool.submit(Image(5, 4, SIDE, SIDE, bytes(2 * 4 * SIDE * SIDE)))
        assert work is not None
        work.kill()
        after = pool._workers[0]._process  # noqa: SLF001 - the worker's process, to be killed
        assert before is not None
        assert after is not None
        assert os.fstat(before.slot_fd).st_ino != os.fstat(after.slot_fd).st_ino


# The socket


def test_a_worker_that_says_too_much_is_replaced(folder: Path) -> None:
    with pool_of(folder, "SaysReady") as pool:
        assert ask(pool) == WorkerFailure("bad output", "reported twice that it is ready")


def test_a_worker_that_reads_nothing_blocks_nobody(folder: Path) -> None:
    with pool_of(folder, "AnswersUnasked") as pool:
        for _ in range(5000):
            reply = ask(pool)
            assert isinstance(reply, WorkerFailure)
            if reply.reason != "app error":
                break
        assert isinstance(reply, WorkerFailure) and reply.detail in (
            "requests are not read",
            "answer to request 1, should be to 2",
        )


# Children


def test_a_worker_has_no_children(folder: Path) -> None:
    with pool_of(folder, "HasChildren") as pool:
        needs(pool, Guard.SYSTEM_CALLS)
        reply = ask(pool)
        assert isinstance(reply, Answered), reply
    assert leftovers() == []


def test_a_worker_has_threads(folder: Path) -> None:
    with pool_of(folder, "HasThreads") as pool:
        assert isinstance(ask(pool), Answered)


@pytest.mark.skipif(GROUPS is None, reason="no control groups for this user")
@pytest.mark.parametrize("how", ["close", "kill", "dies"])
def test_where_children_are_let_be_none_outlives_the_worker(folder: Path, how: str) -> None:
    """The second wall, for a processor whose calls are not known: the control group."""
    value = {"close": 0, "kill": 2, "dies": 1}[how]
    with pool_of(folder, "LeavesChild", guards_off=("system_calls",)) as pool:
        needs(pool, Guard.CGROUP)
        (worker,) = pool.pids
        work = pool.submit(Image(5, 4, SIDE, SIDE, value.to_bytes(2, sys.byteorder) * (4 * SIDE * SIDE)))
        assert work is not None
        if how == "kill":
            wait_until(lambda: len(leftovers()) > 1, "the processes have gone")
            work.kill()
        reply = work.wait()
        assert isinstance(reply, Answered if how == "close" else WorkerFailure)
        if how != "close":
            wait_until(lambda: set(leftovers()) <= set(pool.pids), "the processes have gone")
            assert pool.pids != (worker,)
    wait_until(lambda: leftovers() == [], "the processes have gone")
    assert GROUPS is not None
    assert list(GROUPS.glob(f"orbitnode-worker-{os.getpid()}-*")) == []


@pytest.mark.skipif(GROUPS is None, reason="no control groups for this user")
def test_the_group_of_a_node_that_was_killed_is_ended_by_the_next(folder: Path) -> None:
    script = f"""
        import sys
        sys.path.insert(0, {str(folder)!r})
        from pathlib import Path
        from hal.base import Image
        from payloads.worker.pool import PoolConfig, WorkerPool
        config = PoolConfig(Path({str(folder / "m.onnx")!r}), "hostile_copy:LeavesChild", height=16, width=16,
                            guards_off=("system_calls",))
        pool = WorkerPool(config)
        pool.start()
        pool.submit(Image(5, 4, 16, 16, bytes(2048))).wait()
        print(pool.pids[0], flush=True)
        sys.stdin.read()
    """
    node = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert GROUPS is not None
    with node:
        assert node.stdout is not None
        worker = int(node.stdout.readline())
        (group,) = GROUPS.glob(f"orbitnode-worker-{node.pid}-*")
        node.kill()
    wait_until(
        lambda: not Path(f"/proc/{worker}").exists() or "State:\tZ" in Path(f"/proc/{worker}/status").read_text(),
        "the worker has gone",
    )
    control_group.remove_stale(GROUPS)

    def gone() -> bool:
        control_group.remove_stale(GROUPS)
        return not group.exists()

    wait_until(gone, "the processes have gone")


# The node and its priorities, the network


def test_a_worker_reaches_neither_the_node_nor_its_own_limits(folder: Path) -> None:
    with pool_of(folder, "ReachesTheNode") as pool:
        needs(pool, Guard.SYSTEM_CALLS, Guard.HIDDEN_FILES)
        reply = ask(pool)
        assert isinstance(reply, Answered), reply


def test_a_worker_that_stops_itself_is_ended(folder: Path) -> None:
    with pool_of(folder, "Stops", hang_s=0.3) as pool:
        (worker,) = pool.pids
        reply = ask(pool)
        assert isinstance(reply, WorkerFailure)
        assert reply.reason == "hung"
        wait_until(lambda: worker not in leftovers(), "the processes have gone")


@pytest.mark.parametrize("off", [(), ("system_calls",)])
def test_a_worker_has_no_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: tuple[str, ...]
) -> None:
    """By the filter, and without it by a network of its own, in which local sockets are still files."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "local"))
        local.listen()
        monkeypatch.setenv("PORT", str(server.getsockname()[1]))
        monkeypatch.setenv("LOCAL", str(tmp_path / "local"))
        with pool_of(folder, "Connects", environment=("PORT", "LOCAL"), guards_off=off) as pool:
            needs(pool, Guard.NO_NETWORK)
            reply = ask(pool)
            if off:
                assert isinstance(reply, WorkerFailure), reply
                assert not {"tcp", "udp"} & set(re.findall(r"'(\w+)'", reply.detail))
            else:
                assert isinstance(reply, Answered), reply


# Files, environment, memory


def raised(reply: WorkerFailure) -> str:
    """What the app raised, without the place in the app, which stands before it."""
    place, _, text = reply.detail.partition(": ")
    assert re.fullmatch(r"\w+\.py:\d+", place), reply.detail
    return text


def test_a_worker_neither_reads_nor_writes_the_nodes_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"key")
    monkeypatch.setenv("STORAGE", str(tmp_path))
    with pool_of(folder, "TouchesFiles", environment=("STORAGE",)) as pool:
        needs(pool, Guard.HIDDEN_FILES, Guard.READ_ONLY_FILES)
        reply = ask(pool)
        assert isinstance(reply, Answered), reply
    with pool_of(folder, "TouchesFiles", environment=("STORAGE",), readable=(str(tmp_path),)) as pool:
        reply = ask(pool)
        assert isinstance(reply, WorkerFailure)
        assert raised(reply) == "RuntimeError: got ['read', 'list']"
    assert (tmp_path / "secret").read_bytes() == b"key"


def test_file_systems_are_read_only_on_an_older_kernel_too(tmp_path: Path) -> None:
    """Without the call of Linux 5.12, mount by mount; in a process of its own, which may have to be refused it."""
    script = f"""
        import ctypes, os
        from payloads.worker import isolation
        if not isolation._new_users(isolation._NEW_MOUNTS):
            raise SystemExit(5)
        isolation.checked(isolation.LIBC.mount(None, b"/", None, ctypes.c_ulong(0x44000), None))
        isolation.remount_one_by_one()
        for path in ({str(tmp_path / "new")!r}, "/dev/shm/orbitnode-new", "/tmp/orbitnode-new"):
            try:
                open(path, "w")
            except OSError as error:
                assert error.errno == 30, error
            else:
                raise SystemExit(path + " was written")
    """
    # Without coverage, which could not write in the end what it has measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode == 5:
        pytest.skip("no user namespaces for this user")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_workers_folder_is_bounded_and_its_own(folder: Path) -> None:
    with pool_of(folder, "FillsItsFolder", scratch_mib=3) as pool:
        needs(pool, Guard.PRIVATE_FOLDER)
        reply = ask(pool)
        assert isinstance(reply, WorkerFailure)
        assert raised(reply) == "RuntimeError: got 3 MiB in /dev/shm: No space left on device"
        assert not list(Path("/dev/shm").glob("hostile-*"))


def test_a_worker_inherits_no_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBITNODE_SECRET", "key")
    monkeypatch.setenv("ORBITNODE_WANTED", "1")
    with pool_of(folder, "Environment", environment=("ORBITNODE_WANTED",)) as pool:
        reply = ask(pool)
        assert isinstance(reply, WorkerFailure)
        assert "ORBITNODE_WANTED" in reply.detail
        assert "ORBITNODE_SECRET" not in reply.detail
        assert reply.detail.endswith("stdin ''")


@pytest.mark.parametrize(("app", "text"), [("TakesMemory", "MemoryError"), ("OpensMuch", "Too many open files")])
def test_a_worker_takes_no_more_than_its_share(folder: Path, app: str, text: str) -> None:
    with pool_of(folder, app) as pool:
        for _ in range(2):
            reply = ask(pool)
            assert isinstance(reply, WorkerFailure)
            assert reply.reason == "app error"
            assert text in reply.detail


def test_a_worker_starts_no_more_than_its_threads(folder: Path) -> None:
    with pool_of(folder, "StartsThreads", memory_mib=0) as pool:
        needs(pool, Guard.THREAD_LIMIT)
        for _ in range(2):
            reply = ask(pool)
            assert isinstance(reply, WorkerFailure)
            assert raised(reply) == "RuntimeError: got can't start new thread after fewer than 100: True"


def test_failures_pile_up_neither_descriptors_nor_processes(folder: Path) -> None:
    with pool_of(folder, "Stops", hang_s=0.1, restarts_max=100) as pool:
        for _ in range(2):  # a process that was replaced keeps its descriptors until the next submission but one
            ask(pool)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            ask(pool)
        assert len(os.listdir("/proc/self/fd")) <= before
        wait_until(lambda: len(leftovers()) == 1, "the processes have gone")


def test_a_process_that_lingers_is_followed_after_its_descriptors_were_given_back() -> None:
    """A killed process that is stuck in the kernel is one such; here it was not killed yet."""
    before = len(os.listdir("/proc/self/fd"))
    process = Process(
        WorkerSettings("x", "x:Y", "m.onnx", 1, 4, SIDE, SIDE, SIDE * SIDE, 5, 2048, 16),
        (),
        None,
        os.sched_getaffinity(0),
    )
    os.kill(process.popen.pid, signal.SIGSTOP)
    assert not process.close() and process.exited() is None
    assert len(os.listdir("/proc/self/fd")) == before + 1, "that of the process, by which it is waited for"
    process.end()
    process.wait(GIVE_UP_S)
    assert process.close() and process.exited() == "ended by signal 9"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.campaign
@pytest.mark.parametrize("spare", range(10))
def test_a_node_short_of_descriptors_loses_no_process(folder: Path, spare: int) -> None:
    """Whatever step of a start finds none, what was begun is undone, and the next request tries again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with pool_of(folder, "Good") as pool:
        assert isinstance(ask(pool), Answered)
        os.kill(pool.pids[0], signal.SIGKILL)
        wait_until(lambda: leftovers() == [], "the processes have gone")
        before = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            for _ in range(spare):
                os.close(taken.pop())
            reply = ask(pool)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        assert isinstance(reply, Answered) or reply.reason == "died"
        wait_until(lambda: leftovers() == list(pool.pids), "the processes have gone")
        assert isinstance(ask(pool), Answered)
        assert len(os.listdir("/proc/self/fd")) <= before + 4, "one process more, which the loop may still watch"


# What holds is said


def test_the_pool_says_which_guards_hold(folder: Path) -> None:
    with pool_of(folder, "Good") as pool:
        always = (
            Guard.NO_NEW_PRIVILEGES | Guard.NO_CAPABILITIES | Guard.OWN_SESSION | Guard.DIES_WITH_NODE | Guard.OOM_FIRST
            | Guard.MEMORY_LIMIT | Guard.DESCRIPTOR_LIMIT | Guard.FILE_SIZE_LIMIT
        )  # fmt: skip
        assert always in pool.guards
        assert pool.missing == Guard.every() & ~pool.guards
    with pool_of(folder, "Good", guards_off=("no_network",), memory_mib=0, scratch_mib=0) as pool:
        unwanted = Guard.NO_NETWORK | Guard.MEMORY_LIMIT | Guard.PRIVATE_FOLDER
        assert not unwanted & (pool.guards | pool.missing)


def test_a_process_is_not_believed_what_the_kernel_shows_otherwise() -> None:
    settings = WorkerSettings("x", "x:Y", "m.onnx", 1, 4, SIDE, SIDE, SIDE * SIDE, 5, 2048, 16)
    with subprocess.Popen(["/bin/sleep", "600"]) as plain:
        shown = contradicted(plain.pid, settings)
        plain.kill()
    assert shown & ~Guard.NO_CAPABILITIES & ~Guard.DESCRIPTOR_LIMIT == (
        Guard.NO_NEW_PRIVILEGES | Guard.OWN_SESSION | Guard.OOM_FIRST | Guard.MEMORY_LIMIT | Guard.SYSTEM_CALLS
        | Guard.NO_NETWORK
    )  # fmt: skip


def test_a_guard_that_does_not_exist(folder: Path) -> None:
    with pytest.raises(SetupError, match="guards_off names 'moat', should be of no_new_privileges"):
        WorkerPool(PoolConfig(folder / "m.onnx", guards_off=("moat",)))


@pytest.mark.parametrize("body", ["raise RuntimeError('no')", "import sys; sys.exit('no')", "1 / 0"])
@pytest.mark.parametrize("where", ["import", "check"])
def test_an_app_that_fails_in_the_node_is_a_fault_of_the_mission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, body: str, where: str
) -> None:
    name = f"bad_app_{where}_{len(body)}"
    text = (
        body
        if where == "import"
        else (
            "from payloads.product.answers import SCREENING\n"
            f"class App:\n    ANSWER = SCREENING\n    def run(self): ...\n    def check(settings): {body}"
        )
    )
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError, match=f"worker app '{name}:App' cannot be used"):
        WorkerPool(PoolConfig(folder / "m.onnx", f"{name}:App"))


# The filter, on both processors


def verdict(program: list[tuple[int, int, int, int]], audit: int, number: int, *arguments: int) -> str:
    """What the kernel would make of it."""
    words = {0: number, 4: audit} | {16 + 8 * i: value & 0xFFFFFFFF for i, value in enumerate(arguments)}
    at = accumulator = 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == 0x20:
            accumulator = words.get(value, 0)
        elif code == 0x06:
            return {0x7FFF0000: "allowed", 0x00050001: "EPERM", 0x00050026: "ENOSYS"}[value]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += yes if holds else no


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_filter(name: str) -> None:
    machine = system_calls.MACHINES[name]
    program = system_calls.program(machine, 77)
    arm = name == "aarch64"

    def of(number: int, *arguments: int) -> str:
        return verdict(program, machine.audit, number, *arguments)

    without_folder = system_calls.program(machine, 77, attributes=False)
    for numbers in system_calls.REFUSED.values():
        if (number := numbers[machine.column]) is not None:
            assert of(number) == "EPERM"
    for numbers in system_calls.ATTRIBUTES.values():
        if (number := numbers[machine.column]) is not None:
            assert of(number) == "allowed"
            assert verdict(without_folder, machine.audit, number) == "EPERM"
    assert of(435) == "ENOSYS"
    clone, kill, prlimit, prctl, fcntl = (220, 129, 261, 167, 25) if arm else (56, 62, 302, 157, 72)
    assert of(clone, signal.SIGCHLD) == "EPERM"
    assert of(clone, 0x3D0F00) == "allowed", "a thread"
    assert of(kill, 77, 15) == "allowed"
    assert [of(kill, one, 9) for one in (0, -1, -77, 1, 78)] == ["EPERM"] * 5
    assert [of(prlimit, one) for one in (0, 77)] == ["allowed", "EPERM"]
    assert [of(prctl, one) for one in (1, 15)] == ["EPERM", "allowed"]
    assert [of(fcntl, 3, one) for one in (8, 10, 15, 1, 3)] == ["EPERM"] * 3 + ["allowed"] * 2
    assert of(0) == "allowed"
    socket_call = 198 if arm else 41
    assert of(socket_call) == "EPERM"
    with_network = system_calls.program(machine, 77, network=True)
    assert verdict(with_network, machine.audit, socket_call) == "allowed"
    assert verdict(program, 0x40000003, 2) == "ENOSYS", "calls of 32-bit programs have other numbers"
    if not arm:
        assert of(0x40000000 + 41) == "ENOSYS", "x32"


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_numbers_of_system_calls_are_the_kernels(column: int, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not here")
    lines = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", Path(header).read_text(), re.MULTILINE)
    known = {name: int(number) for name, number in lines}
    ours = {name: numbers[column] for name, numbers in (system_calls.REFUSED | system_calls.ATTRIBUTES).items()}
    special = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
    ours |= {name: pair[column] for name, pair in zip(special, system_calls.OWN_PROCESS_ONLY, strict=True)}
    used = ("prctl", "fcntl", "ioctl")
    ours |= {name: pair[column] for name, (pair, _, _) in zip(used, system_calls.REFUSED_USES, strict=True)}
    ours |= {"clone": system_calls.CLONE[column], "clone3": system_calls.CLONE3[column]}
    ours |= {"prlimit64": system_calls.PRLIMIT[column]}
    for name, number in ours.items():
        assert known.get(name, number) == number, name
    assert len(known.keys() & ours.keys()) > 65


def test_memory_of_a_slot_holds_the_largest_tile() -> None:
    shape = SlotShape(4, SIDE, SIDE, SIDE * SIDE)
    descriptor = sealed_memory("orbitnode-test", shape.octets)
    try:
        assert os.fstat(descriptor).st_size == shape.octets
    finally:
        os.close(descriptor)
