"""Elements of an XTCE document: how attributes, ranges, sizes and ancillary data are written."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML 1.0 does not allow


def add(parent: ET.Element, tag: str, /, **attributes: object) -> ET.Element:
    """Add an element with these attributes to `parent` and return it."""
    return ET.SubElement(parent, tag, {key: text_of(value) for key, value in attributes.items()})


def text_of(value: object) -> str:
    """Return the value as XML can hold it: what cannot stand in a document becomes U+FFFD."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _UNWRITABLE.sub("\ufffd", str(value))


def add_range(parent: ET.Element, tag: str, low: float | None, high: float | None, is_float: bool) -> None:
    """Add a range with both ends included; None is an open end."""
    element = add(parent, tag)
    for key, value in (("minInclusive", low), ("maxInclusive", high)):
        if value is not None:
            element.set(key, repr(float(value)) if is_float else str(int(value)))


def add_ancillary(parent: ET.Element, **texts: str) -> None:
    """Add facts for which XTCE has no element, on a parameter or argument (see document.py); empty ones are left out.

    Nothing is added if all of them are empty.
    """
    given = {name: text for name, text in texts.items() if text}
    if given:
        listed = add(parent, "AncillaryDataSet")
        for name, text in given.items():
            add(listed, "AncillaryData", name=name).text = text_of(text)


def add_size(size: ET.Element, kind: str, name: str, *, intercept: int = 0) -> None:
    """Add a size of 8 bits per octet that the `kind` (Parameter, Argument) `name` counts, and `intercept` bits more."""
    dynamic = add(size, "DynamicValue")
    add(dynamic, f"{kind}InstanceRef", **{f"{kind.lower()}Ref": name})
    add(dynamic, "LinearAdjustment", slope=8, intercept=intercept)
