"""What Prometheus reads, with its own parser."""

from prometheus_client.parser import text_string_to_metric_families as parsed

from sallyport.core.runtime.durations import Durations
from sallyport.ops.control.schema import EventCount, Measured
from sallyport.ops.exposition import GatewayFacts, WorkerFacts, exposition
from sallyport.ops.metrics import METRICS


def measured() -> Measured:
    durations = Durations()
    durations.add(0.00004)
    durations.add(5)
    return Measured(
        sessions=2,
        sessions_opened=9,
        controls=3,
        bindings=4,
        transfers=1,
        events=[
            EventCount(event="binding.reserved", protocol="ftp", reason="", count=7),
            EventCount(event="binding.refused", protocol="ftp", reason="denied-by-rule", count=2),
            EventCount(event="connect.accepted", protocol="ftp", reason="", count=5),
            EventCount(event="connect.failed", protocol="ftp", reason="server-timed-out", count=1),
            EventCount(event="binding.closed", protocol="ftp", reason="finished", count=6),
            EventCount(event="connect.secondary_closed", protocol="ftp", reason="idle", count=8),
            EventCount(event="transfer.closed", protocol="", reason="finished", count=2),
            EventCount(event="filter.failed", protocol="irc", reason="", count=1),
        ],
        refusals={"denied-by-rule": 2},
        bytes={"to_client": 1000},
        bind_counts=durations.counts,
        bind_seconds=durations.seconds,
        ports_free={"tcp": 100, "udp": 200},
        ports=300,
        log_records_lost=0,
        kernel_errors={"change elements": 5},
        cpu_seconds=1.5,
        resident_bytes=4096,
    )


def facts() -> GatewayFacts:
    return GatewayFacts(
        is_ready=True,
        is_degraded=False,
        repairs=3,
        reloads={"success": 1, "failure": 2},
        last_reload_succeeded=False,
        configured_at=1.7e9,
        dropped={"strangers": 12},
        log_records_lost=0,
        kernel_errors={"read table sallyport": 1},
        workers=[
            WorkerFacts(number=1, is_up=True, restarts=1, measured=measured()),
            WorkerFacts(number=2, is_up=False, restarts=4, measured=None),
        ],
    )


def samples() -> dict[tuple[str, tuple[str, ...]], float]:
    """Return every sample by its name and the values of its labels, `le` last."""
    found = {}
    for family in parsed(exposition(facts()).decode()):
        meaning = METRICS.get(family.name) or METRICS[f"{family.name}_total"]
        for sample in family.samples:
            labels = (*meaning.labels, *({"le"} & sample.labels.keys()))
            found[sample.name, tuple(sample.labels[name] for name in labels)] = sample.value
    return found


def test_every_metric_is_there_with_its_meaning() -> None:
    families = {one.name: one for one in parsed(exposition(facts()).decode())}

    for name, meaning in METRICS.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (meaning.kind, meaning.text)
        assert family.samples, name
        of_metric = [one for one in family.samples if "le" not in one.labels]
        assert {frozenset(one.labels) for one in of_metric} == {frozenset(meaning.labels)}, name


def test_events_become_verdicts_and_directions() -> None:
    found = samples()

    assert found["sallyport_bind_requests_total", ("1", "ftp", "allowed", "")] == 7
    assert found["sallyport_bind_requests_total", ("1", "ftp", "refused", "denied-by-rule")] == 2
    name = "sallyport_control_connections_total"
    assert found[name, ("1", "ftp", "allowed", "")] == 5
    assert found[name, ("1", "ftp", "failed", "server-timed-out")] == 1
    assert found["sallyport_transfers_total", ("1", "ftp", "inbound", "finished")] == 6
    assert found["sallyport_transfers_total", ("1", "ftp", "outbound", "idle")] == 8
    assert found["sallyport_transfers_total", ("1", "", "adopted", "finished")] == 2


def test_a_histogram_counts_upwards_to_all() -> None:
    name = "sallyport_bind_duration_seconds"
    found = samples()

    assert found[f"{name}_bucket", ("1", "2.5e-05")] == 0
    assert found[f"{name}_bucket", ("1", "5e-05")] == 1
    assert found[f"{name}_bucket", ("1", "1.0")] == 1
    assert found[f"{name}_bucket", ("1", "+Inf")] == found[f"{name}_count", ("1",)] == 2


def test_what_the_kernel_refused_is_told_by_process_and_operation() -> None:
    found = samples()

    assert found["sallyport_kernel_errors_total", ("1", "change elements")] == 5
    assert found["sallyport_kernel_errors_total", ("supervisor", "read table sallyport")] == 1


def test_a_worker_that_gives_no_answer_is_down_and_says_nothing_else() -> None:
    of_second = {name for name, labels in samples() if labels[:1] == ("2",)}

    assert samples()["sallyport_worker_up", ("2",)] == 0
    assert of_second == {"sallyport_worker_up", "sallyport_worker_restarts_total"}
