"""Commands that ask the running gateway: status, sessions, bindings, rules."""

from collections.abc import Callable
from typing import TypeVar

import click

from sallyport.cli.exits import Exit
from sallyport.cli.options import with_output
from sallyport.cli.render import Output, duration, or_dash, size
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import (
    BindingRow,
    Bindings,
    Document,
    Killed,
    Rules,
    SessionRow,
    Sessions,
    Status,
)

_T = TypeVar("_T", bound=Document)


@click.command()
@with_output
def status(output: Output) -> None:
    """Show what the gateway is doing; exits with 6 when its guard is not in order."""
    answer = _ask(output, "status", Status, _show_status)
    if answer.degraded:
        click.get_current_context().exit(Exit.DEGRADED)


@click.group()
def sessions() -> None:
    """Show or end sessions: clients whose control connections pass the gateway."""


@sessions.command("list")
@with_output
def list_sessions(output: Output) -> None:
    """List all sessions."""
    _ask(output, "sessions.list", Sessions, _list_sessions)


@sessions.command("show")
@click.argument("session_id", metavar="ID")
@with_output
def show_session(output: Output, session_id: str) -> None:
    """Show one session with its control connections."""
    _ask(output, "sessions.show", Sessions, _show_sessions, id=session_id)


@sessions.command("kill")
@click.argument("session_id", metavar="ID|ADDRESS")
@with_output
def kill_session(output: Output, session_id: str) -> None:
    """End one session, or everything of a client by its address, inside or outside.

    A session ends with its control connections, bindings and transfers.
    """
    _ask(output, "sessions.kill", Killed, _show_killed, id=session_id)


@click.group()
def bindings() -> None:
    """Show or end bindings: what may come in, or has come in."""


@bindings.command("list")
@with_output
def list_bindings(output: Output) -> None:
    """List all bindings."""
    _ask(output, "bindings.list", Bindings, _list_bindings)


@bindings.command("show")
@click.argument("binding_id", metavar="ID")
@with_output
def show_binding(output: Output, binding_id: str) -> None:
    """Show one binding with its connections."""
    _ask(output, "bindings.show", Bindings, _show_bindings, id=binding_id)


@bindings.command("kill")
@click.argument("binding_id", metavar="ID")
@with_output
def kill_binding(output: Output, binding_id: str) -> None:
    """Close one binding and reset its connections."""
    _ask(output, "bindings.kill", Killed, _show_killed, id=binding_id)


@click.group()
def rules() -> None:
    """Show the policy in force."""


@rules.command("show")
@with_output
def show_rules(output: Output) -> None:
    """Show networks, their relations, and the access rules in their order."""
    _ask(output, "rules.show", Rules, _show_rules)


def _ask(
    output: Output,
    command: str,
    expect: type[_T],
    show: Callable[[Output, _T], None],
    **arguments: str,
) -> _T:
    answer = request(output.control_socket, command, expect=expect, **arguments)
    if output.as_json:
        output.json(answer)
    else:
        show(output, answer)
    return answer


def _show_status(output: Output, answer: Status) -> None:
    refusals = ", ".join(f"{reason} {count}" for reason, count in sorted(answer.refusals.items()))
    output.facts(
        {
            "release": answer.release,
            "process": str(answer.pid),
            "running for": duration(answer.uptime_seconds),
            "data path": answer.data_path,
            "port range": answer.port_range,
            "networks": ", ".join(answer.networks),
            "supervised": ", ".join(answer.supervised) or "none",
            "not supervised": ", ".join(answer.unsupervised) or "none",
            "sessions": str(answer.sessions),
            "controls": str(answer.controls),
            "bindings": str(answer.bindings),
            "refusals": refusals or "none",
            "log lines lost": str(answer.log_records_lost),
            "repairs": str(answer.repairs),
            "degraded": answer.degraded or "no",
            **({"taking over": f"process {answer.successor}"} if answer.successor else {}),
        }
    )


def _list_sessions(output: Output, answer: Sessions) -> None:
    output.table(
        ("ID", "WORKER", "CLIENT", "USER", "SINCE", "CONTROLS", "BINDINGS"),
        (
            (
                row.id,
                or_dash(row.worker),
                row.client,
                or_dash(row.user),
                row.since,
                str(len(row.controls)),
                str(row.bindings),
            )
            for row in answer.sessions
        ),
        nothing="no sessions",
    )


def _show_sessions(output: Output, answer: Sessions) -> None:
    for row in answer.sessions:
        output.facts(_session_facts(row))


