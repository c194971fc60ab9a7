"""From a source to a configuration, in a worker: only there are filters imported."""

from dataclasses import replace
from pathlib import Path

from sallyport.errors import ConfigError
from sallyport.ops.config.load import Configuration, from_interfaces, parse, read_text
from sallyport.ops.config.review import HostFacts, review
from sallyport.ops.config.toml_lines import line_map
from sallyport.ops.interfaces import addresses_of, lasting_addresses, local_addresses, vrfs
from sallyport.ops.processes.messages import ConfigSource


def file_source(file: Path, control_socket: Path | None = None) -> ConfigSource:
    """Return what the file at an absolute path says now; raises ConfigErrors."""
    return ConfigSource(file=str(file), text=read_text(file), control_socket=_text(control_socket))


def interface_source(
    internal: str, external: str, control_socket: Path | None = None
) -> ConfigSource:
    """Return a source without a file: between two interfaces."""
    return ConfigSource(internal=internal, external=external, control_socket=_text(control_socket))


def read_source(source: ConfigSource) -> Configuration:
    """Return what a source means; raises ConfigErrors, or StartupError for interfaces."""
    if source.file is None:
        configuration = from_interfaces(source.internal, source.external, addresses_of)
    else:
        configuration = parse(source.text, source.file)
    if source.control_socket is None:
        return configuration
    gateway = replace(configuration.gateway, control_socket=Path(source.control_socket))
    return replace(configuration, gateway=gateway)


def doubts_about(source: ConfigSource, configuration: Configuration) -> tuple[ConfigError, ...]:
    """Return what `check-config` warns of: what the gateway runs with, though hardly as meant."""
    if source.file is None:
        return ()
    host = HostFacts(lasting_addresses(), local_addresses(), vrfs())
    return review(configuration, source.file, line_map(source.text), host).warnings


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
