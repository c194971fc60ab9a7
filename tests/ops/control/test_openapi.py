"""The OpenAPI document, by itself and against a server that is asked what it allows."""

from sallyport.ops.control.openapi import openapi
from sallyport.ops.control.operations import OPERATIONS


def test_every_operation_is_in_it() -> None:
    found = {
        (operation["operationId"], method.upper(), path)
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
    }

    assert found == {(one.name, one.method, one.path) for one in OPERATIONS.values()}


def test_every_document_is_described_by_its_fields() -> None:
    schemas = openapi()["components"]["schemas"]

    assert schemas["Problem"]["required"] == ["code", "message"]
    assert schemas["Sessions"]["properties"]["sessions"]["items"] == {
        "$ref": "#/components/schemas/SessionRow"
    }
