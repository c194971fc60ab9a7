"""The table of operations, against what answers them."""

from sallyport.ops.control.handlers import Handlers
from sallyport.ops.control.onlookers import Onlookers
from sallyport.ops.control.operations import OPERATIONS, Access

# Answered by the supervisor itself.
CHANGES = {"reload", "drain", "takeover", "upgrade"}
OF_SUPERVISOR = {"reasons.list", "reasons.show", *CHANGES}

# Asked of each worker for itself, and never of a gateway.
FOR_METRICS = {"measure"}


def test_every_operation_has_a_handler_and_every_handler_an_operation() -> None:
    handlers = Handlers.__new__(Handlers)
    handlers._onlookers = Onlookers.__new__(Onlookers)
    streams = {one.name for one in OPERATIONS.values() if one.is_stream}

    assert handlers.table().keys() - FOR_METRICS == OPERATIONS.keys() - OF_SUPERVISOR - streams
    assert handlers.streams().keys() == streams


def test_what_changes_something_is_not_asked_for_by_get() -> None:
    changing = {one.name for one in OPERATIONS.values() if one.access is Access.CHANGE}

    assert changing == CHANGES | {"sessions.kill", "bindings.kill", "transfers.kill"}


def test_every_parameter_of_a_path_is_declared_and_required() -> None:
    for one in OPERATIONS.values():
        in_path = {word[1:-1] for word in one.path.split("/") if word.startswith("{")}
        assert in_path <= {parameter.name for parameter in one.parameters if parameter.is_required}
