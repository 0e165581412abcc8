"""How a client makes itself known to a meter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from secrets import token_bytes

from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.hls import HLS
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Login:
    """`secret` is the password (LLS) or the HLS secret; GMAC takes the keys of the `Security` instead. Never shown.

    `preestablished`: the meter keeps this association open for ever, so nothing is asked (push and display clients).
    `entropy` makes challenges and dedicated keys; tests may give their own. Raises ValueError for ECDSA."""

    mechanism: Mechanism = Mechanism.NONE
    secret: bytes = field(default=b"", repr=False)
    preestablished: bool = False
    entropy: Callable[[int], bytes] = field(default=token_bytes, repr=False)

    def __post_init__(self) -> None:
        if self.mechanism is Mechanism.HLS_ECDSA:
            raise ValueError("authentication by signature (mechanism 7) is not supported")

    @property
    def is_hls(self) -> bool:
        return self.mechanism in HLS
