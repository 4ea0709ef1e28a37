"""Conditions and amounts of XTCE: MatchCriteria, IntegerValue and what they are made of."""

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

_WORDS = {"eq": "==", "neq": "!=", "lt": "<", "leq": "<=", "gt": ">", "geq": ">="}  # of other readers


def reference(element: Element, system: SpaceSystem) -> Reference:
    """The parameter that an element refers to, by its attribute parameterRef."""
    item, member = member_referred(element.need("parameterRef"), system, element)
    if element.whole("instance", 0) != 0:
        raise element.fault("asks for another instance of the parameter than the newest, which is not supported")
    key = f"{item.key}.{member}" if member else item.key
    return Reference(key, element.flag("useCalibratedValue", True), element.where)


def criterion(element: Element, system: SpaceSystem) -> Criterion | None:
    """What an element of MatchCriteriaType asks; None if it asks nothing. Raises OrbitnodeError."""
    parts: list[Criterion] = []
    for one in element.children:
        if one.tag == "Comparison":
            parts.append(_comparison(one, system))
        elif one.tag == "ComparisonList":
            parts += [_comparison(other, system) for other in one.all("Comparison")]
        elif one.tag == "BooleanExpression":
            parts += [_condition(other, system) for other in one.children]
        elif one.tag in ("CustomAlgorithm", "NextContainer"):
            raise one.fault(f"{one.tag} is not supported, and without it nobody knows which packets are meant")
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _operator(text: str, element: Element) -> Operator:
    try:
        return Operator(_WORDS.get(text, text))
    except ValueError:
        raise element.fault(f"compares by {shown(text)}, should be one of {', '.join(Operator)}") from None


def _comparison(element: Element, system: SpaceSystem) -> Criterion:
    if "value" not in element.attributes:
        raise element.fault("has no attribute value")
    operator = _operator(element.get("comparisonOperator", "=="), element)
    return Compare(reference(element, system), operator, element.attributes["value"])


def _condition(element: Element, system: SpaceSystem) -> Criterion:
    if element.tag in ("ANDedConditions", "ORedConditions"):
        parts = tuple(_condition(one, system) for one in element.children)
        if not parts:
            raise element.fault("holds no condition")
        return AllOf(parts) if element.tag == "ANDedConditions" else AnyOf(parts)
    if element.tag != "Condition":
        raise element.fault("should be a Condition, ANDedConditions or ORedConditions")
    sides = [reference(one, system) for one in element.all("ParameterInstanceRef")]
    written = element.find("ComparisonOperator")
    operator = _operator("" if written is None else written.text, element)
    value = element.find("Value")
    if len(sides) == 1 and value is not None:
        return Compare(sides[0], operator, value.text)
    if len(sides) != 2 or value is not None:
        raise element.fault("should have a ParameterInstanceRef, a ComparisonOperator, and then a Value or another one")
    return CompareTwo(sides[0], operator, sides[1])


def amount(element: Element, system: SpaceSystem) -> Amount:
    """What an element of IntegerValueType says. Raises OrbitnodeError."""
    fixed = element.find("FixedValue")
    if fixed is None and not element.children and element.text:
        fixed = element  # as version 1.1 has it in places
    if fixed is not None:
        return Fixed(whole_number(fixed.text, fixed, "its value"))
    dynamic = element.find("DynamicValue")
    if dynamic is not None:
        return _dynamic(dynamic, system)
    lookup = element.find("DiscreteLookupList")
    if lookup is None:
        raise element.fault("should have a FixedValue, a DynamicValue or a DiscreteLookupList")
    rows = []
    for one in lookup.all("DiscreteLookup"):
        asked = criterion(one, system)
        if asked is None:
            raise one.fault("has no condition")
        rows.append((asked, one.whole("value")))
    if not rows:
        raise lookup.fault("has no DiscreteLookup")
    return Lookup(tuple(rows))


def _dynamic(element: Element, system: SpaceSystem) -> Amount:
    instance = element.find("ParameterInstanceRef")
    if instance is None:
        raise element.fault("has no ParameterInstanceRef")
    adjustment = element.find("LinearAdjustment")
    if adjustment is None:
        return Linear(reference(instance, system), 1.0, 0.0)
    slope, intercept = adjustment.real("slope", 1.0), adjustment.real("intercept", 0.0)
    return Linear(reference(instance, system), slope, intercept)
