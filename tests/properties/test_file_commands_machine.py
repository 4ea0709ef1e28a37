"""Any file commands with any names, in any order, over power cuts: the files are those of a plain model, and each
command ends once, with a reason if it is refused.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flight.contract.failures import Failure
from flight.store.files.file_names import DIRECTORIES as OF_THE_STORE
from tests.file_command_bench import FileCommandBench
from tests.file_model import DIRECTORIES, DONE, NAMES, OPEN, FileModel, commands, contents, is_stored_name, unpacked

# With a disk that takes this long, what a command leaves is under way when the power goes.
SLOW_S = 0.05


class FileCommandsMachine(RuleBasedStateMachine):
    """The ground sends one command after the other, and the power goes now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = FileCommandBench()
        self.model = FileModel()

    def teardown(self) -> None:
        self.bench.close()
        assert self.bench.faults == []

    @rule(directory=st.sampled_from(DIRECTORIES), name=st.sampled_from(NAMES), content=contents)
    def put(self, directory: str, name: str, content: bytes) -> None:
        path = f"{directory}/{name}"
        if path not in self.model.files:
            self.bench.put(path, content)
            self.model.files[path] = content
            self.model.locked.discard(path)

    @rule(command=commands())
    def have(self, command: tuple[str, tuple[Any, ...]]) -> None:
        name, values = command
        outcome = self.bench.have(name, *values, duration_s=2.0)
        self.judge(name, values, outcome)

    def judge(self, name: str, values: tuple[Any, ...], outcome: str) -> None:
        """Compare how a command ended with what the model says, and keep the model in step."""
        codes = self.model.refusal(name, values)
        if outcome == DONE:
            assert not codes, (name, values, codes)
            self.model.apply(name, values)
            return
        code, _, reason = outcome.partition(": ")
        assert Failure(int(code)) in codes and reason, (name, values, outcome, codes)  # type: ignore[call-arg]

    @rule()
    def reboot(self) -> None:
        self.bench.reboot()
        self.bench.run(2.0)

    @rule(command=commands(), at_s=st.floats(0.0, 4 * SLOW_S))
    def cut(self, command: tuple[str, tuple[Any, ...]], at_s: float) -> None:
        """Cut the power while a command is under way: if it is reported as done it is, if it is refused it is not."""
        name, values = command
        self.bench.disk.commit_s = SLOW_S
        request = self.bench.send(name, *values)
        self.bench.run(at_s)
        self.bench.reboot()
        self.bench.disk.commit_s = 0.0
        self.bench.run(2.0)
        outcome = self.bench.outcome(request)
        if outcome.startswith(f"{Failure.INTERRUPTED}: "):
            self.follow(name, values)
        elif outcome != OPEN:
            self.judge(name, values, outcome)

    def follow(self, name: str, values: tuple[Any, ...]) -> None:
        """Take over what a command that was cut short had done: compression has a file of its own before its end."""
        assert name == "compress_file" or name.endswith("_transfer"), name
        if name == "compress_file" and f"{'/'.join(values)}.z" in self.bench.paths():
            self.model.apply(name, values)

    @invariant()
    def the_files_are_those_of_the_model(self) -> None:
        bench, model = self.bench, self.model
        assert bench.paths() == sorted(model.files)
        for path, content in model.files.items():
            found = bench.content(path)
            assert found is not None and unpacked(path, found) == unpacked(path, content), path
        assert {entry.path for entry in bench.store.entries() if entry.locked} == {
            path for path in model.locked if path in model.files
        }

    @invariant()
    def nothing_stands_outside_the_store(self) -> None:
        assert tuple(OF_THE_STORE) == DIRECTORIES
        for name in self.bench.disk.durable:
            assert name.startswith("vault.") or is_stored_name(name), name


FileCommandsMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
# A node that loses power as it waits for the disk never gets to the command's coroutine.
TestFileCommands = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")(
    FileCommandsMachine.TestCase
)
