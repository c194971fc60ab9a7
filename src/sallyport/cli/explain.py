"""The command `explain`: what the gateway would decide, and why."""

from pathlib import Path

import click

from sallyport.cli.exits import Exit
from sallyport.cli.options import PATH, with_output
from sallyport.cli.render import Output, or_dash
from sallyport.core.policy.terms import Frontend
from sallyport.ops.config.load import load
from sallyport.ops.control.client import request
from sallyport.ops.control.explain import explain as answer_to
from sallyport.ops.control.explain import imagine
from sallyport.ops.control.schema import Explained


@click.command()
@click.argument("client")
@click.argument("server")
@click.argument("protocol")
@click.option("--bind", type=click.IntRange(1, 65535), help="A port that peers would be let in to.")
@click.option("--peer", help="The address that would connect; by default the far end.")
@click.option("--user", help="The user whom a front end has authenticated.")
@click.option(
    "--frontend",
    type=click.Choice([one.value for one in Frontend]),
    help="How the client asks; by default the usual way for the protocol.",
)
@click.option("--at", help='A moment of the week, such as "tue 14:30"; by default now.')
@click.option("--config", "config_file", type=PATH, help="Ask this TOML file, not the gateway.")
@with_output
def explain(output: Output, /, config_file: Path | None, **asked: object) -> int:
    """Explain whether CLIENT may use PROTOCOL with SERVER (ADDRESS or ADDRESS:PORT), and why.

    Exits with 0 when it is allowed and with 5 when it is refused.
    """
    if config_file is None:
        given = {key: value for key, value in asked.items() if value is not None}
        answer = request(output.control_socket, "explain", expect=Explained, **given)
    else:
        configuration = load(config_file)
        answer = answer_to(imagine(configuration), configuration, asked)
    if output.as_json:
        output.json(answer)
    else:
        _show(output, answer)
    return Exit.FINE if answer.allowed else Exit.REFUSED


def _show(output: Output, answer: Explained) -> None:
    for step in answer.steps:
        about = f" (rule {step.rule})" if step.rule is not None else ""
        output.line(f"{step.outcome:<12} {step.question}: {step.answer}{about}")
    output.line("")
    facts = {
        "answer": "allowed" if answer.allowed else "refused",
        "reason": answer.reason,
        "meaning": answer.meaning,
        "rule": or_dash(answer.rule),
        "networks": f"{or_dash(answer.client_network)} to {or_dash(answer.peer_network)}",
        "relation": or_dash(answer.relation),
        "interception": answer.interception,
        "worker": or_dash(None if answer.worker is None else str(answer.worker)),
    }
    if answer.would_open is not None:
        facts["would open"] = answer.would_open
    facts |= {f"note {i}": remark for i, remark in enumerate(answer.remarks, start=1)}
    if not answer.allowed:
        facts |= {"key to change": or_dash(answer.key), "what to do": answer.remedy}
    output.facts(facts)
