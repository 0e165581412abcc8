from typing_extensions import Buffer

from gridtally_native._records import Demand, RegisterIntervals, TouTotals

def demand_windows(
    energy_wh: Buffer, flags: Buffer, period_ms: int, windows: int, *, sliding: bool = False
) -> Demand: ...
def tou_totals(energy_wh: Buffer, flags: Buffer, rates: Buffer, n_rates: int) -> TouTotals: ...
def lay_on_grid(
    from_ms: Buffer, to_ms: Buffer, energy_wh: Buffer, flags: Buffer, start_ms: int, period_ms: int, n: int
) -> RegisterIntervals: ...
