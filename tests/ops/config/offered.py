"""Filters of others: the text of one, and packages that offer it by entry point."""

from importlib.metadata import entry_points
from itertools import count
from pathlib import Path

import pytest

from sallyport.ops.config.catalogue import GROUP, Catalogue

TALK = '''
from dataclasses import dataclass
from typing import Literal

from sallyport.api import ApplicationFilter, ProtocolDefinition, Transport


@dataclass(frozen=True)
class Keys:
    volume: Literal["low", "high"] = "low"
    names: tuple[str, ...] = ()


class Talk(ApplicationFilter):
    """Lets people talk.

    And more of it.
    """

    name = "talk"
    api_version = 1
    protocols = (ProtocolDefinition("talk", Transport.TCP, 5005),)
    settings = Keys

    def __init__(self, keys):
        self.keys = keys

    def attach_to_session(self, session):
        raise NotImplementedError
'''

SCANNER = '''
from sallyport.api import ApplicationFilter, BindTcp, Hooks, Scope


class Scanner(ApplicationFilter):
    """Looks at everything."""

    name = "scanner"
    api_version = 1
    hooks = Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL | Scope.SECONDARY)

    def attach_to_session(self, session):
        raise NotImplementedError
'''

_modules = count(1)


def write(path: Path, text: str) -> Path:
    """Write a filter file that nobody else can change, whatever the umask."""
    path.write_text(text)
    path.chmod(0o644)
    return path


def offer(folder: Path, text: str, entry: str, *, package: str = "acme 1.2") -> str:
    """Lay a package into `folder` that offers `entry`, such as "talk = Talk", from a module.

    Gives the module's name, which no other has: Python imports each once.
    """
    module = f"offered_{next(_modules)}"
    (folder / f"{module}.py").write_text(text)
    name, version = package.split()
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    filter_name, _, attribute = entry.partition(" = ")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{filter_name} = {module}:{attribute}\n")
    return module


def catalogue(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """Return what is offered when `folder` is where Python looks too."""
    monkeypatch.syspath_prepend(folder)
    return Catalogue(entry_points(group=GROUP))
