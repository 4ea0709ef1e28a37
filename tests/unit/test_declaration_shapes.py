"""What an app writer may get wrong in a declaration, each as a line that names the thing, what it has and what it
should have; and the same of a document.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from flight.contract.collect import collect, excesses
from flight.contract.dictionary import (
    Command,
    Declarations,
    Dictionary,
    EventDefinition,
    Report,
    Setting,
    Structure,
    shape_faults,
)
from flight.contract.failures import FailureCode
from flight.contract.fields import Field, FieldError, Limits
from flight.contract.names import NAME_CHARACTERS_MAX, is_label, is_name
from flight.core.errors import OrbitnodeError, SetupError
from tests.unit.test_dictionary import signed

A = Field("a", "u8")


def field(name: Any = "a", type: Any = "u8", **more: Any) -> Declarations:
    return Declarations(commands=(Command("go", 2, 128, 1, "", (Field(name, type, **more),)),))


def structure(*values: Any) -> Declarations:
    return Declarations(structures=(Structure(*values),))


# The declarations, and the one line that must be said.
WRONG: dict[str, tuple[Any, str]] = {
    "a comma is missing": (Declarations(structures=Structure(2, 40, "s", 1.0, (A,))),  # type: ignore[arg-type]
                           "structures as Structure, should be a tuple: a comma is missing behind the only one"),
    "a list": (Declarations(events=[]), "events as list, should be a tuple of EventDefinitions"),  # type: ignore[arg-type]
    "another thing": (Declarations(reports=(A,)), "reports[0] as Field, should be a Report"),  # type: ignore[arg-type]
    "a number as a code": (Declarations(failures=(100,)), "failures[0] as int, should be a FailureCode"),  # type: ignore[arg-type]
    "a field without its comma": (structure(2, 40, "s", 1.0, A),
                                  "structure s with fields as Field, should be a tuple: a comma is missing behind the"),
    "fields as a list": (structure(2, 40, "s", 1.0, [A]),
                         "structure s with fields as list, should be a tuple of Fields"),
    "a field by its name": (structure(2, 40, "s", 1.0, ("a",)),
                            "structure s with fields[0] as str, should be a Field"),
    "a number that no packet holds": (structure(2, 70_000, "s", 1.0, ()),
                                      "structure s with sid 70000, should be a whole number in 0 .. 65535"),
    "a number as a text": (structure(2, "40", "s", 1.0, ()),
                           "structure s with sid '40', should be a whole number in 0 .. 65535"),
    "a switch as a number": (structure(2, True, "s", 1.0, ()),
                             "structure s with sid True, should be a whole number in 0 .. 65535"),
    "a period as a text": (structure(2, 40, "s", "1 s", ()), "structure s with period_s '1 s', should be a number"),
    "no name": (structure(2, 40, None, 1.0, ()), "structure None with name None, should be a text"),
    "a severity": (Declarations(events=(EventDefinition(2, 1, "e", "bad", ""),)),
                   "event e with severity 'bad', should be one of info, low, medium, high"),
    **{f"a value as {form[:12]}": (Declarations(events=(EventDefinition(2, 1, "e", "low", f"{{a:{form}}}", (A,)),)),
                                   f"event e with a value as {ascii(form)[:50]}")
       for form in (">999999999", "65", ".999999999f", "0999999999d", ">{a}", "\uff19" * 9, "9" * 5000)},
    "the number of an event": (Declarations(events=(EventDefinition(2, -1, "e", "low", ""),)),
                               "event e with number -1, should be a whole number in 0 .. 65535"),
    "a service": (Declarations(reports=(Report(2, 256, 1, "r"),)),
                  "report r with service 256, should be a whole number in 0 .. 255"),
    "a function": (Declarations(commands=(Command("c", 2, 8, 1, "", function=1 << 16),)),
                   "command c with function 65536, should be a whole number in 0 .. 65535"),
    "durable as a number": (Declarations(commands=(Command("c", 2, 8, 1, "", durable=1),)),  # type: ignore[arg-type]
                            "command c with durable 1, should be True or False"),
    "a default that is none": (Declarations(settings=(Setting(1, "p", "", math.nan, 0.0, 1.0, ""),)),
                               "parameter p with default nan, should be a finite number"),
    "a parameter of texts": (Declarations(settings=(Setting(1, "p", "", 0.0, 0.0, 1.0, "", type="str"),)),
                             "parameter p with type 'str', should be one of u8, u16, u32, u64, i8, i16, i32, i64, f32"),
    "one field twice": (structure(2, 40, "s", 1.0, (A, A)), "structure s, field 'a' is there twice"),
    "labels as a text": (field(labels="on"), "command go, field 'a' with labels 'on', should be a tuple of texts"),
    "more labels than numbers": (field(labels=tuple(map(str, range(257)))),
                                 "command go, field 'a' of type u8 with 257 labels, which it cannot count"),
    "labels of a real number": (field(type="f32", labels=("on",)),
                                "command go, field 'a' of type f32 with 1 labels, which it cannot count"),
    "one label twice": (field(labels=("on", "on")), "command go, field 'a' with labels on, on, should all differ"),
    "bounds the wrong way": (field(minimum=2, maximum=1), "command go, field 'a' with minimum 2 above maximum 1"),
    "a bound as a text": (field(minimum="0"), "command go, field 'a' with minimum '0', should be a finite number"),
    "bounds of a text": (field(type="str", maximum=9),
                         "command go, field 'a' of type str with maximum, which is for numbers"),
    "a default out of bounds": (field(maximum=9, default=10),
                                "command go, field 'a' with a default that it does not admit: a: 10 is outside 0 .. 9"),
    "limits as a pair": (field(limits=(0, 1)), "command go, field 'a' with limits as tuple, should be Limits"),
    "limits the wrong way": (field(limits=Limits(red=(1, 0))),
                             "command go, field 'a' with limits red (1, 0), should be two numbers, the lower one"),
    "a unit that is none": (field(unit=None), "command go, field 'a' with unit None, should be a text"),
    "a text that is not UTF-8": (field(text="\ud800"),
                                 "command go, field 'a' with text '\\ud800', which is not UTF-8"),
    "in rows": (field(type="rows", fields=(Field("b", "u8", default=-1),)),
                "command go, field 'a', field 'b' with a default that it does not admit: b: -1 is outside 0 .. 255"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_one_line_that_says_what_would_be_right(name: str) -> None:
    declared, says = WRONG[name]
    (fault,) = shape_faults(declared)
    assert fault.startswith(says)
    assert fault.isprintable()
    with pytest.raises(SetupError):
        collect([declared], mission="m", spacecraft_id=1, version="0", apids={})


def test_all_mistakes_are_said_at_once() -> None:
    both = Declarations(
        structures=WRONG["a function"][0].structures + WRONG["one field twice"][0].structures,
        commands=WRONG["a function"][0].commands + WRONG["a unit that is none"][0].commands,
    )
    assert len(shape_faults(both)) == 3


class Oddly(FailureCode):
    SPOKEN = 200, "two\nlines"


# What can be written in Python and not in a line, a file name, a column or XTCE.
ODD_NAMES = (
    "a.b", "a/b", "a:b", "a[0]", "a b", "a\nb", "a\tb", "a\x00b", "A", "1a", "_a", "", "ä", "a" * 65, "../a",
    "a__b", "a_", "a_b__", "a___b",  # could be taken for two, joined
)  # fmt: skip
ODD_LABELS = ("two\nlines", "bell\x07", "\x1b[31mred", " blank", "blank ", "", "x" * 65)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_none_is_refused_wherever_it_stands(name: str) -> None:
    assert not is_name(name)
    odd = (Field(name, "u8"),)
    everywhere = Declarations(
        structures=(Structure(2, 40, name, 1.0, ()), Structure(2, 41, "s", 1.0, odd)),
        events=(EventDefinition(2, 1, name, "low", ""), EventDefinition(2, 2, "e", "low", "", odd)),
        reports=(Report(2, 130, 1, name), Report(2, 130, 2, "r", odd)),
        commands=(
            Command(name, 2, 130, 1, ""),
            Command("c", 2, 130, 2, "", odd),
            Command("d", 2, 130, 3, "", (Field("rows", "rows", fields=odd),)),
        ),
        settings=(Setting(1, name, "", 0.0, 0.0, 1.0, ""),),
    )
    found = excesses(everywhere)
    assert len(found) == 10, found
    for fault in found:
        assert repr(name) in fault and "should be a small letter, then small letters, digits and _, 64 in" in fault
        assert fault.isprintable()


def test_a_name_may_be_as_long_as_one_of_the_node_for_an_app() -> None:
    longest = "a" * NAME_CHARACTERS_MAX
    assert is_name(longest) and not is_name(longest + "a") and not is_name(None)
    assert excesses(structure(2, 40, longest, 1.0, (Field(longest, "u8"),))) == []


@pytest.mark.parametrize("label", ODD_LABELS)
def test_a_label_or_unit_that_cannot_be_shown_is_refused(label: str) -> None:
    assert not is_label(label)
    found = excesses(field(labels=("on", label), unit=label))
    assert len(found) == 1 + (label != ""), found  # no unit is none
    assert all(repr(label) in fault and "characters that can be printed" in fault for fault in found)


def test_texts_that_break_a_line_are_refused() -> None:
    odd = "two\nlines"
    found = excesses(Declarations(
        events=(EventDefinition(2, 1, "e", "low", odd),), failures=(Oddly.SPOKEN,),
        commands=(Command("c", 2, 130, 1, odd, (Field("a", "u8", text=odd),)),),
        settings=(Setting(1, "p", "", 0.0, 0.0, 1.0, odd),),
    ))  # fmt: skip
    assert len(found) == 5 and all("should be characters that can be printed" in fault for fault in found)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Field("a", "u31"), "field a is of type 'u31', should be one of u8, u16"),
        (lambda: Field("a", "str", labels=("on",)), "field a is of type str and has labels, which are for numbers"),
        (lambda: Field("a", "rows"), "field a of type rows: should have fields of its own"),
        (lambda: Field("a", "u8", fields=(A,)), "field a of type u8: only rows have fields of its own"),
        (lambda: Field("a", "rows", fields=(Field("b", "rows", fields=(A,)),)), "field a has rows in its rows"),
    ],
)
def test_a_field_that_cannot_be_says_why(made: Any, says: str) -> None:
    with pytest.raises(FieldError) as caught:
        made()
    assert str(caught.value).startswith(says)


def test_a_document_says_which_thing_is_wrong() -> None:
    whole = collect([structure(2, 40, "s", 1.0, (A,))], mission="m", spacecraft_id=1, version="0", apids={})
    document = whole.document()
    document["structures"][0]["sid"] = 1 << 16
    with pytest.raises(OrbitnodeError, match=r"malformed: ValueError: structure s with sid 65536, should be a whole"):
        Dictionary.from_document(signed(document))
