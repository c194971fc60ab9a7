"""The commands `transfers list` and `transfers kill`: what runs now, active and passive."""

import click

from sallyport.cli.options import with_output
from sallyport.cli.render import Output, duration, or_dash, size
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Killed, Transfers


@click.group()
def transfers() -> None:
    """Show or end transfers: connections that were let in or permitted, passive ones too."""


@transfers.command("list")
@with_output
def list_transfers(output: Output) -> None:
    """List all transfers that run, with their bytes and average speed."""
    answer = request(output.control_socket, "transfers.list", expect=Transfers)
    if output.as_json:
        output.json(answer)
        return
    output.table(
        (
            "ID",
            "WORKER",
            "SESSION",
            "FRONTEND",
            "USER",
            "FILTER",
            "CLIENT",
            "",
            "PEER",
            "PATH",
            "AGE",
            "BYTES",
            "SPEED",
        ),
        (
            (
                row.id,
                or_dash(row.worker),
                row.session,
                or_dash(row.frontend),
                or_dash(row.user),
                "(adopted)" if row.is_adopted else or_dash(row.filter),
                row.client,
                "<" if row.direction == "inbound" else ">",
                or_dash(row.peer),
                row.data_path,
                duration(row.age_seconds),
                size(row.from_client_bytes + row.to_client_bytes),
                f"{size(row.bytes_per_second)}/s",
            )
            for row in answer.transfers
        ),
        nothing="no transfers",
    )


@transfers.command("kill")
@click.argument("transfer_id", metavar="ID")
@with_output
def kill_transfer(output: Output, transfer_id: str) -> None:
    """Reset one transfer at both ends; its control connection goes on."""
    answer = request(output.control_socket, "transfers.kill", expect=Killed, id=transfer_id)
    if output.as_json:
        output.json(answer)
        return
    for killed in answer.transfers:
        output.line(f"killed transfer {killed}")
