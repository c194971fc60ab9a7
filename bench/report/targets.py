"""The figures we set out to reach, and what a run says about each."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.results import Run

Verdict = tuple[str, bool | None]
"""What was reached, in words, and whether that is enough."""


@dataclass(frozen=True, slots=True)
class Target:
    """One figure to reach."""

    what: str
    wanted: str
    reached: Callable[[Run], Verdict | None]
    """Gives None when the run did not measure it."""


def _middle(run: Run, item: str, case: str, setup: str, metric: str) -> float | None:
    values = run.values(item, case, setup, metric)
    return median(values) if values else None


def _ratio(run: Run, item: str, case: str, setups: tuple[str, str], metric: str) -> float | None:
    ours, theirs = (run.values(item, case, setup, metric) for setup in setups)
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=False) if b]
    return median(a / b for a, b in pairs) if pairs else None


def _throughput(run: Run) -> Verdict | None:
    found = _ratio(run, "bulk", "1 stream", ("sallyport", "nat"), "gigabits")
    cost = _middle(run, "bulk", "1 stream", "sallyport", "gateway_s")
    if found is None or cost is None:
        return None
    return f"{found:.2f}; daemon {cost:.2f} s/GiB", found >= 0.97


def _relay(run: Run) -> Verdict | None:
    found = _ratio(run, "bulk", "1 stream", ("sallyport-user", "nat"), "gigabits")
    ours = _middle(run, "bulk", "1 stream", "sallyport-user", "machine_s")
    if found is None or ours is None:
        return None
    others = {
        peer: cost
        for peer in ("haproxy", "dante", "suse")
        if (cost := _middle(run, "bulk", "1 stream", peer, "machine_s")) is not None
    }
    told = ", ".join(f"{peer} {cost:.2f}" for peer, cost in others.items())
    met = found >= 0.8 and all(ours < cost for cost in others.values())
    return f"{found:.2f}; {ours:.2f} s/GiB ({told})", met


def _transfers(run: Run) -> Verdict | None:
    case = "8 control connections"
    helper = _ratio(run, "transfers", case, ("sallyport", "helper"), "rate")
    dante = _ratio(run, "transfers", case, ("sallyport", "dante"), "rate")
    if helper is None or dante is None:
        return None
    return f"{helper:.2f} × helper, {dante:.2f} × Dante", helper >= 0.5 and dante >= 1.5


def _gateway_cpu(run: Run) -> Verdict | None:
    case = "8 control connections"
    ours = _middle(run, "transfers", case, "sallyport", "gateway_us")
    dante = _middle(run, "transfers", case, "dante", "gateway_us")
    if ours is None:
        return None
    return f"{ours:.0f} µs (Dante {dante or 0:.0f})", ours <= 150


def _added(run: Run, case: str, metric: str) -> float | None:
    ours = run.values("latency", case, "sallyport", metric)
    base = run.values("latency", case, "routed", metric)
    return median(a - b for a, b in zip(ours, base, strict=False)) if ours and base else None


def _latency(run: Run) -> Verdict | None:
    cases = run.cases("latency")
    if not cases:
        return None
    p50, p99 = _added(run, cases[0], "p50"), _added(run, cases[0], "p99")
    if p50 is None or p99 is None:
        return None
    return f"p50 {p50:.0f} µs, p99 {p99:.0f} µs", p50 < 150 and p99 < 500


def _beside_idle(run: Run) -> Verdict | None:
    told: list[str] = []
    met = True
    first, *others = run.cases("latency") or [""]
    alone = _added(run, first, "p50")
    for case in others:
        beside = _added(run, case, "p50")
        if alone and beside is not None:
            told.append(f"{beside / alone - 1:+.0%} with {case}")
            met = met and beside <= alone * 1.2
    return (", ".join(told), met) if told else None


def _binds(run: Run) -> Verdict | None:
    cases = [case for case in run.cases("binds") if case.startswith("1 address")]
    found = [
        (p50, rate)
        for case in cases
        if (p50 := _middle(run, "binds", case, "kernel", "p50")) is not None
        and (rate := _middle(run, "binds", case, "kernel", "rate")) is not None
    ]
    if not found:
        return None
    slowest = max(p50 for p50, _ in found)
    text = "; ".join(f"{p50:.0f} µs, {rate:,.0f}/s" for p50, rate in found)
    met = slowest <= 60 and min(rate for _, rate in found) >= 15_000
    return f"{text} ({', '.join(case.partition(', ')[2] for case in cases)})", met


def _memory(run: Run) -> Verdict | None:
    case = next(iter(run.cases("memory")), "")
    session = _middle(run, "memory", case, "sallyport", "session_kib")
    if session is None:
        return None
    dante = _middle(run, "memory", case, "dante", "session_kib")
    return f"{session:.1f} KiB a session (Dante {dante or 0:.0f})", session <= 25


def _memory_of_bindings(run: Run) -> Verdict | None:
    case = next(iter(run.cases("weight")), "")
    found = _middle(run, "weight", case, "kernel", "daemon_kib")
    return None if found is None else (f"{found:.2f} KiB a binding", found <= 2)


# No Python object is smaller: a leak of one a cycle shows as more.
_SMALLEST_OBJECT_BYTES = 16


def _cycles(run: Run) -> Verdict | None:
    case = next(iter(run.cases("cycles")), "")
    growth = _middle(run, "cycles", case, "kernel", "grown_kib")
    each = _middle(run, "cycles", case, "kernel", "each_bytes")
    if growth is None or each is None:
        return None
    left = sum(
        _middle(run, "cycles", case, "kernel", key) or 0.0
        for key in ("grown_descriptors", "grown_elements")
    )
    text = f"{growth:+.0f} KiB, {each:.1f} bytes a cycle; {left:+.0f} descriptors and elements"
    return text, each < _SMALLEST_OBJECT_BYTES and not left


def _mappings(run: Run) -> Verdict | None:
    found = [
        (case, p50, _middle(run, "mappings", case, "miniupnpd", "p50") or 0.0)
        for case in run.cases("mappings")
        if (p50 := _middle(run, "mappings", case, "sallyport-pcp", "p50")) is not None
    ]
    if not found:
        return None
    told = "; ".join(
        f"{ours / 1000:.2f} ms (miniupnpd {theirs / 1000:.0f}), {case}"
        for case, ours, theirs in found
    )
    slowest, first = max(ours for _, ours, _ in found), found[0][1]
    return told, slowest <= 300 and slowest <= first * 1.2


def _socks(run: Run) -> Verdict | None:
    told: list[str] = []
    is_met = True
    for case in run.cases("socks"):
        ours = _middle(run, "socks", case, "sallyport-socks", "gateway_us")
        theirs = _middle(run, "socks", case, "dante", "gateway_us")
        if ours is not None and theirs is not None:
            told.append(f"{case} {ours:.0f} µs (Dante {theirs:.0f})")
            is_met = is_met and ours < theirs
    return ("; ".join(told), is_met) if told else None


TARGETS = (
    Target(
        "kernel data path",
        "≥ 0.97 of plain NAT, no CPU of ours per byte",
        _throughput,
    ),
    Target(
        "`bind_for_client`, kernel path",
        "p50 ≤ 60 µs, ≥ 15 000/s, flat to 60 000 live bindings",
        _binds,
    ),
    Target(
        "active transfers per second (8 connections)",
        "≥ 0.5 × kernel helper, ≥ 1.5 × Dante",
        _transfers,
    ),
    Target("gateway CPU a transfer (8 connections)", "≤ 150 µs", _gateway_cpu),
    Target("time added to PORT → 200", "p50 < 150 µs, p99 < 500 µs", _latency),
    Target("the same beside idle sessions", "at most 20 % more with 5 000", _beside_idle),
    Target(
        "user-mode relay, one stream",
        "≥ 0.8 of plain NAT, cheaper than every user-space peer",
        _relay,
    ),
    Target("PCP MAP, p50", "≤ 0.3 ms, the same beside 5 000 live", _mappings),
    Target("gateway CPU of a SOCKS request", "less than Dante's", _socks),
    Target("memory of an idle control session", "≤ 25 KiB", _memory),
    Target("memory of a live binding in the daemon", "≤ 2 KiB", _memory_of_bindings),
    Target(
        "many open and close cycles",
        "no growth in memory, descriptors, kernel elements",
        _cycles,
    ),
)
