"""One word for each thing: a reader who searches for a class finds one."""

import ast
from collections import defaultdict

from tests.sources import trees

SAME_ROLE = {
    "Flow": "one flow through a pinhole, on the kernel's and on the user-mode data path",
}
"""Names that two classes may share, with the role that both play."""


def test_no_two_classes_share_a_name_unless_they_play_the_same_role() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(file))
    shared = {name: where for name, where in places.items() if len(where) > 1}

    assert set(shared) == set(SAME_ROLE), shared
