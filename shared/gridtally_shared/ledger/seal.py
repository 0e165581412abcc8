"""One hash over everything a replay of a journal yields: what a signed checkpoint vouches for beside the head of the chain.

* Edge and cloud make it from their own replays; the cloud signs a checkpoint only where both are the same. So a journal may begin with
  the state of such a checkpoint once the entries below it are let go, and no pool in it can be another one.
* A field that has its default and a pool that holds nothing are left out: a field of a later version changes nothing until it is used.

Source: prepayment.md 5.5.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

from gridtally_shared.ledger.replay import LedgerState

_PLAIN = tuple((f.name, f.default) for f in fields(LedgerState) if f.name not in ("head", "pools", "used"))


def seal_of(state: LedgerState) -> bytes:
    """SHA-256 of the state."""
    plain = {name: value for name, default in _PLAIN if (value := getattr(state, name)) != default}
    pools = {str(int(pool)): nano for pool, nano in state.pools.items() if nano}
    whole = plain | {"head": state.head.hex(), "pools": pools, "used": [state.used.prefix, state.used.bitmap]}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).digest()
