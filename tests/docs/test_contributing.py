"""The glossary of CONTRIBUTING and the names in the code are the same words."""

import ast
import re
from pathlib import Path

from tests.sources import SOURCE, trees

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
_GLOSSARY = TEXT.partition("## Glossary")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in _GLOSSARY.splitlines()
    if row.startswith("| ") and not row.startswith("| word")
]

# Rooms whose names are the words of a protocol or of Python itself.
OF_OTHERS = ("wire", "errors", "flags", "cli", "reasons")

NAMED = sorted({name for row in ROWS for cell in row[:2] for name in re.findall(r"`(\w+)`", cell)})
WORDS = {
    word
    for row in ROWS
    for text in (row[0], *re.findall(r"\*([a-z ]+)\*", row[1]))
    for word in re.findall(r"[a-z]+", text.lower())
}
RECIPES = TEXT.partition("## Recipes")[2].partition("\n## ")[0]


def classes() -> list[tuple[Path, str]]:
    """Return the name of each class on the top level of a file, with that file."""
    return [
        (path, node.name)
        for path, tree in trees().items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]


def test_every_name_in_the_glossary_is_a_class_or_a_file() -> None:
    known = {name for _path, name in classes()} | {path.stem for path in trees()}

    assert len(NAMED) > 300
    assert not [name for name in NAMED if name not in known]


def test_every_class_is_named_after_a_word_of_the_glossary() -> None:
    to_name = [
        (path, name)
        for path, name in classes()
        if path.parts[0].removesuffix(".py") not in OF_OTHERS and not name.startswith("_")
    ]
    unnamed = [
        f"{path}: {name}"
        for path, name in to_name
        if name not in NAMED and not words_of(name) & WORDS
    ]

    assert len(to_name) > 400
    assert not unnamed, "give these a word, or the glossary a row:\n" + "\n".join(unnamed)


def words_of(name: str) -> set[str]:
    """Return the words of a class name, in lower case, as they are and without an s at the end."""
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", name)}
    return words | {word.removesuffix("s") for word in words}


def test_recipes_name_files_that_exist() -> None:
    named = {name for name in re.findall(r"`([\w/]+\.(?:py|toml))`", RECIPES) if "NAME" not in name}
    missing = [
        name for name in sorted(named) if not any((top / name).exists() for top in (ROOT, SOURCE))
    ]

    assert named
    assert not missing
