"""CBOR as the contract uses it (RFC 8949): strict when read, deterministic when written.

* Written: shortest integers, definite lengths, map keys in ascending order (our maps have small integer keys, for
  which length-first and bytewise order agree; golden bytes in tests/contract pin it).
* Read: no duplicate keys, no indefinite lengths, nothing after the end. Anything else is a `ContractError`.
"""

from __future__ import annotations

from typing import Any

import cbor2

from gridtally_shared.errors import ContractError


def dumps(value: Any) -> bytes:
    """Deterministic bytes of ints, bytes, text, booleans, None, lists and maps with integer keys."""
    return cbor2.dumps(value, canonical=True)


def dumps_ordered(value: Any) -> bytes:
    """`dumps` of what has its map keys in ascending order already: the same bytes in less than half the time."""
    return cbor2.dumps(value)


def loads(data: bytes) -> Any:
    """Read exactly one value. Raises ContractError for malformed or trailing bytes."""
    try:
        decoder = cbor2.loads(data, allow_duplicate_keys=False, allow_indefinite=False)
        trailing = len(cbor2.dumps(decoder)) != len(data)
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(f"not valid CBOR: {error}") from None
    if trailing:
        raise ContractError("the CBOR value is not in its shortest form or has bytes after its end")
    return decoder
