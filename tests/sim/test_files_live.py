"""Files as an operator has them: real node, board, ground and `orbitnode files`, with either end killed on the way."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.live_site import Site, begin
from tests.sim.test_realtime_flight import Process
from tests.waiting import wait_until

CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def files(site: Site, *words: str | Path) -> list[dict[str, Any]]:
    """Return what `orbitnode files` says as JSON; it must succeed."""
    said = site.run("files", *words, "--json", "--port", str(site.api))
    return [json.loads(line) for line in said.splitlines()]


def names(site: Site, directory: str) -> dict[str, int]:
    """Return the files of a directory on board, and their octets."""
    (answer,) = files(site, "ls", directory)
    return {f"{row['directory']}/{row['name']}": row["octets"] for row in answer["files"] if "name" in row}


def transfer(site: Site, transaction: str) -> dict[str, Any]:
    return next(each for each in files(site, "progress") if each["transaction"] == transaction)


def is_up(site: Site, transaction: str) -> bool:
    """A ground that was started since has forgotten transfers that had ended; the node knows what it has."""
    states = [each["state"] for each in files(site, "progress") if each["transaction"] == transaction]
    return states in ([], ["completed"])


@pytest.mark.campaign
def test_files_go_up_are_listed_come_down_and_are_deleted_whoever_is_killed(site: Site) -> None:
    local, back = site.folder / "local.bin", site.folder / "back.bin"
    local.write_bytes(CONTENT)
    begin(site)
    started = files(site, "put", local, "a.bin", "--no-wait")[-1]["transaction"]
    wait_until(lambda: transfer(site, started)["there"] > 20_000, "the file is on its way")
    for name in ("flight", "ground"):
        site.kill(name)
        site.start(name)
        site.ping()
    wait_until(lambda: is_up(site, started), lambda: str(files(site, "progress")))
    assert names(site, "uploads") == {"uploads/a.bin": len(CONTENT)}

    product = Path(files(site, "get", "a.bin", back)[-1]["path"])
    assert product.parent == site.folder / "ground" / "products"
    assert product.read_bytes() == back.read_bytes() == CONTENT

    files(site, "rm", "a.bin")
    assert names(site, "") == {}
    code, said = Process("files", "rm", "a.bin", "--port", str(site.api)).ended()
    assert code == 1 and "no such file" in said and "Traceback" not in said, said
    code, said = Process("files", "get", "a.bin", "--port", str(site.api)).ended()
    assert code == 1 and "uploads/a.bin failed" in said and "Traceback" not in said, said


@pytest.mark.campaign
def test_a_transfer_is_suspended_resumed_and_cancelled(site: Site) -> None:
    local = site.folder / "local.bin"
    local.write_bytes(CONTENT * 10)  # half a minute of the way up
    begin(site)
    waiting = Process("files", "put", local, "b.bin", "--port", str(site.api))
    wait_until(lambda: any(each["there"] for each in files(site, "progress")), "the file is on its way")
    (started,) = (each["transaction"] for each in files(site, "progress"))
    code, said = waiting.end()
    assert (code, said.splitlines()) == (130, [
        f"b.bin: transfer {started} goes on; `orbitnode files progress` shows it, `files cancel` ends it"
    ])  # fmt: skip
    files(site, "suspend", started)
    assert transfer(site, started)["state"] == "suspended"
    site.kill("ground")
    site.start("ground")
    site.ping()
    assert transfer(site, started)["state"] == "suspended", "over a restart too"
    reached = transfer(site, started)["there"]
    files(site, "resume", started)
    wait_until(lambda: transfer(site, started)["there"] > reached, "the file goes on")
    files(site, "cancel", started)
    wait_until(lambda: transfer(site, started)["state"] == "failed", lambda: str(transfer(site, started)))
    assert names(site, "") == {}
    small = site.folder / "small.bin"
    small.write_bytes(b"whole")
    assert files(site, "put", small)[-1]["outcome"] == "completed", "the link is free again"
