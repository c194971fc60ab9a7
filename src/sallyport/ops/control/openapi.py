"""The OpenAPI 3.1 document of the admin API, out of its operations and their documents; pure."""

from typing import Any

import msgspec

import sallyport
from sallyport.ops.control.operations import CONFLICT, OPERATIONS, Access, Operation, Parameter
from sallyport.ops.control.schema import Problem

_JSON_TYPES = {str: "string", int: "integer"}


def openapi() -> dict[str, Any]:
    """Return the document: JSON, each schema by the name of its class in `ops.control.schema`."""
    answers = sorted({one.answer for one in OPERATIONS.values()} | {Problem}, key=_name)
    schemas, components = msgspec.json.schema_components(
        answers,
        schema_hook=_anything,
        ref_template="#/components/schemas/{name}",
    )
    by_answer = dict(zip(answers, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS.values():
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, by_answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sallyport",
            "version": sallyport.__version__,
            "description": "The admin API: what `sallyport` asks, and other programs may.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # At the UNIX socket the caller's credentials decide, and no token is needed.
        "security": [{}, {"token": []}],
    }


def _anything(_type: type) -> dict[str, str]:
    """Return the schema of `object`: the settings of a filter are the filter's own."""
    return {"description": "Any value."}


def _name(answer: type) -> str:
    return answer.__name__


def _operation(one: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    media = "text/event-stream" if one.is_stream else "application/json"
    # An event stream is text; what each `data:` line holds cannot be said in OpenAPI 3.1.
    schema = {"type": "string"} if one.is_stream else schemas[one.answer]
    detail = f" Each event is a {one.answer.__name__}." if one.is_stream else ""
    content = {media: {"schema": schema}}
    conflict = "What it says is not in force; the same document says why."
    conflicts = {str(CONFLICT): {"description": conflict, "content": content}}
    return {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"{one.summary}{detail} Needs the right to {one.access.name.lower()}.",
        "tags": ["change" if one.access is Access.CHANGE else "read"],
        "parameters": [_parameter(one, parameter) for parameter in one.parameters],
        "responses": {
            "200": {"description": one.summary, "content": content},
            **(conflicts if one.may_conflict else {}),
            "default": {
                "description": "Refused or failed: the code says why.",
                "content": {"application/json": {"schema": schemas[Problem]}},
            },
        },
    }


def _parameter(one: Operation, parameter: Parameter) -> dict[str, Any]:
    is_in_path = f"{{{parameter.name}}}" in one.path
    return {
        "name": parameter.name,
        "in": "path" if is_in_path else "query",
        "description": parameter.meaning,
        "required": parameter.is_required,
        "schema": {"type": _JSON_TYPES[parameter.kind]},
    }