def _list_bindings(output: Output, answer: Bindings) -> None:
    output.table(
        (
            "ID",
            "WORKER",
            "SESSION",
            "FRONTEND",
            "USER",
            "FILTER",
            "PROXY",
            "CLIENT",
            "PEERS",
            "STATE",
            "AGE",
            "BYTES",
        ),
        (
            (
                row.id,
                or_dash(row.worker),
                row.session,
                row.frontend,
                or_dash(row.user),
                or_dash(row.filter),
                f"{row.transport}/{row.proxy_address}",
                or_dash(row.client_address),
                _peers(row),
                row.state,
                duration(row.age_seconds),
                size(sum(flow.from_peer_bytes + flow.to_peer_bytes for flow in row.connections)),
            )
            for row in answer.bindings
        ),
        nothing="no bindings",
    )


def _show_bindings(output: Output, answer: Bindings) -> None:
    for row in answer.bindings:
        output.facts(_binding_facts(row))


def _show_killed(output: Output, answer: Killed) -> None:
    for kind, ids in (
        ("session", answer.sessions),
        ("binding", answer.bindings),
        ("connection", answer.controls),
    ):
        for killed in ids:
            output.line(f"killed {kind} {killed}")


def _show_rules(output: Output, answer: Rules) -> None:
    output.table(
        ("NETWORK", "INTERFACES", "ADDRESSES"),
        (
            (row.name, ", ".join(row.interfaces), ", ".join(row.addresses) or "all others")
            for row in answer.networks
        ),
        nothing="no networks",
    )
    output.line("")
    output.table(
        ("FROM", "TO", "IPV4", "IPV6"),
        (
            (row.source, row.destination, or_dash(row.ipv4), or_dash(row.ipv6))
            for row in answer.network_rules
        ),
        nothing="no network rules: no traffic between networks",
    )
    output.line("")
    output.table(
        ("RULE", "ACTION", "PROTOCOLS", "FROM", "TO", "BINDINGS", "ADDRESSES", "PORTS"),
        (
            (
                row.name,
                row.action,
                ", ".join(row.protocols),
                ", ".join(row.sources),
                ", ".join(row.destinations),
                str(row.max_bindings_per_client),
                row.allowed_addresses,
                row.client_ports,
            )
            for row in answer.access_rules
        ),
        nothing="no access rules: every binding is denied",
    )
    output.line("")
    _show_published(output, answer)


def _show_published(output: Output, answer: Rules) -> None:
    output.table(
        ("PUBLISHED", "PROTOCOL", "LISTEN", "SERVER", "FULL PROXY", "BINDINGS", "PORTS"),
        (
            (
                row.name,
                row.protocol,
                row.listen,
                row.server,
                "yes" if row.full_proxy else "no",
                str(row.max_bindings_per_client),
                row.client_ports,
            )
            for row in answer.publishing_rules
        ),
        nothing="no publishing rules: nothing begins from outside",
    )


def _session_facts(row: SessionRow) -> dict[str, str]:
    facts = {
        "id": row.id,
        "worker": or_dash(row.worker),
        "client": row.client,
        "user": or_dash(row.user),
        "since": row.since,
        "bindings": str(row.bindings),
    }
    for i, control in enumerate(row.controls, start=1):
        ends = f"{control.client} > {control.server}"
        facts[f"control {i}"] = f"{ends} {control.filter} {control.state}"
    return facts


def _binding_facts(row: BindingRow) -> dict[str, str]:
    facts = {
        "id": row.id,
        "worker": or_dash(row.worker),
        "session": row.session,
        "filter": or_dash(row.filter),
        "rule": row.rule,
        "transport": row.transport,
        "proxy address": row.proxy_address,
        "client address": or_dash(row.client_address),
        "peers": _peers(row),
        "flags": ", ".join(row.flags) or "none",
        "data path": row.data_path,
        "state": row.state,
        "age": duration(row.age_seconds),
        "expires in": "never" if row.expires_in is None else duration(row.expires_in),
        "asked by": row.frontend if row.user is None else f"{row.user}, {row.frontend}",
        "primary": or_dash(row.primary),
    }
    for i, flow in enumerate(row.connections, start=1):
        facts[f"connection {i}"] = (
            f"{flow.peer}, {size(flow.from_peer_bytes)} in, {size(flow.to_peer_bytes)} out"
        )
    return facts


def _peers(row: BindingRow) -> str:
    if row.peers is None:
        return "anyone"
    return ", ".join(row.peers) or "none"
