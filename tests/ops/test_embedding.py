"""A gateway in a program's own event loop; with real peers in interop/test_embedding.py."""

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.interop.office import configuration

import sallyport
from sallyport.api import InvalidArgument, ProtocolDefinition, Terminating
from sallyport.errors import ConfigErrors


def test_a_file_and_its_text_are_the_same_configuration(tmp_path: Path) -> None:
    file = tmp_path / "sallyport.toml"
    file.write_text(configuration())

    async def rules(source: str | Path) -> list[str]:
        async with sallyport.open_gateway(source) as gateway:
            return [rule.name for rule in gateway.policy.access_rules]

    assert asyncio.run(rules(file)) == asyncio.run(rules(configuration())) == ["office"]


def test_the_programs_own_error_comes_out_as_it_is() -> None:
    async def fail() -> None:
        async with sallyport.open_gateway(configuration()) as gateway:
            gateway.client_session(ip_address("127.0.0.1"))

    with pytest.raises(InvalidArgument):
        asyncio.run(fail())


def test_a_mistake_in_the_configuration_names_its_line() -> None:
    async def open_it() -> None:
        async with sallyport.open_gateway("[gateway]\nnonsense = 1\n"):
            raise AssertionError("it was taken")

    with pytest.raises(ConfigErrors, match="configuration:2: unknown key"):
        asyncio.run(open_it())


def test_after_the_block_nothing_can_be_bound() -> None:
    async def bind_late() -> None:
        async with sallyport.open_gateway(configuration()) as gateway:
            session = gateway.client_session(ip_address("10.0.0.8"))
        await session.allow_future_connect(
            sallyport.Endpoint.parse("203.0.113.9:6000"),
            protocol=ProtocolDefinition("ftp", sallyport.Transport.TCP, 21),
        )

    with pytest.raises(Terminating):
        asyncio.run(bind_late())


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'open_door'"):
        sallyport.open_door  # noqa: B018
