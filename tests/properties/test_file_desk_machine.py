"""The desk of files against a node, over a link that loses and cuts, with kills of the ground at any turn.

Every file arrives whole, in both directions; nothing but whole files ever has the name of one; nothing is left behind.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.core.errors import OrbitnodeError
from tests.desk_rig import DeskRig

SIZES = st.sampled_from((0, 1, 243, 2000, 9000))


class FileDeskMachine(RuleBasedStateMachine):
    """Up to 6 files each way; every one of class 2."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._random = random.Random(5)
        self._loss = 0.0
        self.rig = DeskRig(Path(self._folder.name), lambda _way: self._random.random() < self._loss)
        self.up: dict[str, bytes] = {}
        self.down: dict[str, bytes] = {}

    @initialize(in_contact=st.booleans())
    def begin(self, in_contact: bool) -> None:
        """Begin in a contact or before one."""
        self.rig.contact(in_contact)

    @rule(size=SIZES)
    def put(self, size: int) -> None:
        """Send a file up."""
        if len(self.up) < 6:
            name = f"up-{len(self.up)}"
            self.up[name] = self._random.randbytes(size)
            self.rig.put(name, self.up[name])

    @rule(size=SIZES)
    def send(self, size: int) -> None:
        """Let the node send a file."""
        if len(self.down) < 6:
            name = f"down-{len(self.down)}"
            self.down[name] = self._random.randbytes(size)
            self.rig.node.send(name, self.down[name], self.rig.now_ns)

    @rule(turns=st.integers(1, 40), pdus=st.integers(0, 8), loss=st.sampled_from((0.0, 0.1, 0.5)))
    def turn(self, turns: int, pdus: int, loss: float) -> None:
        """Let some time pass."""
        self._loss = loss
        for _ in range(turns):
            self.rig.turn(pdus)

    @rule()
    def contact(self) -> None:
        """Begin a contact, or end it."""
        self.rig.contact(not self.rig.in_contact)

    @rule(commits=st.booleans())
    def kill(self, commits: bool) -> None:
        """Kill the ground and start another, with or without the last commit."""
        if commits:
            self.rig.desk.commit(self.rig.now_ns)
        self.rig.start()

    @rule(action=st.sampled_from(("suspend", "resume")), which=st.integers(0, 11))
    def lead(self, action: str, which: int) -> None:
        """Suspend or resume a transfer."""
        transfers = self.rig.desk.transfers(self.rig.now_ns)
        if transfers:
            with suppress(OrbitnodeError):  # it has ended
                self.rig.desk.lead(action, transfers[which % len(transfers)].transaction, self.rig.now_ns)

    @invariant()
    def nothing_but_whole_files_has_a_name(self) -> None:
        """Look at every product."""
        for name, content in self.rig.products().items():
            assert self.down.get(name) == content, name

    def teardown(self) -> None:
        """Give every transfer time in a good contact: all of them end, and both ends agree how."""
        self._loss = 0.0
        rig = self.rig
        rig.start()
        for _ in range(3):
            rig.contact(False)
            rig.contact(True)
            for transfer in rig.desk.transfers(rig.now_ns):
                if transfer.state == "suspended":
                    rig.desk.lead("resume", transfer.transaction, rig.now_ns)
            rig.run(60)
        try:
            assert dict(rig.node.files) == self.up and len(rig.node.files) == len(self.up)
            assert rig.products() == self.down
            assert rig.working() == [] and rig.desk.entity.transactions() == []
            assert all(finished.whole for finished in rig.node.finished)
            assert rig.faults == []
        finally:
            self._folder.cleanup()


# Not shrunk: an example takes too long for that, and its steps are read quickly enough.
FileDeskMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
TestFileDesk = FileDeskMachine.TestCase
