"""Keys of mission.toml that are on-board parameters too: declared once, beside the code that reads them.

    soc_safe_frac: float = setting(1, 0.6, minimum=0, maximum=0.95, below="soc_resume_frac", text="...")

The file gives the default and the command sets the value: number, unit, bounds, meaning and what it must stay below are
the same for both, and `settings_of` makes the dictionary's entry of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from flight.contract.dictionary import Setting
from flight.core.config import key
from flight.core.errors import SetupError


def setting(
    number: int, default: float, *, minimum: float, maximum: float, text: str, unit: str = "", below: str = ""
) -> Any:
    """A dataclass field as of `flight.core.config.key` that is the parameter `number` (ST[20]) as well.

    `below` names the key of the same section, itself a setting, that this one must stay below.
    """
    return key(default, minimum=minimum, maximum=maximum, text=text, below=below, setting=(number, unit))


def settings_of(section: Any) -> tuple[Setting, ...]:
    """The parameters among the keys of a section that was read, with its values as their defaults."""
    found = []
    for one in dataclasses.fields(section):
        if "setting" in one.metadata:
            number, unit = one.metadata["setting"]
            bounds = (float(one.metadata["minimum"]), float(one.metadata["maximum"]))
            default = getattr(section, one.name)
            if not isinstance(default, float):
                raise SetupError(f"setting {one.name} is {type(default).__name__}, should be a float")
            text, below = one.metadata["text"], one.metadata["below"]
            found.append(Setting(number, one.name, unit, default, *bounds, text, below=below))
    return tuple(found)
