"""The drawings that are checked in are those that are drawn, and a document shows each."""

import re
from xml.etree import ElementTree as ET

import pytest
from tests.docs import drawings
from tests.docs.console import PAGES, ROOT


@pytest.mark.parametrize("name", drawings.PICTURES)
def test_a_drawing_is_as_it_is_drawn_and_has_words_for_who_does_not_see_it(name: str) -> None:
    text = (drawings.FOLDER / name).read_text(encoding="utf-8")

    assert text == drawings.PICTURES[name]().svg(), "run `make reference`"
    root = ET.fromstring(text)  # noqa: S314 - our own
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text


def test_every_picture_is_shown_by_a_document_that_says_what_it_shows() -> None:
    shown = {
        picture: said
        for page in PAGES
        for said, picture in re.findall(
            r"!\[([^\]]*)\]\([^)]*pictures/([^)]+)\)", (ROOT / page).read_text(encoding="utf-8")
        )
    }
    assert set(shown) == {file.name for file in drawings.FOLDER.iterdir()}
    assert all(shown.values())
