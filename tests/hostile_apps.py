"""Worker apps that do what an app must not do. Either the attempt fails, or the app's reply says that it worked.

What `_act` returns is reported as an error of the app ("got ..."), so that a test sees it. If it returns None, the app
answers with a good mask. Real workers load this module from a copy that is only on their path.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from payloads.product.answers import SCREENING
from payloads.product.mask import encode_mask_product
from payloads.worker.wire import Answer, SlotShape, Status

LIBC = ctypes.CDLL(None, use_errno=True)


class Base:
    """An app that does `_act`, and then answers with a good mask."""

    ANSWER = SCREENING

    def __init__(self, settings: Any) -> None:
        """Take nothing from the settings."""

    @staticmethod
    def check(settings: Any) -> None:
        """Accept any settings."""

    def _act(self, samples: Any) -> Any:
        raise NotImplementedError

    def run(self, samples: Any) -> Any:
        """Do what this app is about; raises RuntimeError with what it got, if anything."""
        result = self._act(samples)
        if result is not None:
            raise RuntimeError(f"got {result}")
        return np.ones(samples.shape[1:], dtype=np.uint8)


class Good(Base):
    """Answers with a good mask."""

    def _act(self, samples: Any) -> None:
        pass


def descriptor_of(name: str) -> int:
    """Return the descriptor of this process that is open on a file of that name."""
    for one in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if name in os.readlink(f"/proc/self/fd/{one}"):
                return int(one)
    raise RuntimeError(f"no descriptor of {name}")


def call(number: int, *arguments: int) -> None:
    """Make a bare system call; raises OSError."""
    if LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def worked(attempts: dict[str, Callable[[], Any]]) -> list[str] | None:
    """Return the names of the attempts that did not fail; None if all failed."""
    found = []
    for name, attempt in attempts.items():
        with contextlib.suppress(OSError, ValueError):
            attempt()
            found.append(name)
    return found or None


# Shared memory


class Shrinks(Base):
    """Shrinks the shared slot and the log."""

    def _act(self, samples: Any) -> Any:
        del samples
        return worked({"slot": lambda: os.ftruncate(descriptor_of("slot"), 0), "log": lambda: os.ftruncate(1, 0)})


class Grows(Base):
    """Makes the shared slot and the log larger."""

    def _act(self, _samples: Any) -> Any:
        return worked({
            "slot": lambda: os.ftruncate(descriptor_of("slot"), 1 << 19),
            "log": lambda: os.ftruncate(1, 1 << 19),
            "log by writing": lambda: os.pwrite(1, b"x" * 100, 1 << 19),
        })  # fmt: skip


class Prints(Base):
    """Prints a line of 20,000 octets."""

    def _act(self, _samples: Any) -> None:
        print("x" * 20_000, "end", flush=True)


class Forges(Base):
    """Answers by itself, with a product of another tile, or with a mask of classes that do not exist."""

    def _act(self, samples: Any) -> None:
        bands, height, width = samples.shape
        shape = SlotShape(bands, height, width, samples[0].size)
        clear = np.zeros(samples.shape[1:], dtype=np.uint8)
        other_tile = samples[0, 0, 0] == 1
        product = encode_mask_product(samples, clear, tile=9 if other_tile else 5, job=0, time_ns=0, cloudy_frac=1.0)
        mask = bytes(clear.size) if other_tile else b"\7" * clear.size
        os.pwrite(descriptor_of("slot"), mask + product, shape.answer_at)
        answer = Answer(Status.DONE, 1, os.getpid(), answer_octets=len(mask), product_octets=len(product))
        os.write(descriptor_of("socket"), answer.encode())
        time.sleep(3600)


# The socket


class SaysReady(Base):
    """Says again and again that it is ready."""

    def _act(self, _samples: Any) -> None:
        for _ in range(50):
            os.write(descriptor_of("socket"), Answer(Status.READY, 0, os.getpid()).encode())


class AnswersUnasked(Base):
    """Answers requests that it has not read, future ones too."""

    def _act(self, _samples: Any) -> None:
        control = descriptor_of("socket")
        for sequence in range(1, 5000):
            os.write(control, Answer(Status.APP_ERROR, sequence, os.getpid(), detail="unasked").encode())
        time.sleep(3600)


# Children


def _fork_away() -> None:
    """Fork twice with a session between, the usual way of a daemon."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(0)


def _fork() -> None:
    if os.fork() == 0:
        time.sleep(3600)
        os._exit(0)


def _clone3() -> None:
    arguments = ctypes.create_string_buffer(struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0))
    child = LIBC.syscall(ctypes.c_long(435), arguments, ctypes.c_long(88))
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3")


class HasChildren(Base):
    """Tries every way to have a child process."""

    def _act(self, _samples: Any) -> Any:
        sleep = ["/bin/sleep", "3600"]
        return worked({
            "fork": _fork,
            "double fork": _fork_away,
            "clone3": _clone3,
            "subprocess": lambda: subprocess.Popen(sleep),
            "a session": lambda: subprocess.Popen(sleep, start_new_session=True),
            "spawn": lambda: os.posix_spawn(sleep[0], sleep, {}),
        })  # fmt: skip


class LeavesChild(Base):
    """Leaves a child that holds all descriptors, in a session of its own; then does what the tile says."""

    def _act(self, samples: Any) -> None:
        _fork_away()
        if samples[0, 0, 0] == 1:
            os._exit(7)
        if samples[0, 0, 0] == 2:
            time.sleep(3600)


