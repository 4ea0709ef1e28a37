"""Workers as they are: real processes that finish, die, hang, talk nonsense, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from flight.contract.fields import Field
from flight.core.errors import SetupError
from hal.base import Image
from payloads.product.answers import Scalars
from payloads.product.mask import decode_mask_product
from payloads.worker.pool import Answered, PoolConfig, WorkerFailure, WorkerPool
from payloads.worker.settings import declared_answer, find_app
from tests.waiting import GIVE_UP_RUN_S, GIVE_UP_S, wait_until

SIDE = 16
APPS = """
    import os, time
    import numpy as np

    def wait_for(name):
        for _ in range(12_000):
            if os.path.exists(os.path.join(os.path.dirname(__file__), name)): return
            time.sleep(0.01)
        raise RuntimeError("nobody came")

    from payloads.product.answers import SCREENING

    class Base:
        ANSWER = SCREENING
        def __init__(self, settings): pass
        @staticmethod
        def check(settings): pass

    class Sleeps(Base):
        def run(self, samples): time.sleep(3600)

    class Raises(Base):
        def run(self, samples): raise RuntimeError("no can do")

    class Leaves(Base):
        def run(self, samples):
            print("going", flush=True)
            os._exit(7)

    class Picky(Base):
        def run(self, samples):
            if samples[0, 0, 0] == 1: os._exit(7)
            if samples[0, 0, 0] == 2: raise RuntimeError("two")
            if samples[0, 0, 0] == 3: time.sleep(3600)
            return np.full(samples.shape[1:], 1, dtype=np.uint8)

    class Mute(Base):
        def run(self, samples):
            os.closerange(3, 4096)  # whatever number the socket has
            if samples[0, 0, 0] == 1: time.sleep(0.6)
            else: wait_for("end")
            os.kill(os.getpid(), 11)

    class Patient(Base):
        def __init__(self, settings):
            wait_for("come")
        def run(self, samples): return np.full(samples.shape[1:], 1, dtype=np.uint8)

    class Wrong(Base):
        def run(self, samples): return np.full(samples.shape[1:], 9, dtype=np.uint8)

    class Unspeakable(Exception):
        def __str__(self): raise ValueError

    class Withdraws(Base):
        def run(self, samples):
            import asyncio
            raise asyncio.CancelledError("by a library")

    class Silent(Base):
        def run(self, samples): raise Unspeakable

    class Unchecked(Silent):
        @staticmethod
        def check(settings): raise Unspeakable

    class Wide(type(Base.ANSWER)):
        def octets_max(self, height, width): return 10**15

    class Subclassed(Silent):
        ANSWER = Wide(("a", "b"))

    class Unstartable(Base):
        def __init__(self, settings): raise RuntimeError("no licence")
        def run(self, samples): pass
