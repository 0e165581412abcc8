"""The AsyncAPI 3 document of the contract, generated from CHANNELS: `python -m gridtally_shared.contract.asyncapi`.

Checked in as docs/asyncapi.json; a test compares it with a fresh one.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import CHANNELS, Channel, Direction

_TYPES: dict[Any, dict[str, Any]] = {
    int: {"type": "integer", "format": "int64"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    bytes: {"type": "string", "format": "binary"},
}


def document() -> dict[str, Any]:
    """The whole document as JSON values."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "gridtally edge to cloud",
            "version": f"{m.CONTRACT_VERSION}.0.0",
            "description": "MQTT 5, QoS 1, nothing retained. CBOR maps with integer keys, named by x-key.",
        },
        "defaultContentType": "application/cbor",
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {channel.name: _operation(channel) for channel in CHANNELS},
        "components": {"schemas": {cls.__name__: _schema(cls) for cls in _all_classes()}},
    }


def text() -> str:
    return json.dumps(document(), indent=1) + "\n"


def _channel(channel: Channel) -> dict[str, Any]:
    content = "application/cose; cose-type=cose-sign1" if channel.signed else "application/cbor"
    return {
        "address": channel.pattern,
        "description": channel.about,
        "parameters": {"id": {"description": "the DCU, or the client id of a box that asks to be provisioned"}},
        "messages": {
            channel.message.__name__: {
                "contentType": content,
                "payload": {"$ref": f"#/components/schemas/{channel.message.__name__}"},
            }
        },
        "x-requirements": list(channel.requirements),
        **({"x-lane": channel.lane.name.lower()} if channel.lane else {}),
    }


def _operation(channel: Channel) -> dict[str, Any]:
    """Seen from the cloud: it receives what goes up."""
    action = "receive" if channel.direction is Direction.UP else "send"
    return {"action": action, "channel": {"$ref": f"#/channels/{channel.name}"}}


def _all_classes() -> list[type]:
    found: dict[str, type] = {}

    def walk(cls: Any) -> None:
        if cls.__name__ in found:
            return
        found[cls.__name__] = cls
        for hint in typing.get_type_hints(cls).values():
            for part in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(part):
                    walk(part)

    for cls in [c.message for c in CHANNELS] + list(m.ENTRY_TYPES.values()):
        walk(cls)
    return [found[name] for name in sorted(found)]


def _schema(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = sorted(dataclasses.fields(cls), key=lambda f: f.metadata["key"])
    properties = {f.name: {**_type(hints[f.name]), "x-key": f.metadata["key"]} for f in fields}
    required = [f.name for f in fields if f.default is dataclasses.MISSING]
    about = " ".join((cls.__doc__ or "").split())
    return {"type": "object", "description": about, "properties": properties, "required": required}


def _type(hint: Any) -> dict[str, Any]:
    origin = typing.get_origin(hint)
    if origin is tuple:
        return {"type": "array", "items": _type(typing.get_args(hint)[0])}
    if origin in (types.UnionType, typing.Union):
        return _type(typing.get_args(hint)[0])
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"#/components/schemas/{hint.__name__}"}  # type: ignore[union-attr]
    return dict(_TYPES[hint])


if __name__ == "__main__":
    print(text(), end="")
