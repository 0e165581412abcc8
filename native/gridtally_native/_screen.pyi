from collections.abc import Sequence

from typing_extensions import Buffer

def screen_days(
    values: Buffer,
    quality: Buffer,
    present: Buffer,
    ends: Sequence[int],
    bottom: int,
    top: int,
    spike_floor: int,
    spike_permille: int,
    stuck_run: int,
    zero_run: int,
    marks: int,
) -> bytes: ...
