from cluster.replicas import IN_SYNC_TIMEOUT_MS
from node.overload import Lag, is_overloaded


def test_one_pause_refuses_nobody_and_lasting_lateness_does() -> None:
    lag = Lag()
    lag.saw(300, 320)
    assert not is_overloaded(lag_ms=lag.ms, commit_ms=0)
    for _ in range(10):
        lag.saw(300, 320)
    assert is_overloaded(lag_ms=lag.ms, commit_ms=0)
    for _ in range(200):
        lag.saw(0, 20)
    assert not is_overloaded(lag_ms=lag.ms, commit_ms=0)


def test_slow_commits_refuse_too() -> None:
    assert is_overloaded(lag_ms=0, commit_ms=201)


def test_a_standby_that_hangs_until_it_is_dropped_refuses_nobody() -> None:
    commits = Lag()
    for age_ms in range(0, IN_SYNC_TIMEOUT_MS + 100, 20):
        commits.saw(age_ms, 20)
        assert not is_overloaded(lag_ms=0, commit_ms=commits.ms)
    for age_ms in range(IN_SYNC_TIMEOUT_MS + 100, 1_200, 20):
        commits.saw(age_ms, 20)
    assert is_overloaded(lag_ms=0, commit_ms=commits.ms)
