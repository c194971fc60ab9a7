"""When a worker hangs, and when one that ended is replaced; decisions, with times as arguments."""

from sallyport import limits


class Lifeline:
    """What is known of the life of one worker, replacements included."""

    def __init__(self, now: float) -> None:
        """The first process is started at `now`."""
        self._started = now
        self._last_sign = now
        self._is_serving = False
        self._failures = 0
        self.is_changing = False
        """Whether it reads or takes a configuration: filters may take their time meanwhile."""

    def alive(self, now: float) -> None:
        """Note a sign of life."""
        self._last_sign = now

    def serves(self, now: float) -> None:
        """Note that it is ready: from now on silence means that it hangs."""
        self._is_serving = True
        self._last_sign = now

    def unwatched(self, seconds: float) -> None:
        """Do not count the last so many seconds: who watches was stopped itself.

        With a host that is suspended so was the worker, which gets the rest of its time.
        """
        self._last_sign += seconds

    def hangs(self, now: float) -> bool:
        """Whether it has been silent for longer than one that works ever is."""
        is_slow = self.is_changing or not self._is_serving
        patience = limits.WORKER_START_SECONDS if is_slow else limits.WORKER_SILENCE_SECONDS
        return now - self._last_sign > patience

    def ended(self, now: float) -> float:
        """Note that the process ended against our will; return after how many seconds the next
        one is to start."""
        if self._is_serving and now - self._started >= limits.WORKER_PROBATION_SECONDS:
            self._failures = 0
        delays = limits.WORKER_RESTART_DELAYS
        delay = delays[min(self._failures, len(delays) - 1)]
        self._failures += 1
        return delay

    def started(self, now: float) -> None:
        """Note that the next process has been started."""
        self._started = self._last_sign = now
        self._is_serving = self.is_changing = False
