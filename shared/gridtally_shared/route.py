"""The way to a meter through the network, as its concentrator knows it: part of the answer to a status check (I2-IE16).

* `via` names the nodes between, nearest to the meter first; empty: directly at the concentrator or its coordinator.
* `node` and `short` are of a mesh or powerline network: its lasting identity and its present short address. On a bus or an IP
  link there is neither, `address` says where it is.
"""

from __future__ import annotations

from gridtally_shared.contract.codec import key
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """`quality` is link quality 0..255, 0: unknown."""

    dcu: str = key(0)
    line: str = key(1)
    address: str = key(2, "")
    node: str = key(3, "")
    short: str = key(4, "")
    hops: int = key(5, 0)
    via: tuple[str, ...] = key(6, ())
    quality: int = key(7, 0)
