"""The texts of events for the event decoder of Yamcs: one template per event of the dictionary."""

# A template is found by the event's number and APID ("20-1"). Where our text has a field, the template has the
# parameter of that field; a format that Java writes in the same way is kept, any other value stands as Yamcs shows it.

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

from flight.contract.dictionary import Dictionary
from ground.xtce.elements import text_of
from ground.xtce.names import named_for_xtce, parameter_name

_SAME_IN_JAVA = re.compile(r"[+]?(?:\.\d+)?[fde]")


def event_templates(dictionary: Dictionary) -> list[dict[str, str]]:
    """Return a row per event: its id, the template of its text, and whose event it is."""
    owners = {apid: name for name, apid in dictionary.apids.items()}
    rows = []
    # Names of fields are changed for XTCE, those in the texts are not.
    for event, renamed in zip(dictionary.events, named_for_xtce(dictionary).events, strict=True):
        parameters = {
            given.name: parameter_name(renamed.name, field.name)
            for given, field in zip(event.fields, renamed.fields, strict=True)
        }
        rows.append(
            {
                "eventId": f"{event.number}-{event.apid}",
                "template": text_of(_template(event.text, parameters)),
                "subsystem": text_of(owners.get(event.apid, f"APID {event.apid}")),
            }
        )
    return rows


def _template(text: str, parameters: Mapping[str, str]) -> str:
    parts = []
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:  # a text of other software, which may be anything
        return text
    for words, name, form, _ in pieces:
        parts.append(words)
        if name is None:
            continue
        parameter = parameters.get(name)
        if parameter is None:
            parts.append(f"({name})")
        elif form and _SAME_IN_JAVA.fullmatch(form):
            parts.append(f"{{{parameter}; %{form}}}")
        else:
            parts.append(f"{{{parameter}}}")
    return "".join(parts)
