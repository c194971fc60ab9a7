"""`bind_for_client` through the Python API, and what peers call the same thing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.scale import Scale
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand
from bench.work.subject import TITLES, subject


class BindsItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "binds"
    title = "`bind_for_client` through the Python API"
    method = (
        "A gateway in a process inside the lab's gateway, one client, one peer in the filter, as"
        " the FTP filter binds. Timed from the call to the armed binding; bindings are withdrawn"
        " in batches, which is timed apart. *Live* bindings stand beside. A block is one call"
        " with several client addresses; its rate counts calls."
    )
    metrics = (
        Metric("p50", "p50", "µs", is_drawn=True),
        Metric("p99", "p99", "µs"),
        Metric("p999", "p99.9", "µs"),
        Metric("rate", "binds", "/s"),
        Metric("close_us", "withdraw", "µs", 1),
    )
    setups = ("kernel", "user")
    reference = "kernel"
    compares_cases = True

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`; `number` is what is live, `kind` the size of a block."""
        alone = [Case(f"1 address, {live} live", live, "1") for live in scale.live]
        several = [Case(f"{block} addresses, 0 live", 0, str(block)) for block in scale.blocks[1:]]
        return alone + several

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        block = int(case.kind)
        # A long block costs a port and an element for each address: fewer calls will do.
        count = max(scale.binds // block, scale.binds // 10)

        def measure() -> Mapping[str, float]:
            answer = there.ask("bind", count, block)
            return {
                "p50": percentile(answer.times_us, 0.5),
                "p99": percentile(answer.times_us, 0.99),
                "p999": percentile(answer.times_us, 0.999),
                "rate": count / answer.seconds,
                "close_us": answer.close_seconds / count * 1e6,
            }

        with subject(setup) as there:
            there.ask("fill", case.number)
            yield measure

    def title_of(self, setup: str) -> str:
        """Implement `Item.title_of`."""
        return TITLES[setup]


class WeightItem(Item):
    """Memory of a binding."""

    name = "weight"
    title = "Memory of a live binding"
    method = (
        "What the same process weighs (PSS) before and after it holds that many bindings, divided"
        " by their number; kernel memory is the growth of all slabs of the machine."
    )
    metrics = (
        Metric("daemon_kib", "process", "KiB/binding", 2),
        Metric("kernel_kib", "kernel slabs", "KiB/binding", 2, is_compared=False),
        Metric("descriptors", "descriptors", "/binding", 2, is_compared=False),
    )
    setups = ("kernel", "user")
    reference = "kernel"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        count = max(live for live in scale.live if live <= _MOST_WEIGHED)
        return [Case(f"{count} bindings", count)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""

        def measure() -> Mapping[str, float]:
            # Fresh every time: freed memory would serve the next round.
            with subject(setup) as there:
                before, after = there.ask("weigh"), there.ask("fill", case.number)
                each = 1 / case.number
                return {
                    "daemon_kib": (after.memory - before.memory) * each / 1024,
                    "kernel_kib": (after.slab - before.slab) * each / 1024,
                    "descriptors": (after.descriptors - before.descriptors) * each,
                }

        yield measure

    def title_of(self, setup: str) -> str:
        """Implement `Item.title_of`."""
        return TITLES[setup]


# Descriptors are 20 000 a process on an ordinary host, and user mode takes one for each.
_MOST_WEIGHED = 10_000


class CyclesItem(Item):
    """Open and close, again and again."""

    name = "cycles"
    title = "Open and close, again and again"
    method = (
        "Binds with eight live at a time, the oldest withdrawn for each new one. Compared are the"
        " process and the kernel after the first tenth and at the end; time a cycle in the first"
        " and the last tenth. One round, because it is long; on the user path a tenth as many."
    )
    metrics = (
        Metric("first_us", "first tenth", "µs/cycle", 1),
        Metric("last_us", "last tenth", "µs/cycle", 1),
        Metric("grown_kib", "process grew by", "KiB", is_compared=False),
        Metric("each_bytes", "that is", "bytes/cycle", 1, is_compared=False),
        Metric("slab_kib", "kernel slabs grew by", "KiB", is_compared=False),
        Metric("grown_descriptors", "descriptors more", "", is_compared=False),
        Metric("grown_elements", "kernel elements more", "", is_compared=False),
    )
    setups = ("kernel", "user")
    reference = "kernel"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{scale.cycles:,} cycles", scale.cycles)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        tenth = case.number // 10
        # The user path opens a listening socket each time: a tenth of the cycles shows as much.
        count = tenth if setup == "kernel" else tenth // 10
        known: dict[str, float] = {}

        def measure() -> Mapping[str, float]:
            if known:
                return known
            first = there.ask("cycles", count)
            for _ in range(8):
                there.ask("cycles", count)
            last = there.ask("cycles", count)
            known.update(
                first_us=first.seconds / count * 1e6,
                last_us=last.seconds / count * 1e6,
                grown_kib=(last.memory - first.memory) / 1024,
                each_bytes=(last.memory - first.memory) / (9 * count),
                slab_kib=(last.slab - first.slab) / 1024,
                grown_descriptors=float(last.descriptors - first.descriptors),
                grown_elements=float(last.elements - first.elements),
            )
            return known

        with subject(setup) as there:
            yield measure

    def title_of(self, setup: str) -> str:
        """Implement `Item.title_of`."""
        return TITLES[setup]
