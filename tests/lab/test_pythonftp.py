import pytest

from sallyport.lab import pythonftp

pytestmark = pytest.mark.netns  # it opens a socket, on the loopback


def test_a_server_that_refuses_is_an_error_and_not_a_silence() -> None:
    # Port 1 of the loopback: nobody serves tcpmux any more.
    with pytest.raises(ConnectionRefusedError):
        pythonftp.main(["passive", "download", "127.0.0.1", "1", "u", "p", "name", "/dev/null"])
