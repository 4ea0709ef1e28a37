"""What the parent settles before a worker starts: its settings, and the app that it will run. Edge code.

The parent imports this and the worker does; nothing here brings numpy into the parent.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flight.core.errors import SetupError
from payloads.apps.base import AppSettings, WorkerApp
from payloads.wire import SlotShape


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the parent decides for the worker. memory_mib: limit of its address space, 0 for none."""

    app: str
    model: str
    threads: int
    bands: int
    height: int
    width: int
    nice: int
    memory_mib: int

    @property
    def shape(self) -> SlotShape:
        return SlotShape(self.bands, self.height, self.width)

    def app_settings(self) -> AppSettings:
        """What the app gets; raises SetupError where model or statistics are missing."""
        model = Path(self.model)
        statistics = model.with_suffix(".json")
        try:
            if not model.is_file():
                raise SetupError(f"model {model} is missing; run `make setup`")
            return AppSettings(model, statistics.read_text(encoding="utf-8"), self.threads)
        except (OSError, ValueError) as error:
            raise SetupError(f"model statistics {statistics}: {error}; run `make setup`") from None


def find_app(name: str) -> type[WorkerApp]:
    """The class behind "module:Class"; raises SetupError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SetupError(f"payload app {name!r}: {error}; should be like 'payloads.apps.screen:Screen'") from None
    if not all(callable(getattr(found, need, None)) for need in ("check", "run")):
        raise SetupError(f"payload app {name!r} has no check or run (payloads/apps/base.py, WorkerApp)")
    return cast("type[WorkerApp]", found)
