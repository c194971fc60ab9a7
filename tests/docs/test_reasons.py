import re
from fnmatch import fnmatchcase

from tests import reason_literals

from sallyport.reasons import REASONS, Group, nearest


def test_every_reason_that_the_source_writes_is_registered() -> None:
    unknown = [
        f"{one.where}: {one.code}"
        for one in reason_literals.found()
        if not any(fnmatchcase(code, one.code) for code in REASONS)
    ]
    assert not unknown, "register these in sallyport/reasons:\n" + "\n".join(unknown)


def test_every_registered_reason_is_one_that_the_source_writes() -> None:
    words = reason_literals.words()
    patterns = {one.code for one in reason_literals.found() if one.code.endswith("*")}
    unused = [
        code
        for code in REASONS
        if code not in words and not any(fnmatchcase(code, one) for one in patterns)
    ]
    assert not unused


def test_a_reason_says_in_whole_sentences_what_happened_what_it_means_and_what_to_do() -> None:
    broken = [
        f"{code}: {text!r}"
        for code, reason in REASONS.items()
        for text in (reason.happened, reason.means, reason.remedy)
        if not re.fullmatch(r"[A-Z`].*\.", text)
    ]
    assert not broken, "\n".join(broken)


def test_a_reason_of_policy_that_refuses_names_the_key_or_says_that_there_is_none() -> None:
    keyless = {one.code for one in REASONS.values() if one.group is Group.POLICY and not one.key}
    assert keyless == {
        "allowed-by-rule",
        "peer-is-gateway",
        "client-is-gateway",
        "peer-is-never-served",
        "refused-by-rule",
        "peer-is-not-admitted",
    }


def test_a_misspelt_code_finds_the_right_one() -> None:
    assert nearest("client-port-below-minimun")[0] == "client-port-below-minimum"
    assert nearest("xyzzy") == []
