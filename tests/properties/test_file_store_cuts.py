"""A day of the file store, with the power cut at each of its storage operations: what must be there, and what must not.

The day has every way in which a file comes and goes. Whatever is done is noted before it begins and once it is done, so
that after the cut each file is either certainly there, certainly gone, or what was under way.
"""

from __future__ import annotations

import pytest

from flight.core.config import read_table
from flight.store.files.draft import Draft
from flight.store.files.file_names import DIRECTORIES
from flight.store.files.files_config import FilesConfig
from sim_hw.machine.disk import PowerCut
from tests.file_bench import FileBench


class Day:
    """`there`: contents by path, None if the path is free; `begun`: what a path may be instead until that is done."""

    def __init__(self, seed: int, cut_at: int | None) -> None:
        table = {name: {"quota_octets": 10_000} for name in DIRECTORIES}
        config = read_table(FilesConfig, table, ("files",), [])
        assert config is not None
        self.bench = FileBench(config, seed=seed)
        self.bench.disk.cut_at_operation = cut_at
        self.there: dict[str, bytes | None] = {}
        self.begun: dict[str, list[bytes | None]] = {}
        self.draft: Draft | None = None  # whose first octets were synced

    def put(self, path: str, content: bytes, *, paced: bool = False, replaces: bool = False) -> None:
        """A file comes. `paced`: its beginning is durable before the rest comes."""
        directory, _, name = path.partition("/")
        draft = self.bench.store.draft(directory, name, len(content), replaces=replaces)
        draft.write(0, content[:300])
        if paced:
            self.bench.storage.sync("files.")
            self.bench.advance()
            self.draft = draft
        for start, end in ((400, len(content)), (300, 400)):
            if start < len(content):
                draft.write(start, content[start:end])
        self.begun[path] = [content]
        self.bench.finish(draft)
        self.draft = None
        self.settle(path, content)

    def settle(self, path: str, content: bytes | None) -> None:
        self.there[path] = content
        self.begun.pop(path, None)

    def run(self) -> None:
        store = self.bench.store
        self.put("uploads/a", b"a" * 1_000)
        self.put("uploads/b", b"b" * 2_000, paced=True)
        self.put("uploads/a", b"A" * 900, replaces=True)
        self.put("uploads/b", b"B" * 2_100, paced=True, replaces=True)
        entry = store.find("uploads", "a")
        assert entry is not None
        self.begun |= {"uploads/a": [None], "models/a": [b"A" * 900]}
        self.bench.commit(store.renaming(entry, "models", "a"))
        self.settle("uploads/a", None)
        self.settle("models/a", b"A" * 900)
        for at in range(4):
            self.put(f"logs/{at}", b"%d" % at * 2_400)
        # Two of these give way: each may be gone once it is told.
        self.begun |= {"logs/0": [None], "logs/1": [None]}
        self.put("logs/4", b"4" * 5_000)
        self.bench.sweep()
        self.settle("logs/0", None)
        self.settle("logs/1", None)
        entry = store.find("uploads", "b")
        assert entry is not None
        self.begun["uploads/b"] = [None]
        self.bench.commit(store.removal(entry))
        self.settle("uploads/b", None)
        dropped = store.draft("uploads", "d", 500)
        dropped.write(0, bytes(500))
        store.drop(dropped)
        self.put("uploads/e", b"", paced=True)
        self.bench.advance()

    def judge(self) -> None:
        """Boot, adopt the draft whose record would be there, sweep, and look at everything."""
        bench, draft = self.bench, self.draft
        bench.disk.cut_at_operation = None
        told = {entry.path for entry, _ in bench.evicted}
        bench.boot()
        adopted: set[int] = set()
        if draft is not None and bench.store.of_number(draft.number) is None:
            again = bench.store.adopt(draft.number, draft.directory, draft.name, draft.octets, replaces=True)
            assert again.grown_octets >= min(300, draft.octets or 0), "what was synced is there"
            adopted.add(again.number)
        bench.sweep()
        shown = {entry.path: entry for entry in bench.store.entries()}
        for entry in shown.values():
            assert bench.store.damage_of(entry) == "", entry
        contents = {path: bench.content(entry) for path, entry in shown.items()}
        for path in {*self.there, *self.begun, *contents}:
            possible = [self.there.get(path), *self.begun.get(path, [])]
            assert contents.get(path) in possible, path
            assert path in contents or not path.startswith("logs/") or path not in self.there or path in told, path
        if "models/a" in self.begun:
            assert ("models/a" in contents) != ("uploads/a" in contents), "renamed or not, and never lost"
        assert bench.contents() <= {entry.number for entry in shown.values()} | adopted, "octets leak"
        # It goes on, and what it does now holds.
        bench.put("uploads", "after", b"after")
        bench.boot()
        entry_after = bench.store.find("uploads", "after")
        assert entry_after is not None and bench.content(entry_after) == b"after"


def operations() -> range:
    """Return the numbers of the operations of a day."""
    day = Day(0, None)
    first = day.bench.disk.operations + 1
    day.run()
    last = day.bench.disk.operations
    day.judge()
    return range(first, last + 1)


@pytest.mark.parametrize("seed", range(8))
def test_the_power_may_go_at_any_operation_of_a_day(seed: int) -> None:
    assert len(operations()) > 70
    for cut_at in operations():
        day = Day(1000 * seed + cut_at, cut_at)
        with pytest.raises(PowerCut):
            day.run()
        day.judge()
