import errno

import pytest
from tests.core.office import Office

from sallyport.frontends.unreachable import end_unreachable
from sallyport.reasons import REASONS


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "server-timed-out"),
        (OSError(errno.ETIMEDOUT, "timed out"), "server-timed-out"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "server-refused-connection"),
        (OSError(errno.EHOSTUNREACH, "no route"), "no-route-to-server"),
        (OSError(errno.ENETUNREACH, "no route"), "no-route-to-server"),
        (OSError(errno.EADDRNOTAVAIL, "not available"), "server-unreachable"),
        (OSError(), "server-unreachable"),
    ],
)
def test_a_server_that_cannot_be_reached_is_one_record_that_stands_alone(
    error: OSError, reason: str
) -> None:
    office = Office()
    primary = office.admit()

    end_unreachable(primary, error)

    (record,) = (f for event, f in office.world.journal.records if event == "connect.failed")
    assert record["reason"] == reason
    assert record["error"]
    assert (record["client"], record["server"]) == (primary.client, primary.server)
    assert record["rule"] == primary.rule.name
    assert office.reasons("connect.closed") == [reason]
    assert reason in REASONS
