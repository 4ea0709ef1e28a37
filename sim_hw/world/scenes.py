"""Tiles for the simulated camera: real ground under simulated clouds, or real tiles from a folder.

Tile n depends on the source and n alone, never on what was asked for before: a tile that a job asks for again after a
boot is the same one, and a spacecraft sees the same pictures whoever flies beside it.
"""

# A folder's files come from a person, so they may be anything. They are looked at in two passes. When the run is
# prepared, every file is opened and its head is checked against shape and type, without its samples: a wrong file is
# said before a run of minutes begins, all wrong ones in one message. When a tile is taken, the samples are read and
# checked against the head and the checksum; a file that has changed since costs that picture: the camera raises
# HalError with its name, and the run goes on.
#
# No memory is taken on a file's word: shapes are compared with what is right before an array is made, and images are
# bounded by _IMAGE_OCTETS_MAX before they are decoded. The libraries underneath raise whatever their parsers run into
# (_DAMAGE), which becomes one line here; anything else is a fault of ours and must not be hidden.

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from flight.core.errors import OrbitnodeError, SetupError, reason_of
from hal.base import Image
from sim_hw.world.clouds import TILE_PX, Floats, cover_ground, make_field

BANDS = 4  # blue, green, red, near infrared
SCALE = 10_000.0  # counts for a reflectance of 1
SCENE_PX = 300

_SCENE_OCTETS_MAX = 32 * 2**20  # the scene is JSON of 6 MB; reading takes some times as much memory
_IMAGE_OCTETS_MAX = 2**30  # a whole Sentinel-2 granule of four bands is 0.96 GB
_FILES_MAX = 10_000  # each is opened before the run
_TILES_MAX = 1_000_000  # entries in memory; a granule makes some 1,800
_SHADOW = 2  # the highest class of a label
T = TypeVar("T")

