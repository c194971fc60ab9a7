"""A client that is refused all the time does not fill the log, and is counted."""

import json

import pytest
from tests.interop.office import configuration
from tests.netns.kernel_bench import datagrams

from sallyport import limits
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]


def test_a_flood_of_requests_that_rules_refuse_is_ten_records_and_counted(lab: Lab) -> None:
    file = lab.folder / "refusing.toml"
    file.write_text(configuration(protocols=("tftp",)).replace('"allow"', '"deny"'))
    running = RunningGateway(lab, ["--config", str(file)], name="refusing")
    try:
        for _ in range(20):
            with datagrams(lab.client, "0.0.0.0:0") as flooder:
                for _ in range(100):
                    flooder.sendto(b"\0\1file\0octet\0", (str(lab.server.address4), 69))

        def refused() -> int:
            answer = json.loads(running.ask("status", "--json").stdout)
            return int(answer["refusals"].get("denied-by-rule", 0))

        wait_until(
            running.process,
            lambda: refused() >= 10 * limits.REPEATED_RECORDS,
            running.log,
            "not counted",
        )
        lines = [line for line in running.journal() if "denied-by-rule" in line]
    finally:
        running.stop()

    assert len(lines) == limits.REPEATED_RECORDS
