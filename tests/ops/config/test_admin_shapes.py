import pytest

from sallyport.errors import ConfigErrors
from sallyport.ops.config.load import Configuration, parse

NETWORKS = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
"""


def read(text: str) -> Configuration:
    return parse(NETWORKS + text, "s.toml")


def test_without_the_tables_nothing_listens() -> None:
    configuration = read("")

    assert (configuration.admin, configuration.metrics) == (None, None)


@pytest.mark.parametrize("listen", ["127.0.0.1:8470", "[::1]:8470"])
def test_the_admin_api_listens_on_loopback_for_who_knows_a_token(listen: str) -> None:
    admin = read(f'[admin]\nlisten = "{listen}"\nmonitor_token_file = "/etc/t"').admin

    assert admin is not None
    assert (admin.listen, admin.control_token_file, admin.monitor_token_file) == (
        listen,
        None,
        "/etc/t",
    )


def test_metrics_may_be_asked_for_from_anywhere() -> None:
    metrics = read('[metrics]\nlisten = "10.0.0.1:9470"').metrics

    assert metrics is not None
    assert metrics.listen == "10.0.0.1:9470"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[admin]\nlisten = "10.0.0.1:1"\ncontrol_token_file = "/t"', "no loopback address"),
        ('[admin]\nlisten = "127.0.0.1:1"', "without a token there is no access"),
        ('[admin]\nlisten = "127.0.0.1:1"\ncontrol_token_file = "t"', "not an absolute path"),
        ('[admin]\nlisten = "127.0.0.1:0"\ncontrol_token_file = "/t"', "has no port"),
        ('[admin]\ncontrol_token_file = "/t"', "has no key 'listen'"),
        ('[metrics]\nlisten = "9470"', "listen cannot be '9470'; write an address and a port"),
        ('[metrics]\nlistens = "127.0.0.1:9"', "unknown key 'listens' in metrics"),
    ],
)
def test_what_cannot_work_is_told_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(ConfigErrors, match=told) as caught:
        read(text)

    assert caught.value.errors[0].line >= 6
