"""What a reader of the document understands: XTCE as the schema has it, or what Yamcs makes of it."""

# `XTCE` is valid against the schema and is what everybody gets. `YAMCS` is for Yamcs alone, which reads more than the
# schema allows and needs it:
#
# - A text by LeadingSize. The schema wants a DynamicValue beside it, and XTCE counts in bits what Yamcs counts in
#   octets. In return nobody types the length of a text.
# - A packet in a command as a binary of no size of its own: Yamcs then sends what is typed, all of it.
# - Rows as an array of aggregates, sized by their count. XTCE would allow it, but a reader that has no arrays then
#   reads nothing of the packet, and Yamcs alone works out the count of a command's rows by itself.
# - EVENT_NUMBER with a label per number, which is the number: the event decoder of Yamcs finds its templates by label.

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """How texts, packets, rows and event numbers are written."""

    leading_size: bool = False
    open_binary: bool = False
    arrays: bool = False
    event_labels: bool = False


XTCE = Dialect()
YAMCS = Dialect(leading_size=True, open_binary=True, arrays=True, event_labels=True)
