"""The row of one meter's load limit: what is watched here, how long it stands, and what the meter's own limiter holds."""

from __future__ import annotations

from typing import ClassVar

from gridtally_edge.prepay.rows import Row
from gridtally_shared.records import dataclass


@dataclass(slots=True)
class LimiterRow(Row):
    """`base_*`: where the averaging window of the demand began, by the clock and by the monotonic one (of start `boot_id`).
    `mean_w` is the newest average, of `mean_ms`; `over_ms` for how long it has been above the limit.

    `stands` names what the stopwatch runs for, `stood_ms` for how long, looked at last at `seen_ms`, `seen_mono_ms`.

    `fit`: '' not known, 'meter' (it takes limits), 'none' (it has none). `asked_id` is the task under way, `asked_w` what it
    writes, 0 no limit; `set_w` what was read back from the meter `serial`, None not known. `events_id` asks the meter why it
    opened, since `events_ms`."""

    TABLE: ClassVar[str] = "limiter"
    KEY: ClassVar[tuple[str, ...]] = ("meter_no",)

    meter_no: int
    base_wh: int | None = None
    base_ms: int = 0
    base_seen_ms: int = 0
    base_mono_ms: int = 0
    boot_id: bytes = b""
    mean_w: int | None = None
    mean_ms: int = 0
    over_ms: int = 0
    stands: str = ""
    stood_ms: int = 0
    seen_ms: int = 0
    seen_mono_ms: int = 0
    serial: str = ""
    fit: str = ""
    asked_id: bytes = b""
    asked_w: int = 0
    asked_ms: int = 0
    due_ms: int = 0
    tries: int = 0
    set_w: int | None = None
    events_id: bytes = b""
    events_ms: int = 0


SCHEMA: tuple[str, ...] = (
    """CREATE TABLE limiter (
        meter_no INTEGER PRIMARY KEY, base_wh INTEGER, base_ms INTEGER NOT NULL, base_seen_ms INTEGER NOT NULL,
        base_mono_ms INTEGER NOT NULL, boot_id BLOB NOT NULL, mean_w INTEGER, mean_ms INTEGER NOT NULL, over_ms INTEGER NOT NULL,
        stands TEXT NOT NULL, stood_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, seen_mono_ms INTEGER NOT NULL,
        serial TEXT NOT NULL, fit TEXT NOT NULL, asked_id BLOB NOT NULL, asked_w INTEGER NOT NULL, asked_ms INTEGER NOT NULL,
        due_ms INTEGER NOT NULL, tries INTEGER NOT NULL, set_w INTEGER, events_id BLOB NOT NULL, events_ms INTEGER NOT NULL
    ) STRICT""",
)
