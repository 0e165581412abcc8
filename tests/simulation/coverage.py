"""Which transitions of the engine's table the worlds go through, so that a seed's silence about one of them is not taken for a proof.

The engine is asked as ever; each answer is looked at on its way. What a copy of a box is told again (`twin`) counts too.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from gridtally_edge.prepay import supply
from gridtally_shared.prepay.engine import Step
from gridtally_shared.prepay.transitions import TABLE

EVERY = tuple(row.id for row in TABLE)


@contextlib.contextmanager
def transitions() -> Iterator[Counter[str]]:
    """How often each transition fires, by its id, while the block runs."""
    fired, real = Counter[str](), supply.advance

    def looked_at(*asked: Any) -> Step:
        step = real(*asked)
        fired.update(one.id for one in step.fired)
        return step

    supply.advance = looked_at
    try:
        yield fired
    finally:
        supply.advance = real


def told(fired: Mapping[str, int]) -> str:
    """The ones that fired, by number; the others by name."""
    never = [name for name in EVERY if not fired.get(name)]
    return f"{len(EVERY) - len(never)} of {len(EVERY)} transitions fired; never: {' '.join(never) or 'none'}"