# What damaged files make zipfile, numpy.lib.format and tifffile raise.
_DAMAGE = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, SyntaxError,
           NotImplementedError, RuntimeError, MemoryError, TokenError, struct.error, zlib.error,
           zipfile.BadZipFile)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One tile with its truth.

    `refl` is uint16 [4, 256, 256], reflectance x 10,000. `truth` is uint8 [256, 256]: 0 clear, 1 cloud, 2 cloud shadow
    (simulated tiles mark cloud only), or None if it is not known.
    """

    refl: NDArray[np.uint16]
    truth: NDArray[np.uint8] | None
    name: str

    def image(self, number: int) -> Image:
        """Return the tile as a camera hands it over."""
        return Image(number, BANDS, TILE_PX, TILE_PX, np.ascontiguousarray(self.refl).tobytes())


class TileSource(Protocol):
    """Where tiles come from. `tile(n)` depends on n alone, never on what was asked for before."""

    @property
    def count(self) -> int | None:
        """How many tiles there are, or None if they never end."""

    def tile(self, number: int) -> Tile:
        """Return tile `number`, 0 .. count - 1.

        Raises OrbitnodeError if there is no such tile, or its file is not what it should be.
        """


def load_scene(path: Path) -> NDArray[np.int64]:
    """Read the Sentinel-2 sample of spyndex, `S2_10m.json`.

    Returns int64 [4, 300, 300]: bands B02 B03 B04 B08, reflectance x 10,000. Raises SetupError, which says what to do.
    """
    remedy = f"delete {path} and set up again to fetch it"
    try:
        octets = path.stat().st_size
        if octets > _SCENE_OCTETS_MAX:
            raise SetupError(f"scene {path} takes {octets} octets, 6 MB is right; {remedy}")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SetupError(f"scene {path} is missing; set up again to fetch it, or give a folder of tiles") from None
    except RecursionError:  # json descends into brackets without a limit of its own
        raise SetupError(f"scene {path} is nested too deeply; {remedy}") from None
    except (OSError, ValueError) as error:
        raise SetupError(f"scene {path} cannot be read ({error}); {remedy}") from None
    return _scene_array(document, path, remedy)


def _scene_array(document: object, path: Path, remedy: str) -> NDArray[np.int64]:
    shape = f"{BANDS} x {SCENE_PX} x {SCENE_PX}"
    try:
        scene = np.array(document)
    except ValueError:
        raise SetupError(f"scene {path} is ragged, {shape} is right; {remedy}") from None
    if scene.shape != (BANDS, SCENE_PX, SCENE_PX) or scene.dtype.kind != "i":
        found = f"{' x '.join(map(str, scene.shape)) or 'one'} of {scene.dtype}"
        raise SetupError(f"scene {path} is {found}, {shape} whole numbers is right; {remedy}")
    if scene.min() < 0 or scene.max() > 20_000:
        found = f"{scene.min()} .. {scene.max()}"
        raise SetupError(f"scene {path}: reflectances are {found}, 0 .. 20000 (x 10,000) is right; {remedy}")
    return scene.astype(np.int64)


class SyntheticClouds:
    """Endless tiles: real ground cut at random, turned and mirrored, under simulated clouds with known truth."""

    def __init__(self, scene: NDArray[np.int64], seed: int) -> None:
        """Take `scene` as `load_scene` gives it, and a `seed` of 0 or more."""
        assert scene.shape[0] == BANDS, scene.shape
        assert min(scene.shape[1:]) >= TILE_PX, scene.shape
        assert seed >= 0, seed
        self._ground: Floats = (scene / SCALE).astype(np.float32)
        self._seed = seed

    @property
    def count(self) -> None:
        """None: they never end."""
        return None

    def tile(self, number: int) -> Tile:
        """Draw tile `number`, 0 or more."""
        assert number >= 0, number
        # A generator per tile, seeded by both numbers, and no draw from one that goes on: that is what makes tile n
        # independent of the tiles before it.
        random = np.random.Generator(np.random.PCG64([self._seed, number]))
        _, rows, columns = self._ground.shape
        row, column = int(random.integers(rows - TILE_PX + 1)), int(random.integers(columns - TILE_PX + 1))
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        ground = np.rot90(self._ground[:, row : row + TILE_PX, column : column + TILE_PX], turns, axes=(1, 2))
        if mirrored:
            ground = ground[:, :, ::-1]
        field = make_field(random)
        # rot90 and the mirror give views with strides of their own; the arithmetic wants whole rows.
        counts = cover_ground(np.ascontiguousarray(ground), field) * np.float32(SCALE)
        refl = np.rint(np.clip(counts, 0.0, 65_535.0)).astype(np.uint16)
        return Tile(refl, field.truth, f"synthetic-{self._seed}-{number}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tile of a folder: a whole .npz, or a square of a GeoTIFF."""

    path: Path
    row: int | None = None
    column: int = 0

    @property
    def name(self) -> str:
        return self.path.name if self.row is None else f"{self.path.name} r{self.row} c{self.column}"


class FolderSource:
    """Real tiles from a folder, by file name: `.npz` with `refl` (and `label`), `.tif`/`.tiff` cut into tiles.

    npz: `refl` uint16 [256, 256, 4 or more], bands last, blue green red nir first; optionally `label` uint8 [256, 256]
    with 0 clear, 1 cloud, 2 shadow. GeoTIFF: uint16, 4 or more bands; only whole tiles of 256 x 256 are taken, from the
    upper left. Files with other endings are left alone.
    """

    def __init__(self, folder: Path) -> None:
        """Look at the head of every file; raises one OrbitnodeError that names each bad one."""
        self.folder = folder
        self._image: tuple[Path, NDArray[np.uint16]] | None = None  # the last GeoTIFF: its tiles are taken in a row
        self._entries: list[_Entry] = []
        faults: list[str] = []
        for path in _scene_files(folder):
            try:
                self._entries.extend(_entries_of(path))
            except OrbitnodeError as error:
                faults.append(str(error))
            if len(self._entries) > _TILES_MAX:
                raise OrbitnodeError(f"{folder}: more than {_TILES_MAX} tiles, give fewer files")
        if faults:
            more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
            head = f"{folder}: {len(faults)} of its files cannot be used:\n  " if len(faults) > 1 else ""
            raise OrbitnodeError(head + "\n  ".join(faults[:10]) + more)

    @property
    def count(self) -> int:
        """How many tiles the files hold."""
        return len(self._entries)

    def tile(self, number: int) -> Tile:
        """Read tile `number`; raises OrbitnodeError as `TileSource.tile`."""
        if not 0 <= number < len(self._entries):
            raise OrbitnodeError(f"{self.folder}: no tile {number}, known: 0 .. {len(self._entries) - 1}")
        entry = self._entries[number]
        if entry.row is None:
            return _read_npz(entry.path)
        if self._image is None or self._image[0] != entry.path:
            self._image = (entry.path, _read_tiff(entry.path))
        image = self._image[1]
        square = image[:, entry.row : entry.row + TILE_PX, entry.column : entry.column + TILE_PX]
        if square.shape != (BANDS, TILE_PX, TILE_PX):
            raise OrbitnodeError(f"{entry.path}: has shrunk since the start, leave the folder alone during a run")
        return Tile(np.ascontiguousarray(square), None, entry.name)