class HasThreads(Base):
    """Has a few threads, which is allowed."""

    def _act(self, _samples: Any) -> None:
        done = []
        threads = [threading.Thread(target=lambda: done.append(1)) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(done) == 8


class StartsThreads(Base):
    """Starts as many threads as it can."""

    def _act(self, _samples: Any) -> str:
        end = threading.Event()
        threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(500)]
        started = 0
        try:
            for one in threads:
                one.start()
                started += 1
        except RuntimeError as error:
            return f"{error} after fewer than 100: {started < 100}"
        finally:
            end.set()
        return "no end"


# The node, other processes, priorities


class ReachesTheNode(Base):
    """Tries to reach the node and other processes, and to change its own rank."""

    def _act(self, _samples: Any) -> Any:
        node, own = os.getppid(), os.getpid()
        control = descriptor_of("socket")
        arm = os.uname().machine == "aarch64"
        cores = os.sched_getaffinity(0)
        return worked({
            "kill": lambda: os.kill(node, 0),
            "kill its group": lambda: os.killpg(os.getpgid(node), 0),
            "kill all": lambda: os.kill(-1, 0),
            "tkill": lambda: call(130 if arm else 200, node, 0),
            "pidfd": lambda: os.pidfd_open(node),
            "queue": lambda: call(138 if arm else 129, node, 0, ctypes.addressof(ctypes.create_string_buffer(128))),
            "owner": lambda: fcntl.fcntl(control, fcntl.F_SETOWN, node),
            "owner's signal": lambda: fcntl.fcntl(control, 10, signal.SIGKILL),
            "trace": lambda: call(117 if arm else 101, 16, node, 0, 0),
            "memory": lambda: Path(f"/proc/{node}/mem").open("rb").close(),
            "environment": lambda: Path(f"/proc/{node}/environ").read_bytes(),
            "descriptors": lambda: os.readlink(f"/proc/{node}/fd/0"),
            "read": lambda: call(270 if arm else 310, node, 0, 0, 0, 0, 0),
            "priority": lambda: os.setpriority(os.PRIO_PROCESS, node, 10),
            "policy": lambda: os.sched_setscheduler(node, os.SCHED_IDLE, os.sched_param(0)),
            "processors": lambda: os.sched_setaffinity(node, cores),
            "limits": lambda: resource.prlimit(node, resource.RLIMIT_NOFILE),
            "own priority": lambda: os.setpriority(os.PRIO_PROCESS, own, 0),
            "own policy": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
            "own processors": lambda: os.sched_setaffinity(0, cores),
            "own limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
            "own oom score": lambda: Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii"),
            "outlives": lambda: call(167 if arm else 157, 1, 0, 0, 0, 0),
            "namespace": lambda: call(97 if arm else 272, 0x10000000),
        })  # fmt: skip


class Stops(Base):
    """Stops its own process."""

    def _act(self, _samples: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


# Network


class Connects(Base):
    """Tries every way to the network."""

    def _act(self, _samples: Any) -> Any:
        port = int(os.environ["PORT"])
        return worked({
            "tcp": lambda: socket.create_connection(("127.0.0.1", port), 5).close(),
            "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
            "local": lambda: socket.socket(socket.AF_UNIX).connect(os.environ["LOCAL"]),
            "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
            "io_uring": lambda: call(425, 1, ctypes.addressof(ctypes.create_string_buffer(120))),
        })  # fmt: skip


# Files, environment, memory


class TouchesFiles(Base):
    """Reads and writes files that are not its own."""

    def _act(self, _samples: Any) -> Any:
        storage = Path(os.environ["STORAGE"])
        return worked({
            "read": (storage / "secret").read_bytes,
            "list": lambda: os.listdir(storage),
            "write": lambda: (storage / "secret").write_bytes(b""),
            "make": lambda: (storage / "new").write_bytes(b"x"),
            "delete": (storage / "secret").unlink,
            "mode": lambda: (storage / "secret").chmod(0),
            "temporary": lambda: Path("/tmp/orbitnode-hostile").write_bytes(b"x"),
            "the app": lambda: Path(__file__).write_bytes(b""),
            "kernel": lambda: os.close(os.open("/proc/sys/kernel/hostname", os.O_WRONLY)),
            "passwords": lambda: Path("/etc/shadow").read_bytes(),
        })  # fmt: skip


class FillsItsFolder(Base):
    """Fills its temporary folder."""

    def _act(self, _samples: Any) -> str:
        octets = 0
        try:
            for number in range(200):
                with Path(f"hostile-{number}").open("wb") as file:
                    octets += file.write(bytes(1 << 20))
        except OSError as error:
            return f"{octets >> 20} MiB in {os.environ['TMPDIR']}: {error.strerror}"
        return "no end"


class Environment(Base):
    """Reports its environment and its stdin."""

    def _act(self, _samples: Any) -> str:
        return " ".join(sorted(os.environ)) + f" stdin {sys.stdin.read()!r}"


class TakesMemory(Base):
    """Takes 3 GiB of memory."""

    def _act(self, _samples: Any) -> str:
        return f"{len(bytearray(3 << 30))} octets"


class OpensMuch(Base):
    """Opens as many descriptors as it can."""

    def _act(self, _samples: Any) -> str:
        return f"{len([os.open('/dev/null', os.O_RDONLY) for _ in range(2000)])} descriptors"
