"""Every command line of ours in a document is one that the program understands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from sallyport.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("contrib/**/*.md")]

_BLOCK = re.compile(r"^```(?:console|sh|)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^\s*[#$] (?:sudo )?(sallyport .*)$", re.MULTILINE)
_INLINE = re.compile(r"`(sallyport [a-z][^`]*)`")

# What a document writes where an operator writes something else.
_STANDS_FOR = re.compile(r"\b[A-Z_]+\b|…|\.\.\.")


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command line with its page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.findall(text):
            for line in _PROMPT.findall(block):
                yield page.relative_to(ROOT).as_posix(), line
        for line in _INLINE.findall(text):
            yield page.relative_to(ROOT).as_posix(), line.replace("\n", " ")


def words_of(line: str) -> list[str]:
    """Return the arguments of a command line, up to a pipe, a comment or a redirection."""
    words = shlex.split(line, comments=True)[1:]
    for index, word in enumerate(words):
        if word in {"|", "&", "&&", ">", ">>", "2>&1", "<"}:
            return words[:index]
    return words


def unknown_in(line: str) -> str | None:
    """Return the first verb or option of a command line that does not exist; None where all do."""
    command: click.Command = app
    context = click.Context(app)
    words = words_of(line)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name.rstrip(":,"))
        if found is None and ("/" in name or _STANDS_FOR.search(name)):
            return None  # `list/show/kill`, COMMAND: a way to speak of several
        if found is None:
            return name
        command = found
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    known |= {"--help", "-h"}
    for word in words:
        if word == "--":
            break
        if word.startswith("--") and word.partition("=")[0] not in known:
            return word
    return None


def test_a_command_line_in_a_document_names_verbs_and_options_that_exist() -> None:
    lines = sorted(set(commands()))
    wrong = [
        f"{page}: no {unknown} in {line!r}"
        for page, line in lines
        if (unknown := unknown_in(line)) is not None
    ]

    assert len(lines) > 100
    assert not wrong, "\n".join(wrong)
