"""What a step may still ask of the storage: a budget against a plain model, and a search that takes many steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from flight.core.step_budget import OPERATIONS_MAX, READ_OCTETS_MAX, Budget, in_steps

# ADR 0022: eight segments go in a step. Two of a packet store are read in one.
OPERATIONS, OCTETS = 8, 2 * 16_384


@given(
    st.none() | st.tuples(st.integers(0, 5), st.integers(0, 100)),
    st.lists(st.none() | st.integers(0, 60) | st.sampled_from((0, OCTETS // 2, OCTETS, OCTETS + 1)), max_size=40),
)
def test_a_budget_admits_what_is_left_and_nothing_after_its_first_refusal(
    first: tuple[int, int] | None, asked: list[int | None]
) -> None:
    """None renews it: it then has what every step has."""
    budget = Budget() if first is None else Budget(*first)
    operations, octets = first or (OPERATIONS, OCTETS)
    spent = False
    for one in asked:
        if one is None:
            budget.renew()
            operations, octets, spent = OPERATIONS, OCTETS, False
            continue
        admitted = not spent and operations > 0 and octets >= one
        assert (budget.take() if one == 0 else budget.take(one)) is admitted
        operations, octets, spent = operations - admitted, octets - admitted * one, not admitted
        assert (budget.operations, budget.octets, budget.spent) == (operations, octets, spent)


def test_the_budget_of_a_step_is_within_its_bounds_and_that_of_the_boot_has_none() -> None:
    assert OPERATIONS <= OPERATIONS_MAX and OCTETS <= READ_OCTETS_MAX
    boot = Budget.of_boot()
    assert all(boot.take(2**40) for _ in range(1000)) and not boot.spent


@given(st.integers(1, 60))
def test_a_search_goes_on_from_where_its_budget_was_spent(things: int) -> None:
    found: list[int] = []

    def search(budget: Budget) -> list[int] | None:
        while len(found) < things:
            if not budget.take(OCTETS // 8):
                return None
            found.append(len(found))
        return found

    ended: list[list[int] | None] = []

    def through() -> Iterator[None]:
        ended.append((yield from in_steps(search, Budget(1, OCTETS))))

    assert [len(found) for _ in islice(through(), 99)] == list(range(1, things, 8)), (
        "one in the first step, then eight in each"
    )
    assert ended == [list(range(things))]
