"""Times as the phones saw them."""

from loadtest.figures import Spread, figures, spread
from tests.loadtest.logs import Story


def test_a_spread_is_median_99th_percentile_and_largest() -> None:
    assert spread(range(1, 201)) == Spread(200, 100, 198, 200)
    assert spread([7]) == Spread(1, 7, 7, 7)
    assert spread([]) == Spread(0, 0, 0, 0)


def test_setup_wait_turnaround_and_bye_are_measured_on_the_phones() -> None:
    story = Story().join("1001")
    story.talk(0, "1001", at=1_000, offered=1_100, until=9_000, caller_hangs_up=False)
    story.talk(1, "1001", at=1_500, offered=9_004, until=12_000)
    found = figures(story.log)
    assert found.setup == Spread(2, 5, 5, 5)
    assert found.wait == Spread(2, 415, 7_819, 7_819)
    assert found.next_offer == Spread(1, 4, 4, 4)
    assert found.bye == Spread(2, 2, 2, 2)
