"""Which instruments of an account and epoch were used: a contiguous prefix and a bitmap above it, as in TCP SACK.

Credit commutes, so an instrument may come early: accepted once inside `WIDTH` above the prefix (prepayment.md 5.3).
"""

from __future__ import annotations

from gridtally_shared.records import dataclass

WIDTH = 64


@dataclass(frozen=True, slots=True)
class UsedWindow:
    """`prefix`: every gseq up to it is used. Bit i of `bitmap`: gseq prefix + 1 + i is used."""

    prefix: int = 0
    bitmap: int = 0

    def is_used(self, gseq: int) -> bool:
        return gseq <= self.prefix or bool(self.bitmap >> (gseq - self.prefix - 1) & 1)

    def accepts(self, gseq: int) -> bool:
        return gseq >= 1 and not self.is_used(gseq) and gseq <= self.prefix + WIDTH

    def use(self, gseq: int) -> UsedWindow:
        """The window after using `gseq`. Raises ValueError when it does not accept it."""
        if not self.accepts(gseq):
            raise ValueError(f"instrument {gseq} is used or outside the window above {self.prefix}")
        prefix, bitmap = self.prefix, self.bitmap | 1 << (gseq - self.prefix - 1)
        while bitmap & 1:
            prefix, bitmap = prefix + 1, bitmap >> 1
        return UsedWindow(prefix, bitmap)
