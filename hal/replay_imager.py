"""Driver of a camera that is a folder of stored tiles: `replay:FOLDER[?size=256&loop=1]`.

A tile is a NumPy `.npz` file with an array `refl`: uint16 [row, column, band], reflectance x 10,000. The first four
bands (blue, green, red, near infrared) are taken. The files are replayed once, in the order of their names, or over and
over with `loop=1`.
"""

# Tiles are files that somebody copied to the board, so a damaged one must cost one capture and no more. The size that
# the archive states is checked before NumPy unpacks it (a small file can unpack to gigabytes), pickles are refused
# because they run code, and each way in which zipfile and NumPy fail becomes a HalError that names the file. The count
# goes on before a file is read: otherwise one bad file would be tried for ever.

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from urllib.parse import parse_qs

from hal.base import HalError, Host, Image, Imager

BANDS = 4
SIZE = 256
TILES_MAX = 100_000  # their names are kept in memory
MEMBER_OCTETS_MAX = 64 * 1024 * 1024  # what can be unpacked within the guard's limit for a capture


class ReplayImager:
    """The tiles of one folder. A bad file raises HalError naming it; the next `capture` goes on with the next file."""

    def __init__(self, paths: tuple[Path, ...], size: int, loop: bool) -> None:
        self._paths = paths
        self._size = size
        self._loop = loop
        self._taken = 0

    def ready(self) -> bool:
        """Return whether a tile remains."""
        return self._loop or self._taken < len(self._paths)

    def capture(self) -> Image:
        """Read the next tile. Raises HalError if none remains or the file is bad."""
        if not self.ready():
            raise HalError(f"replay is over: all {len(self._paths)} tiles were taken")
        number = self._taken
        self._taken += 1
        return read_tile(self._paths[number % len(self._paths)], number, self._size)


def read_tile(path: Path, number: int, size: int = SIZE) -> Image:
    """Read the tile in the file `path`, of `size` x `size` pixels. Raises HalError naming the file and the fault."""
    # Imported here: numpy is an extra, and a node without a replayed camera does without it.
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            octets = archive.getinfo("refl.npy").file_size
        if octets > MEMBER_OCTETS_MAX:
            raise HalError(f"tile {path}: refl takes {octets} octets, at most {MEMBER_OCTETS_MAX}")
        with np.load(path, allow_pickle=False) as stored:
            refl = stored["refl"]
    except KeyError:
        raise HalError(f"tile {path}: has no array named refl") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        raise HalError(f"tile {path}: damaged or not an .npz file ({error})") from None
    except OSError as error:
        raise HalError(f"tile {path}: {error.strerror or error}") from None
    if refl.dtype.kind == "f" and bool(np.isnan(refl).any()):
        raise HalError(f"tile {path}: refl has NaN, should be uint16, reflectance x 10,000")
    if refl.dtype.kind != "u" or refl.dtype.itemsize != 2:  # either byte order: it is converted below
        raise HalError(f"tile {path}: refl is {refl.dtype}, should be uint16, reflectance x 10,000")
    if refl.ndim != 3 or refl.shape[:2] != (size, size) or refl.shape[2] < BANDS:
        shape = " x ".join(map(str, refl.shape))
        raise HalError(f"tile {path}: refl is {shape}, should be {size} x {size} x {BANDS} bands or more")
    samples = np.ascontiguousarray(refl[:, :, :BANDS].transpose(2, 0, 1), dtype="=u2")
    return Image(number, BANDS, size, size, samples.tobytes())


def open_imager(address: str, _host: Host) -> Imager:
    """Open `replay:FOLDER[?size=256&loop=1]`. Raises HalError if the folder has no tiles.

    The tiles themselves are looked at when they are taken.
    """
    import numpy as np  # only to find out at boot, and not at the first tile, that it is missing

    del np
    folder, _, query = address.partition("?")
    options = parse_qs(query, keep_blank_values=True)
    size, loop = options.pop("size", [str(SIZE)])[-1], options.pop("loop", ["0"])[-1]
    if options or not folder or not size.isdecimal() or not 1 <= int(size) <= 4_096 or loop not in ("0", "1"):
        raise HalError(f"replay address {address!r}, should be FOLDER, FOLDER?loop=1 or FOLDER?size={SIZE}")
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".npz"))
    except OSError as error:
        raise HalError(f"replay folder {folder}: {(error.strerror or str(error)).lower()}") from None
    if not 1 <= len(names) <= TILES_MAX:
        raise HalError(f"replay folder {folder}: has {len(names)} .npz tiles, should have 1 to {TILES_MAX}")
    return ReplayImager(tuple(Path(folder, name) for name in names), int(size), loop == "1")
