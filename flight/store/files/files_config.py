"""The mission section [files]: what each directory may hold, and what gives way if there is no room."""

# Each directory has a class of its own, so that a mission which sets the quota of one keeps its other defaults: a table
# takes defaults from its class. What the ground has sent stays until it is deleted by command, since it was reported as
# stored; so by default only products and logs give way.

from __future__ import annotations

from dataclasses import dataclass

from flight.core.config import key
from flight.store.files.file_names import LOGS, MODELS, PRODUCTS, UPLOADS

OLDEST, VALUE, NONE = "oldest", "value", "none"
FILES_MAX = 2_000


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """What one directory may hold.

    evict: which of its files gives way if there is no room: the oldest, the one that is worth least per octet, or none.
    """

    quota_octets: int = key(0, minimum=0, maximum=1 << 50, text="octets of all its files together")
    priority: int = key(0, minimum=0, maximum=9, text="0 is the most important; the least important gives way first")
    evict: str = key(NONE, choices=(OLDEST, VALUE, NONE), text="which file gives way if there is no room")


@dataclass(frozen=True, slots=True)
class _Products(DirectoryConfig):
    quota_octets: int = key(32_000_000, minimum=0, maximum=1 << 50, text="octets of all its files together")
    priority: int = key(2, minimum=0, maximum=9, text="0 is the most important; the least important gives way first")
    evict: str = key(VALUE, choices=(OLDEST, VALUE, NONE), text="which file gives way if there is no room")


@dataclass(frozen=True, slots=True)
class _Uploads(DirectoryConfig):
    quota_octets: int = key(64_000_000, minimum=0, maximum=1 << 50, text="octets of all its files together")
    priority: int = key(1, minimum=0, maximum=9, text="0 is the most important; the least important gives way first")


@dataclass(frozen=True, slots=True)
class _Models(DirectoryConfig):
    quota_octets: int = key(64_000_000, minimum=0, maximum=1 << 50, text="octets of all its files together")


@dataclass(frozen=True, slots=True)
class _Logs(DirectoryConfig):
    quota_octets: int = key(8_000_000, minimum=0, maximum=1 << 50, text="octets of all its files together")
    priority: int = key(3, minimum=0, maximum=9, text="0 is the most important; the least important gives way first")
    evict: str = key(OLDEST, choices=(OLDEST, VALUE, NONE), text="which file gives way if there is no room")


_PRODUCTS, _UPLOADS, _MODELS, _LOGS = _Products(), _Uploads(), _Models(), _Logs()


@dataclass(frozen=True, slots=True)
class FilesConfig:
    """The mission section [files]."""

    files_max: int = key(1_000, minimum=1, maximum=FILES_MAX, text="files of all directories together")
    products: _Products = _PRODUCTS  # what apps have made for the ground
    uploads: _Uploads = _UPLOADS  # what the ground has sent
    models: _Models = _MODELS  # what apps compute with
    logs: _Logs = _LOGS  # what the node writes down for the ground

    def directory(self, name: str) -> DirectoryConfig:
        """Return what the directory `name` may hold. Raises KeyError if there is none."""
        directories: dict[str, DirectoryConfig] = {
            PRODUCTS: self.products,
            UPLOADS: self.uploads,
            MODELS: self.models,
            LOGS: self.logs,
        }
        return directories[name]

    @property
    def quota_octets(self) -> int:
        """Octets of all directories together."""
        return sum(each.quota_octets for each in (self.products, self.uploads, self.models, self.logs))
