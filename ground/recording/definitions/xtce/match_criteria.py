"""Reads conditions and amounts of XTCE: MatchCriteriaType, IntegerValueType and what they are made of."""

from __future__ import annotations

from ground.recording.definitions.criteria import (
    AllOf,
    Amount,
    AnyOf,
    Compare,
    CompareTwo,
    Criterion,
    Fixed,
    Linear,
    Lookup,
    Operator,
    Reference,
)
from ground.recording.definitions.xtce.space_system import SpaceSystem, member_referred
from ground.recording.definitions.xtce.xml_tree import Element, shown, whole_number

_WORDS = {"eq": "==", "neq": "!=", "lt": "<", "leq": "<=", "gt": ">", "geq": ">="}  # as some tools write them


def reference(element: Element, system: SpaceSystem) -> Reference:
    """Return the parameter that an element refers to by its attribute parameterRef. Raises OrbitnodeError."""
    item, member = member_referred(element.need("parameterRef"), system, element)
    if element.whole("instance", 0) != 0:
        raise element.fault("refers to an instance of the parameter other than the newest, which is not supported")
    key = f"{item.key}.{member}" if member else item.key
    return Reference(key, element.flag("useCalibratedValue", True), element.where)


def criterion(element: Element, system: SpaceSystem) -> Criterion | None:
    """Read an element of MatchCriteriaType; None if it asks nothing. Raises OrbitnodeError."""
    # Several elements side by side must all be met.
    parts: list[Criterion] = []
    for child in element.children:
        if child.tag == "Comparison":
            parts.append(_comparison(child, system))
        elif child.tag == "ComparisonList":
            parts += [_comparison(other, system) for other in child.all("Comparison")]
        elif child.tag == "BooleanExpression":
            parts += [_condition(other, system) for other in child.children]
        elif child.tag in ("CustomAlgorithm", "NextContainer"):
            raise child.fault(f"{child.tag} is not supported, and without it nothing tells which packets are meant")
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _operator(text: str, element: Element) -> Operator:
    try:
        return Operator(_WORDS.get(text, text))
    except ValueError:
        raise element.fault(f"compares by {shown(text)}, should be one of {', '.join(Operator)}") from None


def _comparison(element: Element, system: SpaceSystem) -> Criterion:
    """Read a Comparison. Raises OrbitnodeError."""
    if "value" not in element.attributes:
        raise element.fault("has no attribute value")
    operator = _operator(element.get("comparisonOperator", "=="), element)
    return Compare(reference(element, system), operator, element.attributes["value"])


def _condition(element: Element, system: SpaceSystem) -> Criterion:
    """Read a Condition, or conditions that are joined by AND or OR. Raises OrbitnodeError."""
    if element.tag in ("ANDedConditions", "ORedConditions"):
        parts = tuple(_condition(child, system) for child in element.children)
        if not parts:
            raise element.fault("holds no condition")
        return AllOf(parts) if element.tag == "ANDedConditions" else AnyOf(parts)
    if element.tag != "Condition":
        raise element.fault("should be a Condition, ANDedConditions or ORedConditions")
    sides = [reference(child, system) for child in element.all("ParameterInstanceRef")]
    written = element.find("ComparisonOperator")
    operator = _operator("" if written is None else written.text, element)
    value = element.find("Value")
    if len(sides) == 1 and value is not None:
        return Compare(sides[0], operator, value.text)
    if len(sides) != 2 or value is not None:
        raise element.fault(
            "should have a ParameterInstanceRef, a ComparisonOperator, and a Value or a second ParameterInstanceRef"
        )
    return CompareTwo(sides[0], operator, sides[1])


def amount(element: Element, system: SpaceSystem) -> Amount:
    """Read an element of IntegerValueType. Raises OrbitnodeError."""
    fixed = element.find("FixedValue")
    if fixed is None and not element.children and element.text:
        fixed = element  # XTCE 1.1 has a plain number in some places
    if fixed is not None:
        return Fixed(whole_number(fixed.text, fixed, "its value"))
    dynamic = element.find("DynamicValue")
    if dynamic is not None:
        return _dynamic(dynamic, system)
    lookup = element.find("DiscreteLookupList")
    if lookup is None:
        raise element.fault("should have a FixedValue, a DynamicValue or a DiscreteLookupList")
    rows = []
    for row in lookup.all("DiscreteLookup"):
        asked = criterion(row, system)
        if asked is None:
            raise row.fault("has no condition")
        rows.append((asked, row.whole("value")))
    if not rows:
        raise lookup.fault("has no DiscreteLookup")
    return Lookup(tuple(rows))


def _dynamic(element: Element, system: SpaceSystem) -> Amount:
    """Read a DynamicValue: a parameter, and the line that adjusts it. Raises OrbitnodeError."""
    instance = element.find("ParameterInstanceRef")
    if instance is None:
        raise element.fault("has no ParameterInstanceRef")
    adjustment = element.find("LinearAdjustment")
    if adjustment is None:
        return Linear(reference(instance, system), 1.0, 0.0)
    slope, intercept = adjustment.real("slope", 1.0), adjustment.real("intercept", 0.0)
    return Linear(reference(instance, system), slope, intercept)
