"""Who floods waits for itself: datagrams are served in turns, one of each client."""

from collections.abc import Callable, Collection, Hashable

import pytest

from sallyport import limits
from sallyport.frontends.turn_queue import TurnQueue, rest_beside_others

OF_ONE, OF_ALL = 16, 1000


class Ground:
    """A queue, its clock, and what it has served."""

    def __init__(self) -> None:
        self.now = 0.0
        self.served: list[str] = []
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.queue = TurnQueue(
            of_one=OF_ONE,
            of_all=OF_ALL,
            rest=self._rest,
            later=lambda seconds, action: self.due.append((seconds, action)),
            clock=lambda: self.now,
        )

    @staticmethod
    def _rest(spent: float, waiting: Collection[Hashable]) -> float:
        return 3 * spent / len(waiting)

    def put(self, client: str, *words: str, size: int = 10) -> list[bool]:
        """Queue datagrams of one client; serving one takes a millisecond."""

        def serve(word: str) -> Callable[[], None]:
            def action() -> None:
                self.served.append(word)
                self.now += 0.001

            return action

        return [self.queue.put(client, size, serve(word)) for word in words]

    def turn(self) -> float:
        """Take the turn that is due; return for how long it had been put off."""
        ((seconds, action),) = self.due
        self.due.clear()
        action()
        return seconds


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_a_single_datagram_is_served_at_once(ground: Ground) -> None:
    ground.put("a", "a1")
    ground.queue.serve()

    assert ground.served == ["a1"]
    assert ground.due == []


def test_each_turn_serves_one_of_each_client_in_the_order_in_which_it_was_said(
    ground: Ground,
) -> None:
    ground.put("flooder", "f1", "f2", "f3")
    ground.put("a", "a1")
    ground.put("b", "b1", "b2")
    ground.queue.serve()
    ground.turn()
    ground.turn()

    assert ground.served == ["f1", "a1", "b1", "f2", "b2", "f3"]
    assert ground.due == []


def test_a_fault_in_serving_one_leaves_nobody_waiting(ground: Ground) -> None:
    def fail() -> None:
        raise OSError("no buffer space")

    ground.queue.put("a", 10, fail)
    ground.put("a", "a2")
    ground.put("b", "b1")
    with pytest.raises(OSError, match="no buffer space"):
        ground.queue.serve()
    ground.turn()

    assert ground.served == ["b1", "a2"]
    assert ground.due == []


@pytest.mark.parametrize("flooders", [1, 2, 4])
def test_a_few_that_flood_leave_room_to_others(flooders: int) -> None:
    queue = TurnQueue(of_one=500, of_all=1000, rest=lambda _spent, _waiting: 0.0)
    for _ in range(1000):
        for number in range(flooders):
            queue.put(f"flooder {number}", 1, lambda: None)

    assert queue.has_room_for(1000 // (flooders + 1))
    assert queue.put("neighbour", 1, lambda: None)


def test_a_crowd_fills_all_the_room_there_is() -> None:
    queue = TurnQueue(of_one=500, of_all=1000, rest=lambda _spent, _waiting: 0.0)

    assert all(queue.put(f"client {number}", 1, lambda: None) for number in range(1000))
    assert not queue.put("another", 1, lambda: None)


def test_those_that_wait_leave_time_to_others(ground: Ground) -> None:
    ground.put("flooder", "f1", "f2", "f3")
    ground.put("a", "a1")
    ground.queue.serve()
    ground.put("a", "a2")
    ground.queue.serve()

    # Two were served in two milliseconds; what came meanwhile does not hasten the next turn.
    assert ground.served == ["f1", "a1"]
    assert ground.turn() == pytest.approx(0.006)
    assert ground.served == ["f1", "a1", "f2", "a2"]


def test_one_turn_serves_so_many_clients_and_goes_on_with_the_others(ground: Ground) -> None:
    count = limits.MAX_SERVED_PER_TURN + 3
    for number in range(count):
        ground.put(f"client {number}", f"{number}", f"{number} again")
    ground.queue.serve()
    ground.turn()

    once = [f"{number}" for number in range(count)]
    assert ground.served[:count] == once
    assert ground.served[count:] == [
        f"{number} again" for number in range(2 * limits.MAX_SERVED_PER_TURN - count)
    ]


def test_what_one_client_sends_beyond_its_places_is_lost_and_of_others_nothing(
    ground: Ground,
) -> None:
    words = [f"f{number}" for number in range(OF_ONE + 1)]

    assert ground.put("flooder", *words) == [True] * OF_ONE + [False]
    assert ground.queue.is_full_for("flooder")
    assert not ground.queue.is_full_for("a")
    assert ground.put("a", "a1") == [True]


def test_all_that_waits_has_a_bound_in_bytes(ground: Ground) -> None:
    half = OF_ALL // 2

    assert ground.put("a", "a1", size=half) == [True]
    assert ground.put("b", "b1", size=half) == [True]
    assert ground.put("c", "c1", size=1) == [False]
    ground.queue.serve()
    assert ground.put("c", "c2", size=1) == [True]


def test_what_is_cleared_is_not_served(ground: Ground) -> None:
    ground.put("a", "a1", "a2")
    ground.queue.serve()
    ground.queue.clear()
    ground.turn()

    assert ground.served == ["a1"]


@pytest.mark.parametrize(
    ("has_others", "at_least", "waiting", "seconds"),
    [
        (False, 0.0, 1, 0.0),
        (False, 1.0, 1, 0.002),
        (True, 0.0, 1, 0.016),
        (True, 0.0, 4, 0.004),
        (True, 1.0, 100, 0.002),
    ],
)
def test_one_client_rests_longest_a_crowd_hardly_and_who_is_alone_not_at_all(
    has_others: bool, at_least: float, waiting: int, seconds: float
) -> None:
    rest = rest_beside_others(lambda _hosts: has_others, at_least)

    assert rest(0.002, range(waiting)) == pytest.approx(seconds)


def test_those_that_wait_while_the_process_stands_still_need_not_rest_for_it_as_well() -> None:
    rest = rest_beside_others(lambda _hosts: True)

    assert rest(7.0, range(1)) == rest(limits.LONGEST_TURN_SECONDS, range(1)) < 1.0
