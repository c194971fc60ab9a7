import pytest
from tests.docs import reference

from sallyport.reasons import REASONS


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    page = reference.FOLDER.joinpath(name).read_text(encoding="utf-8")
    assert page == reference.PAGES[name](), "run `make reference`"


def test_every_configuration_key_has_a_meaning() -> None:
    meanings = dict(reference.configuration_keys())

    assert len(meanings) > 50
    assert not [key for key, meaning in meanings.items() if not meaning.endswith(".")]


def test_every_key_that_a_reason_names_exists() -> None:
    known = {key for key, _ in reference.configuration_keys()}
    named = {reason.key for reason in REASONS.values() if reason.key is not None}
    assert named <= known
