"""Which model flies, and proof that it is the one meant. Edge code."""

# The model `ukis-csmask` is pinned: its SHA-256 is compared each time before it is loaded (payloads/assets/cache.py),
# and that of its statistics, without which its input would be scaled wrongly. Any other model is named by its
# path, and only checked to be there with its statistics beside it.

from __future__ import annotations

from pathlib import Path

from flight.core.errors import SetupError
from payloads.assets.cache import Asset, Member, checked

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


def model_path() -> Path:
    """Return the path of the checked ONNX model; its statistics are beside it as `.json`. Raises SetupError."""
    paths = [checked(MODEL, member) for member in MODEL.members]
    return paths[0]


def resolve_model(name: str) -> Path:
    """Return the path of the model that a mission names: `ukis-csmask`, or an `.onnx` with its `.json` beside it.

    Raises SetupError if a file is missing; only the pinned model can be checked further.
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
