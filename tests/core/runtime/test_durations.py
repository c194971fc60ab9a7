from sallyport.core.runtime.durations import BOUNDS, Durations


def test_a_duration_is_counted_at_the_first_bound_that_it_does_not_exceed() -> None:
    durations = Durations()
    for seconds in (0.0, 0.00001, 0.0000101, 0.3, 1.0, 7.0):
        durations.add(seconds)

    counted = {bound: n for bound, n in zip((*BOUNDS, None), durations.counts, strict=True) if n}
    assert counted == {0.00001: 2, 0.000025: 1, 0.5: 1, 1.0: 1, None: 1}
    assert round(durations.seconds, 6) == 8.30002


def test_bounds_go_up() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
