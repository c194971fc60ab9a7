"""Every source file has its test file, or says here where its tests are and why there."""

from pathlib import Path

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src/sallyport"

# A file, or a folder with all its files: the test file that covers it, and the reason.
ELSEWHERE = {
    "api.py": ("docs/test_sdk.py", "names of other files, and nothing of its own"),
    "core/engine/admission.py": ("core/engine/test_gateway.py", "its verbs are the gateway's"),
    "core/engine/control_quota.py": ("core/engine/test_quotas.py", "one quota of several"),
    "core/engine/grants.py": ("core/policy/test_terms.py", "limits, asked through the primitive"),
    "ops/doctor/finding.py": ("ops/doctor/test_checks.py", "a value that every check builds"),
    "ops/control/explain.py": ("docs/test_why.py", "each answer beside its log line"),
    "core/policy/hosts.py": ("core/policy/test_matching.py", "a part of a rule"),
    "core/policy/trail.py": ("core/policy/test_matching.py", "written by what decides"),
    "ops/config/access.py": ("ops/config/test_load.py", "one table of a configuration"),
    "ops/config/rule_shapes.py": ("ops/config/test_document.py", "shapes of its tables"),
    "cli/wrap.py": ("interop/test_wrap.py", "only a kernel suspends calls"),
    "frontends/datagram_conversation.py": ("frontends/test_udp.py", "begun and fed by its reader"),
    "client.py": ("interop/test_local_api.py", "only a gateway answers"),
    "frontends/socks/association.py": ("interop/test_socks.py", "only a network answers"),
    "frontends/socks/names.py": ("interop/test_socks.py", "a resolver, asked by requests"),
    "frontends/rights.py": ("ops/control/test_explain_front_ends.py", "names that rules use"),
    "frontends/socks/replies.py": ("interop/test_socks.py", "seen in answers"),
    "frontends/socks/server.py": ("interop/test_socks.py", "only hosts that are not us are served"),
    "frontends/socks/waiting_bind.py": ("interop/test_socks.py", "only a network connects"),
    "frontends/pcp/announcer.py": ("interop/test_pcp_announce.py", "only a link hears it"),
    "frontends/pcp/server.py": ("interop/test_pcp.py", "a queue in front of the responder"),
    "core/engine/ledger.py": ("core/engine/test_gateway.py", "its counts are seen from outside"),
    "core/engine/session_table.py": ("core/model/test_session.py", "finds sessions for others"),
    "core/model/engine.py": ("core/engine/test_gateway.py", "a Protocol; Gateway implements it"),
    "core/model/filter_set.py": ("core/test_fence.py", "attaches filters, which may fail"),
    "core/model/negotiated.py": ("core/model/test_secondary.py", "a base class"),
    "core/model/request.py": ("core/engine/test_binder.py", "values that only the binder takes"),
    "core/pinholes/reservations.py": (
        "core/engine/test_binder_resources.py",
        "a bind's first half",
    ),
    "core/runtime/environment.py": ("testing/test_world.py", "a Protocol; its doubles are tested"),
    "filters/ftp": ("filters/test_ftp.py", "one dialogue of several files, tested by what it says"),
    "kernel/address_watch.py": ("netns/test_followed_addresses.py", "only a kernel tells"),
    "filters/sip": ("filters/test_sip.py", "one dialogue of several files, as FTP"),
    "filters/rtsp": ("filters/test_rtsp.py", "one dialogue of several files, as FTP"),
    "kernel/guard.py": ("netns/test_guard.py", "only a kernel shows that it holds"),
    "kernel/routes.py": ("netns/test_guard.py", "only a kernel answers"),
    "kernel/sysctls.py": ("kernel/test_host.py", "a part of the host's set-up"),
    "lab/inetd.py": ("lab/test_servers.py", "a program of its own, run as one"),
    "lab/rtsp.py": ("interop/test_rtsp_programs.py", "programs that few machines have"),
    "lab/gstreamer.py": ("interop/test_rtsp_programs.py", "a program of its own, run as one"),
    "lab/net_sip.py": ("interop/test_sip_second_stack.py", "a telephone alone calls nobody"),
    "lab/vlc.py": ("interop/test_rtsp_programs.py", "a program of its own, run as one"),
    "lab/pyftpd.py": ("lab/test_servers.py", "a program of its own, run as one"),
    "ops/control/health.py": ("netns/test_admin.py", "on a gateway that works"),
    "ops/control/web_page.py": ("netns/test_web_page.py", "a browser shows it"),
    "ops/control/reason_rows.py": ("cli/test_reasons.py", "what the verb prints"),
    "ops/control/measured.py": ("netns/test_admin.py", "on a gateway that works"),
    "ops/processes": ("netns/test_supervision.py", "most of it only running processes show"),
    "reasons": ("docs/test_reasons.py", "texts by code, checked together"),
    "relay/attempts.py": ("relay/test_tcp.py", "the first half of every relayed connection"),
    "testing/endings.py": ("testing/test_contract.py", "how its plays end"),
    "testing/faulty.py": ("testing/test_contract.py", "what its plays fail with"),
    "testing/flows.py": ("testing/test_memory.py", "the flows of the data path in memory"),
    "wrap/pcp_client.py": ("interop/test_wrap.py", "only a gateway answers"),
    "wrap/api_mapper.py": ("interop/test_wrap.py", "only a gateway answers"),
    "wrap/mapped.py": ("interop/test_wrap.py", "a Protocol, and a value"),
    "wrap/supervisor.py": ("interop/test_wrap.py", "only a kernel suspends calls"),
    "testing/promises.py": ("testing/test_contract.py", "a broken filter for each promise"),
}

FILES = [
    path.relative_to(SOURCE)
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name not in {"__init__.py", "__main__.py"}
]


def test_every_source_file_has_its_test_file() -> None:
    alone = [str(path) for path in FILES if not _own_test(path) and not _elsewhere(path)]

    assert not alone, "write tests/ROOM/test_NAME.py, or say in ELSEWHERE where its tests are"


def test_what_is_tested_elsewhere_is_there() -> None:
    assert not [file for file, _why in ELSEWHERE.values() if not (TESTS / file).is_file()]


def test_only_what_has_no_test_file_is_said_to_be_tested_elsewhere() -> None:
    without = [path for path in FILES if not _own_test(path)]

    assert not [name for name in ELSEWHERE if not any(one.is_relative_to(name) for one in without)]


def _own_test(path: Path) -> bool:
    """Return whether there is tests/ROOM/test_NAME.py; a room in a room may be part of the name."""
    candidates = [path.with_name(f"test_{path.name}")]
    if len(path.parts) > 2:
        candidates.append(path.parent.with_name(f"test_{path.parent.name}_{path.name}"))
    return any((TESTS / candidate).is_file() for candidate in candidates)


def _elsewhere(path: Path) -> bool:
    return any(path.is_relative_to(name) for name in ELSEWHERE)
