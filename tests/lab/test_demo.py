import pytest

from sallyport.lab.demo import demonstrate
from sallyport.lab.network import standing
from sallyport.lab.servers import why_not

pytestmark = [pytest.mark.netns, pytest.mark.interop]


def test_the_demonstration_shows_the_main_job_and_leaves_nothing() -> None:
    reason = why_not("vsftpd")
    if reason:
        pytest.skip(reason)
    said: list[str] = []
    demonstrate(said.append)
    lines = [line.split("|", 1)[-1].strip() for line in said]

    # Once without the gateway, once with it, as curl says it and as lftp does.
    assert sum(line.startswith("PORT 10,0,0,8,") for line in lines) == 3
    assert sum(line.startswith("PORT 203,0,113,1,") for line in lines) == 2
    assert lines.count("16 MiB, checksum right") == 3
    assert any("binding.refused" in line and "address-not-allowed" in line for line in lines)
    assert lines[-1] == "none"
    assert standing("demo") == []
