"""The OpenAPI 3.1 document, made from the table of operations and the schemas."""

from __future__ import annotations

import re
from typing import Any

from gridtally_cloud.web.api.operations import OPERATIONS, Operation
from gridtally_cloud.web.api.schemas import SCHEMAS, schema_of

BASE = "/api/v1"
_PROBLEM_TEXTS = ("type", "title", "detail", "instance", "at")
_PROBLEM = {
    "type": "object",
    "properties": {"status": {"type": "integer"}} | {name: {"type": "string"} for name in _PROBLEM_TEXTS},
    "required": ["type", "title", "status"],
}
_PROBLEM_ANSWER = {
    "description": "a problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def document() -> dict[str, Any]:
    """The whole document as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(open_path(operation.path), {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "gridtally", "version": "1", "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": BASE}],
        "paths": paths,
        "components": {
            "schemas": {name: schema_of(fields) for name, fields in SCHEMAS.items()} | {"Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def open_path(path: str) -> str:
    """Flask's `<int:meter_no>` as OpenAPI's `{meter_no}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)


def _operation(o: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": o.name,
        "summary": o.summary,
        "parameters": _parameters(o),
        "responses": {
            str(o.status): {"description": "done", "content": {"application/json": {"schema": _answer(o)}}},
            "default": _PROBLEM_ANSWER,
        },
        "security": [{"token": [o.scope]}] if o.scope else [],
    }
    if o.body:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(o.body)}}}
    return found


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"} if name in SCHEMAS else {"type": "object"}


def _answer(o: Operation) -> dict[str, Any]:
    if not o.paged:
        return _ref(o.answer)
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _ref(o.answer)}, "next": {"type": ["string", "null"]}},
        "required": ["items", "next"],
    }


def _parameters(o: Operation) -> list[dict[str, Any]]:
    found = [_parameter(name, "path", "integer" if kind else "string", True) for kind, name in
             re.findall(r"<(int:)?(\w+)>", o.path)]  # fmt: skip
    if o.span:
        found += [_parameter("from", "query", "string"), _parameter("to", "query", "string")]
    if o.paged:
        found += [_parameter("cursor", "query", "string"), _parameter("limit", "query", "integer")]
    if o.export:
        found.append(_parameter("direction", "query", "string"))
    if o.table:
        found.append(_parameter("format", "query", "string"))
    if o.method == "POST" and o.keyed:
        found.append(_parameter("Idempotency-Key", "header", "string", True))
    return found


def _parameter(name: str, place: str, kind: str, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": kind}}
