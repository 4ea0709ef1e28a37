"""The one rule for names in the dictionary, of apps, and of what they answer; and for labels and units."""

# A name is typed by people, is a part of others (`structure.field`, `answer.APP.NAME`, `APP_enable_events`), a column
# of a table, a name in XTCE, and the name of a file. So it has none of the characters that mean something in any of
# these: small letters, digits and "_" remain. A text that people only read, a label or a unit, may have whatever can be
# printed.
#
# Names that are made of others join them by "_", or by "__" where it must be possible to tell them apart again
# (`structure__field` in XTCE and Yamcs). So a name has no two "_" in a row and none at its end: `a__b` and `c` would be
# taken for `a` and `b__c`, and `a_` with "_" and `b` makes a name like `a__b`.

from __future__ import annotations

import re

NAME_CHARACTERS_MAX = 64
OWNER_CHARACTERS_MAX = 32  # an app's name: other names begin with it, and must fit in as well
TEXT_CHARACTERS_MAX = 64  # a unit or label: each may stand in every row that ground shows

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def is_name(text: object, characters_max: int = NAME_CHARACTERS_MAX) -> bool:
    """Return whether `text` may name something."""
    return isinstance(text, str) and len(text) <= characters_max and _NAME.fullmatch(text) is not None


def name_rule(characters_max: int = NAME_CHARACTERS_MAX) -> str:
    """Say what a name should be."""
    return (
        f"a small letter, then small letters, digits and _, {characters_max} in all at most, "
        "no _ at the end or beside another"
    )


def is_label(text: object) -> bool:
    """Return whether `text` may be a label or a unit."""
    # What cannot be printed moves a terminal's cursor, ends a line of a table, and is refused in XML. A blank at either
    # end nobody sees, so that two labels could look the same.
    return (
        isinstance(text, str) and 0 < len(text) <= TEXT_CHARACTERS_MAX and text.isprintable() and text == text.strip()
    )


LABEL_RULE = f"1 .. {TEXT_CHARACTERS_MAX} characters that can be printed, without a blank at either end"
