"""The whole XTCE document of a dictionary.

One parameter per field, named `<container>__<field>`; one container per packet, chosen by restriction criteria from the
space packet header down. Facts for which XTCE has no element stand as ancillary data:

    refers      what a number is the number of
    nan         how our limits judge a value that is not a number, or that an argument must not be one
    rows        how many rows the command takes
    parameters  the range of each on-board parameter that the value may be of
    computed    from what an argument follows, so that nobody need type it
"""

# Where the format and our wire differ, and what we do about it:
#
# - Packet time is CUC 4+2 as one 48-bit integer, TAI: XTCE has no type for CUC.
# - A text is two entries, its length in octets and the characters: XTCE's own LeadingSize counts in bits.
# - Service 1 keeps its subtype in a parameter of its own, so that no other report can be read as a verification.
# - Rows repeat, and without arrays XTCE cannot say where a field behind them begins. So everything from a report's
#   first field of varying length on is one stretch of octets, sized by the packet's length. A command with rows is
#   offered with one row; the length of a packet that it carries is an argument, which is not sent.
# - Every number that a command takes has a range, its own or what its type holds: this leaves out NaN and infinity.
# - Documents of others may have any names and texts. What a name must not contain becomes `_`, several `_` in a row
#   become one, and there is a number if that makes two names equal (names.py); what XML does not allow becomes U+FFFD.
#
# What Yamcs makes of some of it differently stands in dialect.py.

from __future__ import annotations

import xml.etree.ElementTree as ET

from flight.contract.dictionary import Dictionary
from ground.xtce.commands import VERIFICATION_S, write_commands
from ground.xtce.dialect import XTCE, Dialect
from ground.xtce.elements import add, text_of
from ground.xtce.names import named_for_xtce
from ground.xtce.telemetry import Telemetry

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"


def xtce_document(dictionary: Dictionary, dialect: Dialect = XTCE, timeout_s: float = VERIFICATION_S) -> str:
    """Return the whole document, UTF-8 with declaration, the same text for the same dictionary.

    timeout_s: how long the reports of a command are waited for.
    """
    sha256 = dictionary.document()["sha256"]  # of the names as they are, before they are changed for XTCE
    dictionary = named_for_xtce(dictionary)
    root = ET.Element("SpaceSystem", {"xmlns": NAMESPACE, "name": dictionary.mission})
    add(root, "LongDescription").text = text_of(
        f"Spacecraft {dictionary.spacecraft_id:#x}, dictionary {dictionary.version}, sha256 {sha256}"
    )
    add(root, "Header", version=dictionary.version, validationStatus="Working")
    Telemetry(add(root, "TelemetryMetaData"), dialect).write(dictionary)
    if dictionary.commands:
        write_commands(add(root, "CommandMetaData"), dictionary, dialect, timeout_s)
    ET.indent(root)  # for people; ElementTree writes attributes in the order given, so the text is always the same
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
