import pytest
from tests.docs import reference

from sallyport.reasons import REASONS


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    page = reference.FOLDER.joinpath(name).read_text(encoding="utf-8")
    assert page == reference.PAGES[name](), "run `make reference`"


@pytest.mark.parametrize(("key", "meaning"), list(reference.configuration_keys()))
def test_every_configuration_key_has_a_meaning(key: str, meaning: str) -> None:
    assert meaning.endswith("."), key


def test_every_key_that_a_reason_names_exists() -> None:
    known = {key for key, _ in reference.configuration_keys()}
    named = {reason.key for reason in REASONS.values() if reason.key is not None}
    assert named <= known
