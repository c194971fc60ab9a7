"""`sallyport wrap`: run a program so that what it listens on appears at the gateway."""

from ipaddress import ip_network

import click

from sallyport.addresses import IpNetwork
from sallyport.client import DEFAULT_SOCKET
from sallyport.wrap import program as wrapped


def _peers(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> list[IpNetwork]:
    peers: list[IpNetwork] = []
    for text in ",".join(texts).split(",") if texts else []:
        try:
            peers.append(ip_network(text, strict=False))
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is no address or prefix; write one like 203.0.113.0/24"
            ) from None
    return peers


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--gateway",
    metavar="ADDRESS|SOCKET",
    help="Asked by PCP at an address, by the local API at a socket. By default"
    f" {DEFAULT_SOCKET} where there is one, else the gateway of the default route.",
)
@click.option(
    "--from",
    "peers",
    metavar="PEERS",
    multiple=True,
    callback=_peers,
    help="Who may connect: addresses and prefixes; by default anyone.",
)
@click.option(
    "--lifetime",
    type=click.IntRange(min=wrapped.MIN_LIFETIME),
    default=600,
    show_default=True,
    help="Seconds that each port is asked for; renewed while the program runs.",
)
@click.option(
    "--show-external",
    is_flag=True,
    help="Let the program see the gateway's address as its own, to announce it to its peer.",
)
@click.option("--quiet", "-q", is_flag=True, help="Do not say which ports were opened.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def wrap(
    *,
    gateway: str | None,
    peers: list[IpNetwork],
    lifetime: int,
    show_external: bool,
    quiet: bool,
    program: tuple[str, ...],
) -> int:
    """Run PROGRAM; the ports it listens on are opened at the gateway while it runs.

    A port that the gateway refuses cannot be listened on: the program gets "Permission denied",
    and a line here says why.
    """
    try:
        asked = wrapped.gateway_of(gateway, peers, lifetime)
    except ValueError:
        raise click.BadParameter(
            f"{gateway!r} is no address, and no path of a socket", param_hint="--gateway"
        ) from None

    def say(line: str) -> None:
        if not quiet:
            click.echo(f"sallyport: {line}", err=True)

    return wrapped.run(
        program,
        gateway=asked,
        shows_external=show_external,
        say=say,
    )
