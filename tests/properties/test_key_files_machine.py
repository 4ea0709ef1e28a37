"""Keys files, records and power over years: once both ends have one file, the guide brings them together again.

And whatever happened, no number is used twice with a key, and no old frame is taken by an end that does not say so.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flight.link.security.associations import End
from flight.link.security.keyring import KeyUse
from tests.key_files import FAULTS, FILES, WAYS, Fault, KeyFiles

ENDS = st.sampled_from(End)
PLACES = st.integers(0, FILES - 1)
CHANGES = st.sampled_from(WAYS)


class KeyFilesMachine(RuleBasedStateMachine):
    """See the head of this file."""

    def __init__(self) -> None:
        super().__init__()
        self.link = KeyFiles()

    @initialize(uses=st.lists(CHANGES, max_size=4))
    def change_before(self, uses: list[KeyUse]) -> None:
        for use in uses:
            assert self.link.change(use) == ""

    @rule(use=CHANGES, step=st.integers(0, 24), kind=st.sampled_from(FAULTS))
    def change_with_a_fault(self, use: KeyUse, step: int, kind: str) -> None:
        self._forgets_backup_of_node()
        self.link.change(use, Fault(step, kind))

    @rule(use=CHANGES)
    def change(self, use: KeyUse) -> None:
        self._forgets_backup_of_node()
        self.link.change(use)

    @rule(place=PLACES, first=ENDS)
    def bring_both(self, place: int, first: End) -> None:
        self._forgets_backup_of_node()
        self.link.bring_both(place, first)

    @rule(end=ENDS, place=PLACES, with_record=st.booleans())
    def bring(self, end: End, place: int, with_record: bool) -> None:
        self._forgets_backup_of_node()
        self.link.bring(end, place, with_record=with_record)

    @rule(end=ENDS)
    def restart(self, end: End) -> None:
        self.link.start(end)

    @rule(end=ENDS)
    def forget(self, end: End) -> None:
        self._forgets_backup_of_node()
        self.link.forget(end)

    @rule()
    def keep(self) -> None:
        self.link.keep()

    @precondition(lambda self: self.link.backups)
    @rule(end=ENDS)
    def put_back(self, end: End) -> None:
        if end in self.link.backups:
            self.link.put_back(end)

    def _forgets_backup_of_node(self) -> None:
        """Let the node get no record of an earlier time, but for numbers: the guide says never to do that."""
        self.link.backups.pop(End.NODE, None)

    @precondition(lambda self: self.link.place[End.NODE] == self.link.place[End.GROUND])
    @rule()
    def come_together(self) -> None:
        self._forgets_backup_of_node()
        self.link.come_together()

    @invariant()
    def nothing_is_taken_again(self) -> None:
        self.link.replay()

    def teardown(self) -> None:
        self.link.bring_both(self.link.place[End.NODE])
        self.link.come_together()
        self.link.replay()
        self.link.change_all()
        self.link.replay()


TestKeyFiles = KeyFilesMachine.TestCase
TestKeyFiles.settings = settings(stateful_step_count=8, max_examples=40)
