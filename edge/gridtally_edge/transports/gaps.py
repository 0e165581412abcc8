"""Learn how much silence a meter needs before it is addressed: pure.

* Starts at the line's gap. When the first request after another device spoke is lost and its repetition answered, the
  gap of that meter doubles, 50 ms at most. Two hundred first requests in a row without loss halve it again.

Source: protocols.md section 7, "next request too early".
"""

from __future__ import annotations

from dataclasses import field

from gridtally_edge.transports.settings import MAX_GAP_S
from gridtally_shared.records import dataclass

FORGET_AFTER = 200


@dataclass(slots=True)
class GapTable:
    """Learnt gaps in seconds by meter; a meter without an entry uses the line's gap."""

    _learnt_s: dict[str, float] = field(default_factory=dict)
    _clean: dict[str, int] = field(default_factory=dict)

    def gap_s(self, meter_key: str, line_gap_s: float) -> float:
        return max(line_gap_s, self._learnt_s.get(meter_key, 0.0))

    def learnt_ms(self) -> tuple[tuple[str, float], ...]:
        """Meter and silence in milliseconds, of those that need more than their line."""
        return tuple(sorted((meter, 1000 * gap_s) for meter, gap_s in dict(self._learnt_s).items()))

    def first_request_answered(self, meter_key: str, tries: int, line_gap_s: float) -> None:
        """The first request after a change of device took `tries` tries."""
        if tries > 1:
            base_s = max(self.gap_s(meter_key, line_gap_s), 0.001)
            self._learnt_s[meter_key] = min(MAX_GAP_S, 2 * base_s)
            self._clean[meter_key] = 0
        elif meter_key in self._learnt_s:
            self._count_clean(meter_key)

    def _count_clean(self, meter_key: str) -> None:
        self._clean[meter_key] = (self._clean[meter_key] + 1) % FORGET_AFTER
        if self._clean[meter_key] == 0:
            self._learnt_s[meter_key] /= 2
