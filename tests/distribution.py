"""Install distributions of other people in a folder, as pip would: modules, and a dist-info with entry points."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

GROUP = "orbitnode.drivers"


def install(
    folder: Path, name: str, drivers: Mapping[str, str] | str, modules: Mapping[str, str] | None = None
) -> None:
    """Install version 1.0 of `name` into `folder`, which is, or will be, on Python's path.

    drivers: entry points by name, or the text of the whole file. modules: source by module name.
    """
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    if not isinstance(drivers, str):
        drivers = "\n".join([f"[{GROUP}]", *(f"{key} = {target}" for key, target in drivers.items())])
    (info / "entry_points.txt").write_text(drivers + "\n", encoding="utf-8")
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
