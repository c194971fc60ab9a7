"""The command `doctor`: what of this host keeps the gateway from working, and what to type."""

from pathlib import Path

import click

from sallyport.cli.exits import Exit
from sallyport.cli.options import PATH, with_output
from sallyport.cli.render import Output
from sallyport.ops.control.schema import Diagnosis, DoctorFinding
from sallyport.ops.doctor.checks import CHECKS, examine
from sallyport.ops.doctor.finding import Severity
from sallyport.ops.doctor.host_facts import find_out

_USUAL_FILE = Path("/etc/sallyport/sallyport.toml")


@click.command()
@click.option(
    "--config",
    "config_file",
    type=PATH,
    help=f"The gateway's configuration; {_USUAL_FILE} when that is there.",
)
@with_output
def doctor(output: Output, config_file: Path | None) -> Exit:
    """Examine this host: other firewalls, helpers, limits, leftovers, configuration.

    Changes nothing. Each finding says what was found, why it matters, and what to type. Exits with
    6 when something does not work, or is open, because of the host.
    """
    if config_file is None and _USUAL_FILE.exists():
        config_file = _USUAL_FILE
    findings = examine(find_out(config_file, output.control_socket))
    if output.as_json:
        rows = [
            DoctorFinding(
                code=one.code,
                severity=one.severity,
                what=one.what,
                why=one.why,
                remedy=list(one.remedy),
            )
            for one in findings
        ]
        output.json(Diagnosis(checked=list(CHECKS), findings=rows))
    else:
        for one in findings:
            output.line(f"{one.severity}: {one.what} [{one.code}]", bold=True)
            output.line(f"  why: {one.why}")
            for line in one.remedy:
                output.line(f"  > {line}")
            output.line("")
        output.line(f"looked at: {', '.join(CHECKS)}")
        output.line(_summary(findings_count=len(findings)))
    is_wrong = any(one.severity is Severity.WRONG for one in findings)
    return Exit.DEGRADED if is_wrong else Exit.FINE


def _summary(*, findings_count: int) -> str:
    return "nothing was found" if not findings_count else f"findings: {findings_count}"