def _scene_files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise OrbitnodeError(f"{folder}: {reason_of(error)}, should be a folder of .npz or .tif tiles") from None
    files = [folder / name for name in names if name.lower().endswith((".npz", ".tif", ".tiff"))]
    if not files:
        raise OrbitnodeError(f"{folder}: holds no .npz, .tif or .tiff file, at least one is needed")
    if len(files) > _FILES_MAX:
        raise OrbitnodeError(f"{folder}: {len(files)} files, at most {_FILES_MAX} are taken")
    return files


def _entries_of(path: Path) -> list[_Entry]:
    if path.suffix.lower() == ".npz":
        _guard(path, lambda: _open_npz(path, with_data=False))
        return [_Entry(path)]
    rows, columns = _guard(path, lambda: _check_tiff(path))
    return [_Entry(path, row * TILE_PX, column * TILE_PX)
            for row in range(rows // TILE_PX) for column in range(columns // TILE_PX)]  # fmt: skip


def _guard(path: Path, read: Callable[[], T]) -> T:
    """Return what `read` returns; damage of any kind becomes an OrbitnodeError that names the file."""
    try:
        return read()
    except OrbitnodeError:
        raise
    except _DAMAGE as error:
        what = str(error) or type(error).__name__
        raise OrbitnodeError(f"{path}: cannot be read ({what}); should be a whole {path.suffix} file") from None


def _npy_head(path: Path, name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, Fortran order and type of an array in an .npz, before any memory is taken for it."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise OrbitnodeError(f"{path}: {name} is in .npy format {version}, should be 1.0 or 2.0")


def _npz_member(path: Path, archive: zipfile.ZipFile, name: str, right: str,
                fits: Callable[[tuple[int, ...], np.dtype[Any]], bool], with_data: bool) -> NDArray[Any]:  # fmt: skip
    """Read one array of an .npz after checks; without `with_data` an empty one instead of its samples."""
    with archive.open(f"{name}.npy") as stream:
        shape, fortran, dtype = _npy_head(path, name, stream)
        octets = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize  # as float: a hostile shape wraps an integer
        if not fits(shape, dtype.newbyteorder("=")):
            # Reflectance as float is a usual mistake, often with NaN for what was masked out.
            nan = ""
            if dtype.kind == "f" and octets <= _SCENE_OCTETS_MAX:
                nan = f" with {np.isnan(np.frombuffer(stream.read(octets), dtype)).sum()} NaN"
            found = f"{dtype.name} {' x '.join(map(str, shape)) or 'scalar'}{nan}"
            raise OrbitnodeError(f"{path}: {name} is {found}, should be {right}")
        if not with_data:
            return np.empty(0, dtype)
        samples = stream.read(octets)
        # A zip member's checksum is only compared when its end is read.
        if len(samples) != octets or stream.read(1):
            raise OrbitnodeError(f"{path}: {name} does not hold {octets} octets of samples, the file is damaged")
    array = np.frombuffer(samples, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))  # a copy in this machine's byte order, that may be written to


def _open_npz(path: Path, with_data: bool) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read `refl`, and `label` if there is one; checked, with samples or without."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        right = "uint16 256 x 256 x 6 (rows, columns, 4 or more bands)"
        if "refl.npy" not in names:
            raise OrbitnodeError(f"{path}: holds no array `refl`, which should be {right}")
        refl = _npz_member(path, archive, "refl", right, _fits_refl, with_data)
        if "label.npy" not in names:
            return refl, None
        return refl, _npz_member(path, archive, "label", "uint8 256 x 256", _fits_label, with_data)


def _fits_refl(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint16 and len(shape) == 3 and shape[:2] == (TILE_PX, TILE_PX) and BANDS <= shape[2] <= 64


def _fits_label(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint8 and shape == (TILE_PX, TILE_PX)


def _read_npz(path: Path) -> Tile:
    refl, label = _guard(path, lambda: _open_npz(path, with_data=True))
    if label is not None and label.max() > _SHADOW:
        raise OrbitnodeError(f"{path}: label goes up to {label.max()}, should be 0 clear, 1 cloud or 2 shadow")
    return Tile(np.ascontiguousarray(refl[:, :, :BANDS].transpose(2, 0, 1)), label, path.name)


def _tifffile() -> Any:
    """Return the tifffile module, which comes with the `sim` extra; raises SetupError without it."""
    try:
        import tifffile
    except ImportError:
        raise SetupError("reading GeoTIFF needs tifffile: pip install 'orbitnode[sim]'") from None
    return tifffile


def _check_tiff(path: Path) -> tuple[int, int]:
    """Return rows and columns of a GeoTIFF that can be read."""
    with _tifffile().TiffFile(path) as file:
        _, rows, columns = _tiff_layout(path, file)
    return rows, columns


def _tiff_layout(path: Path, file: Any) -> tuple[bool, int, int]:
    """Return whether bands come last, rows and columns; raises OrbitnodeError for what cannot be used."""
    tifffile = _tifffile()
    # Only the first image of the file is looked at: what follows it are overviews, and a damaged chain of
    # images may lead back to itself, which tifffile would follow for ever.
    page = file.pages.first
    shape, axes = tuple(map(int, page.shape)), str(page.axes)
    try:
        # tifffile looks its codecs up only when it decodes; here the lookup alone is wanted.
        tifffile.TIFF.DECOMPRESSORS[page.compression], tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError:
        codec = getattr(page.compression, "name", page.compression)
        remedy = f"pip install imagecodecs, or gdal_translate -co COMPRESS=DEFLATE {path.name} new.tif"
        raise OrbitnodeError(f"{path}: is compressed with {codec}, which needs imagecodecs: {remedy}") from None
    right = "should be uint16 reflectance x 10,000 of 4 or more bands in one image, 256 x 256 or larger"
    found = f"{page.dtype} {' x '.join(map(str, shape))} ({axes})"
    if len(shape) != 3 or page.dtype is None or page.dtype.newbyteorder("=") != np.uint16:
        raise OrbitnodeError(f"{path}: is {found}, {right}")
    bands_last = axes.startswith("YX")
    bands, rows, columns = (shape[2], *shape[:2]) if bands_last else shape
    if not (bands_last or axes.endswith("YX")) or bands < BANDS or min(rows, columns) < TILE_PX:
        raise OrbitnodeError(f"{path}: is {found}, {right}")
    # Chunks may be declared larger than the image, and are decoded whole.
    if max(2 * bands * rows * columns, 2 * math.prod(page.chunks)) > _IMAGE_OCTETS_MAX:
        limit = f"{_IMAGE_OCTETS_MAX >> 20} MiB are taken at most: cut it with gdal_translate -srcwin"
        raise OrbitnodeError(f"{path}: is {found}, {limit}")
    return bands_last, rows, columns


def _read_tiff(path: Path) -> NDArray[np.uint16]:
    """Read the first four bands of a GeoTIFF, [4, rows, columns]."""

    def read() -> NDArray[np.uint16]:
        with _tifffile().TiffFile(path) as file:
            bands_last, rows, columns = _tiff_layout(path, file)
            image = np.asarray(file.pages.first.asarray())
        if bands_last:
            image = image.transpose(2, 0, 1)
        return image[:BANDS, :rows, :columns].astype(np.uint16, copy=False)

    return _guard(path, read)
