"""Keys of mission.toml that are on-board parameters too: declared once, beside the code that reads them.

    soc_safe_frac: float = setting(1, 0.6, minimum=0, maximum=0.95, below="soc_resume_frac", text="...")

The file gives the default, and a command of ST[20] sets the value.
"""

# Why in one place (ADR 0029): number, unit, bounds, meaning and what a value must stay below once stood twice, for the
# file and for the command, and nothing noticed when they came apart. `settings_of` makes the dictionary's entry of the
# same declaration. A key that is a parameter has both bounds, since a command must be refused by something.

from __future__ import annotations

import dataclasses
from typing import Any

from flight.contract.dictionary import Setting
from flight.core.config import key
from flight.core.errors import SetupError


def setting(
    number: int, default: float, *, minimum: float, maximum: float, text: str, unit: str = "", below: str = ""
) -> Any:
    """Make a dataclass field as `flight.core.config.key` does, which is the parameter `number` (ST[20]) as well.

    `below` names the key of the same section, itself a setting, that this one must stay below.
    """
    return key(default, minimum=minimum, maximum=maximum, text=text, below=below, setting=(number, unit))


def settings_of(section: Any) -> tuple[Setting, ...]:
    """Return the parameters among the keys of a section that was read, with its values as their defaults.

    Raises SetupError if such a key is not a float: that is a mistake in its declaration.
    """
    found = []
    for declared in dataclasses.fields(section):
        if "setting" in declared.metadata:
            number, unit = declared.metadata["setting"]
            bounds = (float(declared.metadata["minimum"]), float(declared.metadata["maximum"]))
            default = getattr(section, declared.name)
            if not isinstance(default, float):
                raise SetupError(f"setting {declared.name} is {type(default).__name__}, should be a float")
            text, below = declared.metadata["text"], declared.metadata["below"]
            found.append(Setting(number, declared.name, unit, default, *bounds, text, below=below))
    return tuple(found)
