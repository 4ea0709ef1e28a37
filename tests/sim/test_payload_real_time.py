"""Workers under the real flight loop: replies, deaths and kills arrive through epoll, and no descriptor lingers."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest

from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform
from hal.base import Image
from payloads.worker.pool import Answered, PoolConfig, Reply, WorkerFailure, WorkerPool
from tests.waiting import GIVE_UP_S

APP = """
    import time
    import numpy as np

    from payloads.product.answers import SCREENING

    class Waits:
        ANSWER = SCREENING
        def __init__(self, settings): pass
        @staticmethod
        def check(settings): pass
        def run(self, samples):
            if samples[0, 0, 0]:
                time.sleep(3600)
            return np.zeros(samples.shape[1:], dtype=np.uint8)
"""


def tile(number: int, waits: bool) -> Image:
    return Image(number, 4, 8, 8, (b"\1" if waits else b"\0") * 512)


def test_replies_deaths_and_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waiting_app.py").write_text(textwrap.dedent(APP))
    (tmp_path / "m.onnx").write_bytes(b"")
    (tmp_path / "m.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    platform = LinuxPlatform(tmp_path / "storage", "t")
    faults: list[BaseException] = []
    scheduler = Scheduler(platform, platform.cpu_ns, lambda _, error: faults.append(error))
    pool = WorkerPool(PoolConfig(tmp_path / "m.onnx", "waiting_app:Waits", height=8, width=8))
    pool.start()
    replies: list[Reply] = []

    async def submit(task: Task, number: int, waits: bool, limit_s: float) -> bool:
        work = pool.submit(tile(number, waits))
        assert work is not None, f"tile {number}: no worker is free"
        future = platform.complete(work, 0.0)
        if waits and number % 2:
            os.kill(pool.pids[0], signal.SIGKILL)
        if await task.wait(future, limit_s):
            replies.append(future.result())
            return True
        work.kill()
        return False

    async def body(task: Task) -> None:
        try:
            for number in range(6):
                assert await submit(task, number, number % 2 == 1, GIVE_UP_S)
                # A kill by ourselves, and the next tile at once, before the loop has looked at what was killed.
                assert not await submit(task, 100, True, 0.02)
        finally:
            platform.stop()

    scheduler.spawn("test", body)
    platform.run()
    assert faults == []
    assert [type(reply) for reply in replies] == [Answered, WorkerFailure] * 3
    assert (pool.stats.died, pool.stats.killed) == (3, 6)
    scheduler.close()
    pool.close()
    platform.close()
