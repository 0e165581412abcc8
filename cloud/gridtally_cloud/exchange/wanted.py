"""What a schedule or a request wants of the data: three kinds, as ETSI TR 102 691 5.2.3.1 names them."""

from __future__ import annotations

from gridtally_shared.records import dataclass

READS, INTERVALS, PROFILE = KINDS = ("reads", "intervals", "profile")
"""Register reads of a day; intervals of energy; every interval quantity that is held."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`quantities` empty: all the kind and the format carry. `by_label`: usage points are named by label, where they have one."""

    kind: str
    format: str
    quantities: tuple[str, ...] = ()
    by_label: bool = False
