"""The texts of events for the event decoder of Yamcs: one template per event of the dictionary."""

# A template is found by the event's number and APID ("20-1"). Where our text has a field, the template has the
# parameter of that field: `{PARAMETER}` as Yamcs shows it, or `{PARAMETER; %FORMAT}` as Java formats it.
#
# The language of templates says less than ours. What it cannot say is shown in another way, never wrongly:
#
#     a brace that stands for itself     a parenthesis: a brace always begins or ends a parameter, and has no escape
#     a format that Java may not take    the value as Yamcs shows it. Java formats an integer by %d only, and Yamcs
#     for a value of this type           hands it u32 and u64 as signed ones: so `d` is kept for the others alone, and
#                                        `f` and `e` for floats alone
#     a field that there is not,         its name in parentheses
#     or whose name has a brace or ";"

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from string import Formatter

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field
from ground.xtce.elements import text_of
from ground.xtce.names import named_for_xtce, parameter_name

_SAME_IN_JAVA = {"float": re.compile(r"[+]?(?:\.\d+)?[fe]"), "integer": re.compile(r"[+]?d"), "": re.compile(r"(?!)")}
_KINDS = {"f32": "float", "f64": "float"} | dict.fromkeys(("u8", "u16", "i8", "i16", "i32", "i64"), "integer")
_AROUND_PARAMETERS = re.compile("[{};]")
_NO_BRACES = str.maketrans("{}", "()")


def event_templates(dictionary: Dictionary) -> list[dict[str, str]]:
    """Return a row per event: its id, the template of its text, and whose event it is."""
    owners = {apid: name for name, apid in dictionary.apids.items()}
    rows = []
    # Names of fields are changed for XTCE, those in the texts are not.
    for event, renamed in zip(dictionary.events, named_for_xtce(dictionary).events, strict=True):
        parameters = {
            given.name: (parameter_name(renamed.name, field.name), _kind(field))
            for given, field in zip(event.fields, renamed.fields, strict=True)
        }
        rows.append(
            {
                "eventId": f"{event.number}-{event.apid}",
                "template": text_of("".join(_pieces(event.text, parameters))),
                "subsystem": text_of(owners.get(event.apid, f"APID {event.apid}")),
            }
        )
    return rows


def _kind(field: Field) -> str:
    """Return which formats a value has in Java; empty for none, as a value with labels is a text there."""
    return "" if field.labels else _KINDS.get(field.type, "")


def _pieces(text: str, parameters: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Yield the template of a text, piece by piece. parameters: the parameter of each field, and its kind."""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:  # a text of other software, which may be anything
        yield text.translate(_NO_BRACES)
        return
    for words, name, form, _ in pieces:
        yield words.translate(_NO_BRACES)
        if name is None:
            continue
        parameter, kind = parameters.get(name, ("", ""))
        if not parameter or _AROUND_PARAMETERS.search(parameter):
            yield f"({name})".translate(_NO_BRACES)
        elif form and _SAME_IN_JAVA[kind].fullmatch(form):
            yield f"{{{parameter}; %{form}}}"
        else:
            yield f"{{{parameter}}}"
