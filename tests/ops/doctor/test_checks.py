"""Each check of a host, by hosts that have one fault each."""

from dataclasses import replace

import pytest

from sallyport.errors import ConfigError
from sallyport.ops.doctor.checks import DoctorFacts, examine
from sallyport.ops.doctor.finding import Severity
from sallyport.ops.doctor.rulesets import HostRules

GOOD = DoctorFacts(
    descriptors=524_288,
    sysctls={"net/netfilter/nf_conntrack_max": "262144", "net/netfilter/nf_conntrack_count": "9"},
    inside=frozenset({"int0"}),
    outside=frozenset({"ext0"}),
)
RUNNING = replace(
    GOOD,
    is_running=True,
    ours={"sallyport": 0, "sallyport_pins0": 4711},
    sysctls={**GOOD.sysctls, "net/ipv4/ip_local_reserved_ports": "22,40000-59999"},
)


def sysctls(facts: DoctorFacts, **changed: str) -> DoctorFacts:
    """Return the facts with sysctls of other values; `__` stands for the slash."""
    new = {name.replace("__", "/"): value for name, value in changed.items()}
    return replace(facts, sysctls={**facts.sysctls, **new})


def test_of_a_host_that_is_as_it_should_be_nothing_is_said() -> None:
    assert examine(GOOD) == []
    assert examine(RUNNING) == []


@pytest.mark.parametrize(
    ("facts", "code", "severity"),
    [
        (replace(GOOD, lack="nft is not installed"), "host-lacks", Severity.WRONG),
        (replace(RUNNING, degraded="no table"), "gateway-degraded", Severity.WRONG),
        (
            replace(GOOD, mistakes=(ConfigError("f.toml", 3, "unknown key"),)),
            "configuration-mistake",
            Severity.WRONG,
        ),
        (
            replace(GOOD, warnings=(ConfigError("f.toml", 3, "never matches"),)),
            "configuration-doubt",
            Severity.DOUBTFUL,
        ),
        (replace(GOOD, flushes_at_reload=True), "ruleset-flushed-at-reload", Severity.DOUBTFUL),
        (replace(GOOD, rules=HostRules({}, ("ftp",))), "kernel-helper", Severity.DOUBTFUL),
        (
            sysctls(GOOD, net__netfilter__nf_conntrack_helper="1"),
            "kernel-helper",
            Severity.DOUBTFUL,
        ),
        (replace(GOOD, ours={"sallyport": 0}), "leftover-tables", Severity.DOUBTFUL),
        (
            sysctls(RUNNING, net__ipv4__ip_local_reserved_ports="22"),
            "ports-not-reserved",
            Severity.WRONG,
        ),
        (sysctls(GOOD, net__ipv4__conf__int0__rp_filter="1"), "reverse-path-strict", None),
        (
            sysctls(GOOD, net__netfilter__nf_conntrack_count="250000"),
            "conntrack-full",
            Severity.WRONG,
        ),
        (replace(GOOD, descriptors=1024), "few-descriptors", Severity.DOUBTFUL),
        (replace(GOOD, is_clock_right=False), "clock-not-synchronised", Severity.DOUBTFUL),
        (
            replace(GOOD, programs=frozenset({"keepalived"})),
            "pair-without-conntrackd",
            Severity.DOUBTFUL,
        ),
    ],
)
def test_one_fault_is_one_finding_that_says_what_why_and_what_to_do(
    facts: DoctorFacts, code: str, severity: Severity | None
) -> None:
    (found,) = examine(facts)

    assert found.code == code
    assert found.severity is (severity or Severity.DOUBTFUL)
    assert found.what
    assert found.why
    assert found.remedy or code == "host-lacks"


@pytest.mark.parametrize(
    "facts",
    [
        replace(GOOD, rules=HostRules({}, ("pptp", "amanda"))),
        replace(
            GOOD, ours={"sallyport": 0, "sallyport_pins0": 4711}
        ),  # another instance, at another socket
        sysctls(GOOD, net__ipv4__conf__int0__rp_filter="2"),
        sysctls(GOOD, net__ipv4__conf__all__rp_filter="0", net__ipv4__conf__ext0__rp_filter="0"),
        replace(GOOD, programs=frozenset({"keepalived", "conntrackd"})),
    ],
)
def test_what_is_no_fault_is_not_called_one(facts: DoctorFacts) -> None:
    assert examine(facts) == []


def test_what_does_not_work_comes_before_what_is_doubtful() -> None:
    both = replace(GOOD, is_clock_right=False, lack="nft is not installed")

    assert [one.severity for one in examine(both)] == [Severity.WRONG, Severity.DOUBTFUL]
