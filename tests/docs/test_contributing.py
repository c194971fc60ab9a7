"""The glossary of CONTRIBUTING and the names in the code are the same words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/sallyport"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
_GLOSSARY = TEXT.partition("## Glossary")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in _GLOSSARY.splitlines()
    if row.startswith("| ") and not row.startswith("| word")
]

# Rooms whose names are the words of a protocol or of Python itself.
OF_OTHERS = ("wire", "errors", "flags", "cli", "reasons")


def _classes() -> Iterator[tuple[Path, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield path.relative_to(SOURCE), node.name


CLASSES = list(_classes())
FILES = [path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py"))]
NAMED = sorted({name for row in ROWS for cell in row[:2] for name in re.findall(r"`(\w+)`", cell)})
WORDS = {
    word
    for row in ROWS
    for text in (row[0], *re.findall(r"\*([a-z ]+)\*", row[1]))
    for word in re.findall(r"[a-z]+", text.lower())
}
RECIPES = TEXT.partition("## Recipes")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", NAMED)
def test_every_name_in_the_glossary_is_a_class_or_a_file(name: str) -> None:
    assert name in {name for _path, name in CLASSES} | {path.stem for path in FILES}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param(path, name, id=name)
        for path, name in CLASSES
        if path.parts[0].removesuffix(".py") not in OF_OTHERS and not name.startswith("_")
    ],
)
def test_every_class_is_named_after_a_word_of_the_glossary(path: Path, name: str) -> None:
    own = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", name)}
    own |= {word.removesuffix("s") for word in own}

    assert name in NAMED or own & WORDS, f"{path}: give {name} a word, or the glossary a row"


def test_recipes_name_files_that_exist() -> None:
    named = {name for name in re.findall(r"`([\w/]+\.(?:py|toml))`", RECIPES) if "NAME" not in name}
    missing = [
        name for name in sorted(named) if not any((top / name).exists() for top in (ROOT, SOURCE))
    ]

    assert named
    assert not missing
