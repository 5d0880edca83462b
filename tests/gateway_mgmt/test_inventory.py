"""Time slots as people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_mgmt.inventory import read_slots, slots_in_words


@settings(deadline=None)
@given(st.sets(st.integers(1, 31), min_size=1))
def test_slots_that_are_written_are_read_again(slots: set[int]) -> None:
    assert read_slots(slots_in_words(slots)) == tuple(sorted(slots))


def test_slots_are_written_in_runs() -> None:
    assert slots_in_words((*range(1, 16), 17, *range(20, 32))) == "1-15,17,20-31"


@pytest.mark.parametrize("written", ["", "0", "32", "3-1", "1,1", "a", "1-", "1-5,5", "100"])
def test_what_is_no_list_of_slots_is_told(written: str) -> None:
    assert read_slots(written) is None