"""


def save_model(path: Path, kind: str) -> Path:
    """A model of the screening model's signature: 1x1 convolution, NaN by Log, or too few classes."""
    classes = 2 if kind == "two classes" else 3
    rows = np.zeros((classes, 4, 1, 1), dtype=np.float32)
    rows[1, 0, 0, 0] = 1.0  # bright blue is cloud
    if classes == 3:
        rows[2, 3, 0, 0] = -1.0  # dark infrared is shadow
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"])]
    nodes.append(helper.make_node("Log" if kind == "nan" else "Identity", ["c"], ["y"]))
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes, SIDE, SIDE])],
        [helper.make_tensor("w", TensorProto.FLOAT, rows.shape, rows.ravel())],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    statistics = {"img": [[0.25] * 4, [0.25] * 4], "band_names": ["blue", "green", "red", "nir"]}
    path.with_suffix(".json").write_text(json.dumps({"data": {"dataset_statistics": statistics}}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    for kind in ("good", "nan", "two classes"):
        save_model(made / f"{kind}.onnx", kind)
    (made / "strange_apps.py").write_text(textwrap.dedent(APPS))
    return made


@contextlib.contextmanager
def pool_of(folder: Path, app: str = "", kind: str = "good", **options: Any) -> Iterator[WorkerPool]:
    name = f"strange_apps:{app}" if app else "payloads.apps.screen:Screen"
    sys.path.insert(0, str(folder))
    try:
        limits = {"hang_s": GIVE_UP_RUN_S} | options  # a busy machine does not hang
        pool = WorkerPool(PoolConfig(folder / f"{kind}.onnx", name, height=SIDE, width=SIDE, **limits))
        pool.start()
        yield pool
        pool.close()
    finally:
        sys.path.remove(str(folder))


def tile(number: int = 5, value: int = 1000, side: int = SIDE, bands: int = 4) -> Image:
    samples = np.full((bands, side, side), value, dtype=np.uint16)
    return Image(number, bands, side, side, samples.tobytes())


def two_halves() -> Image:
    samples = np.full((4, SIDE, SIDE), 2500, dtype=np.uint16)
    samples[0, :, : SIDE // 2] = 9000
    return Image(9, 4, SIDE, SIDE, samples.tobytes())


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_two_workers_screen_and_leave_nothing(folder: Path) -> None:
    before = descriptors()
    with pool_of(folder, workers=2, cloudy_frac=0.9) as pool:
        first = pool.submit(two_halves(), job=3, time_ns=77)
        second = pool.submit(tile(6))
        assert first is not None
        assert second is not None
        assert pool.submit(tile(7)) is None, "both workers are taken"
        one, two = first.wait(), second.wait()
        assert isinstance(one, Answered), one
        assert isinstance(two, Answered), two
        assert one.pid != two.pid
        product = decode_mask_product(one.product)
        assert (product.header.tile, product.header.job, product.header.time_ns) == (9, 3, 77)
        assert product.header.cloud_frac == 0.5
        assert one.answer == product.mask.tobytes()
        assert np.array_equal(product.samples()[:, :, SIDE // 2 :], np.full((4, SIDE, SIDE // 2), 2500))
        again = pool.submit(two_halves(), job=3, time_ns=77)
        assert again is not None
        reply = again.wait()
        assert isinstance(reply, Answered)
        assert reply.product == one.product
        pids = pool.pids
    wait_until(lambda: all(gone(pid) for pid in pids), "the workers are gone")
    assert descriptors() == before
    assert pool.stats.done == 3
    pool.close()


def test_poll_and_filenos_as_a_loop_uses_them(folder: Path) -> None:
    with pool_of(folder) as pool:
        work = pool.submit(tile())
        assert work is not None
        assert work.poll() is None
        poller = select.poll()
        for descriptor in work.filenos():
            poller.register(descriptor, select.POLLIN)
        while work.poll() is None:
            assert poller.poll(GIVE_UP_S * 1000), "no descriptor became readable"
        assert isinstance(work.poll(), Answered)


def test_killed_from_outside_is_restarted_at_once(folder: Path) -> None:
    with pool_of(folder, "Picky") as pool:
        work = pool.submit(tile(value=3))
        assert work is not None
        pid = pool.pids[0]
        poller = select.poll()
        for descriptor in work.filenos():
            poller.register(descriptor, select.POLLIN)
        os.kill(pid, signal.SIGKILL)
        while (reply := work.poll()) is None:
            assert poller.poll(GIVE_UP_S * 1000), "neither socket nor pidfd told of the death"
        assert reply == WorkerFailure("died", "ended by signal 9", "")
        assert work.poll() is reply
        assert pool.pids[0] != pid
        following = pool.submit(tile(value=0))
        assert following is not None
        assert isinstance(following.wait(), Answered)
        # Found dead between two jobs: replaced before the next one is handed over.
        os.kill(pool.pids[0], signal.SIGKILL)
        wait_until(lambda: gone(pool.pids[0]), "the worker is gone")
        following = pool.submit(tile(value=0))
        assert following is not None
        assert isinstance(following.wait(), Answered)
        assert (pool.stats.died, pool.stats.restarts, pool.stats.done) == (2, 2, 2)


def test_submitting_does_not_wait_for_the_start(folder: Path) -> None:
    with pool_of(folder, "Patient") as pool:
        work = pool.submit(tile())
        (folder / "come").touch()
        assert work is not None
        assert isinstance(work.wait(), Answered)


def test_how_a_worker_ended_does_not_depend_on_how_long_that_took(folder: Path) -> None:
    """It closes its socket long before it dies: both ways of asking wait for the end."""
    with pool_of(folder, "Mute") as pool:
        work = pool.submit(tile(value=1))
        assert work is not None
        assert work.wait() == WorkerFailure("died", "ended by signal 11", "")
        work = pool.submit(tile())
        assert work is not None
        socket, pidfd = work.filenos()
        while len(work.filenos()) == 2:
            assert select.select([socket], [], [], GIVE_UP_S)[0]
            assert work.poll() is None
        assert work.filenos() == (pidfd,), "the closed socket would be ready until the end"
        (folder / "end").touch()
        assert select.select([pidfd], [], [], GIVE_UP_S)[0]
        assert work.poll() == WorkerFailure("died", "ended by signal 11", "")
        assert (pool.stats.died, pool.stats.killed) == (2, 0)


def test_kill_wins_over_a_reply_that_lies_there_unread(folder: Path) -> None:
    with pool_of(folder, "Picky") as pool:
        work = pool.submit(tile(value=0))
        assert work is not None
        assert isinstance(work.wait(), Answered), "what it says at its start is read as well"
        work = pool.submit(tile(value=0))
        assert work is not None
        descriptor = work.filenos()[0]
        assert select.select([descriptor], [], [], GIVE_UP_S)[0], "no reply"
        work.kill()
        assert work.poll() == work.wait() == WorkerFailure("died", "killed", "")
        work.kill()
        assert (pool.stats.died, pool.stats.killed, pool.stats.restarts) == (0, 1, 1)
        assert os.fstat(descriptor), "stays open until the loop had time to forget it"


def test_hang_limit(folder: Path) -> None:
    with pool_of(folder, "Sleeps", hang_s=0.3) as pool:
        work = pool.submit(tile())
        pid = pool.pids[0]
        assert work is not None
        reply = work.wait()
        assert isinstance(reply, WorkerFailure)
        assert reply.reason == "hung"
        assert pool.stats.hang_limit_fired == 1
        wait_until(lambda: gone(pid), "the worker is gone")


@pytest.mark.parametrize(
    ("app", "kind", "reason", "text"),
    [
        ("Leaves", "good", "died", "exit status 7"),
        ("Raises", "good", "app error", ": RuntimeError: no can do"),
        ("Withdraws", "good", "app error", "CancelledError: by a library"),
        ("Silent", "good", "app error", "Unspeakable"),
        ("Wrong", "good", "bad output", "class 9"),
        ("Unstartable", "good", "app error", "start: strange_apps.py:74: RuntimeError: no licence"),
        ("", "nan", "bad output", "are not finite"),
        ("", "two classes", "bad output", "1 x 2 x 16 x 16, should be 1 x 3 x 16 x 16"),
    ],
)
def test_failures_have_a_reason(folder: Path, app: str, kind: str, reason: str, text: str) -> None:
    with pool_of(folder, app, kind) as pool:
        work = pool.submit(tile(value=0))
        assert work is not None
        reply = work.wait()
        assert isinstance(reply, WorkerFailure), reply
        assert reply.reason == reason
        assert text in reply.detail
        assert reply.log == ("going" if app == "Leaves" else "")


def test_an_app_that_cannot_be_used_is_said_before_any_worker_starts(folder: Path) -> None:
    for app, text in (
        ("Unchecked", "cannot be used: strange_apps.py:65: Unspeakable$"),
        ("Subclassed", "its ANSWER is Wide, should be one of the four kinds, not a subclass"),
    ):
        with pytest.raises(SetupError, match=text), pool_of(folder, app):
            pass


def test_tile_of_the_wrong_shape(folder: Path) -> None:
    with pool_of(folder) as pool:
        for image, text in (
            (tile(side=8), "tile of 4 x 8 x 8 samples, the model takes 4 x 16 x 16"),
            (tile(bands=3), "tile of 3 x 16 x 16 samples"),
            (tile(side=SIDE * 2), "tile of 4 x 32 x 32, the slot takes 4 x 16 x 16"),
        ):
            work = pool.submit(image)
            assert work is not None
            reply = work.wait()
            assert isinstance(reply, WorkerFailure)
            assert reply.reason == "app error"
            assert text in reply.detail
        assert pool.stats.restarts == 0


def test_gives_up_and_tries_again_after_reset(folder: Path) -> None:
    with pool_of(folder, "Picky", restarts_max=2) as pool:
        for _ in range(3):
            work = pool.submit(tile(value=1))
            assert work is not None
            assert isinstance(work.wait(), WorkerFailure)
        assert pool.given_up
        assert pool.submit(tile(value=0)) is None
        pool.reset()
        work = pool.submit(tile(value=0))
        assert work is not None
        assert isinstance(work.wait(), Answered)
        assert (pool.stats.died, pool.stats.given_up) == (3, 1)


def test_unknown_app_and_missing_model(folder: Path) -> None:
    for config, text in (
        (PoolConfig(folder / "good.onnx", "payloads.apps.absent:Screen"), "No module named"),
        (PoolConfig(folder / "good.onnx", "payloads.apps.screen:Absent"), "no attribute 'Absent'"),
        (PoolConfig(folder / "good.onnx", "payloads.worker.wire:Status"), "no check or run"),
        (PoolConfig(folder / "good.onnx", ""), "should be like"),
        (PoolConfig(folder / "absent.onnx"), "run `make setup`"),
    ):
        with pytest.raises(SetupError, match=text):
            WorkerPool(config)


STATISTICS = '{{"data": {{"dataset_statistics": {{"img": {}, "band_names": {}}}}}}}'


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "m.json:1: not valid JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("[" * 200_000, "m.json: not valid JSON: "),
        ("[]", "m.json lacks data.dataset_statistics, an object with img and band_names"),
        ('{"data": 1}', "m.json lacks data.dataset_statistics, an object with img and band_names"),
        ('{"data": {"dataset_statistics": {"img": [[1], [0]]}}}',
         "m.json lacks data.dataset_statistics.band_names, a list of band names"),
        ('{"data": {"dataset_statistics": {"band_names": ["blue"]}}}',
         "m.json lacks data.dataset_statistics.img, [means, deviations], two lists with a number per band"),
        (STATISTICS.format("[[1]]", '["blue"]'), "m.json: data.dataset_statistics.img should be [means, deviations], "),
        (STATISTICS.format("3", '["blue"]'), "m.json: data.dataset_statistics.img should be [means, deviations], "),
        (STATISTICS.format("[[1], [1]]", '"blue"'), "m.json: data.dataset_statistics.band_names should be a list of"),
        (STATISTICS.format("[[1, 2], [1]]", '["blue"]'),
         "m.json: data.dataset_statistics has 1 band_names, 2 means and 1 deviations, should have one of each"),
        (STATISTICS.format("[[1], [0]]", '["blue"]'),
         "m.json: data.dataset_statistics.img[1][0] is 0, should be above 0"),
    ],
)  # fmt: skip
def test_bad_statistics(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(SetupError) as refused:
        WorkerPool(PoolConfig(tmp_path / "m.onnx"))
    assert str(refused.value).startswith(text)


def test_a_worker_app_that_imports_what_is_not_there_is_not_called_missing_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imports_too_much.py").write_text("import flght\n")
    (tmp_path / "imports_that.py").write_text("import imports_too_much\n")
    monkeypatch.syspath_prepend(tmp_path)
    for code in ("imports_too_much:App", "imports_that:App"):
        with pytest.raises(SetupError) as refused:
            WorkerPool(PoolConfig(None, code))
        assert str(refused.value) == (
            f"worker app {code!r}: imports_too_much.py imports 'flght', which is not installed"
        )
    with pytest.raises(SetupError, match=r"No module named 'flght'; is it installed, or its folder on PYTHONPATH\?$"):
        WorkerPool(PoolConfig(None, "flght.core:App"))


def test_a_worker_has_neither_the_priority_nor_the_processors_of_the_flight_loop(folder: Path) -> None:
    """The first one starts before the loop confines itself, one in its place afterwards."""
    script = f"""
        import os, sys
        sys.path.insert(0, {str(folder)!r})
        from pathlib import Path
        from flight.core.executive_section import ExecutiveConfig
        from flight.linux.realtime import apply
        from hal.base import Image
        from payloads.worker.pool import PoolConfig, WorkerPool
        model = Path({str(folder / "good.onnx")!r})
        pool = WorkerPool(PoolConfig(model, "strange_apps:Picky", height=16, width=16))
        cpus = os.sched_getaffinity(0)
        pool.start()
        apply(ExecutiveConfig(fifo_priority=10, cpus=(min(cpus),)))
        assert os.sched_getaffinity(0) == {{min(cpus)}}
        assert pool.submit(Image(1, 4, 16, 16, b"\\1\\0" * 1024)).wait().reason == "died"
        (worker,) = pool.pids
        assert pool.submit(Image(1, 4, 16, 16, bytes(2048))).wait().product
        assert os.sched_getscheduler(worker) == os.SCHED_OTHER
        assert os.sched_getaffinity(worker) == cpus
        pool.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=GIVE_UP_S)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_orphan_when_the_parent_goes(folder: Path, end: signal.Signals) -> None:
    """Parent killed outright, or Ctrl-C at the terminal, with a worker that would compute for an hour."""
    script = f"""
        import sys
        sys.path.insert(0, {str(folder)!r})
        from pathlib import Path
        from hal.base import Image
        from payloads.worker.pool import PoolConfig, WorkerPool
        pool = WorkerPool(PoolConfig(Path({str(folder / "good.onnx")!r}), "strange_apps:Picky", height=16, width=16))
        pool.start()
        assert pool.submit(Image(1, 4, 16, 16, bytes(2048))).wait().product
        work = pool.submit(Image(1, 4, 16, 16, b"\\3\\0" * 1024))
        print(pool.pids[0], flush=True)
        work.wait()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert not gone(worker)
        for pid in (parent.pid, worker):  # nothing with a name, which nobody would remove
            assert "/dev/shm" not in Path(f"/proc/{pid}/maps").read_text()
        parent.send_signal(end)
        parent.wait(GIVE_UP_S)
    wait_until(lambda: gone(worker), "the worker is gone")


class OwnKind(Scalars):
    """One of the four, with a word of its own."""

    ASKED: ClassVar[list[str]] = []

    def check(self) -> None:
        self.ASKED.append("check")


class AnswersOwnKind:
    ANSWER = OwnKind((Field("a", "u8"),))

    @staticmethod
    def check(_settings: Any) -> None: ...

    def run(self, _samples: Any) -> None: ...


def test_an_answer_of_a_kind_of_its_own_is_refused_before_its_code_is_called() -> None:
    says = (
        f"worker app '{__name__}:AnswersOwnKind': its ANSWER is OwnKind, "
        "should be one of the four kinds, not a subclass"
    )
    for look in (find_app, declared_answer):
        with pytest.raises(SetupError) as refused:
            look(f"{__name__}:AnswersOwnKind")
        assert str(refused.value) == says
    assert OwnKind.ASKED == []
