"""What the journals of prepaid accounts take on the disk, and what it costs to let their old part go.

    python edge/bench/journal_size.py --meters 20 --days 12 --keep-days 6

Each meter is read every 15 minutes and charged; each day the receipts and the countersigned checkpoints come, as from the cloud. Sizes
are pages of the tables (dbstat), with what is free in them; `let go` is the time of the ticks that did it, by the wall.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "tests")]

from gridtally_edge.journal.sqlite import transaction  # noqa: E402
from gridtally_edge.prepay import events as p  # noqa: E402
from gridtally_edge.prepay.core import Identity, PrepayCore  # noqa: E402
from gridtally_edge.prepay.recovery_rows import CheckpointRow  # noqa: E402
from gridtally_edge.prepay.rows import some  # noqa: E402
from gridtally_shared.contract.messages import Lane  # noqa: E402
from gridtally_shared.signing import KeySigner, sign1  # noqa: E402
from support.prepay_bench import DAY_MS, SIGNER, Bench, tariff  # noqa: E402

INTERVAL_MS, A_DAY, WH, MINUTE_MS = 900_000, 96, 250, 60_000
TABLES = ("journal", "checkpoint", "outbox_entry")


@dataclass
class Signed(Bench):
    """A bench whose core signs checkpoints; the cloud's part is done by hand."""

    keep_days: int = 6
    ticks_s: list[float] = field(default_factory=list)

    def open(self) -> None:
        super().open()
        journal_key = KeySigner.from_seed(b"j" * 32)
        identity = Identity("dcu-1", {SIGNER.key_id: SIGNER.public}, bytes(16), journal_key, keep_journal_ms=self.keep_days * DAY_MS)
        self.core = PrepayCore(self.db, identity)
        self.core.start(self.now_ms)

    def answer(self) -> None:
        """What the cloud says in an evening: receipts, and its signature below each checkpoint."""
        for row in some(self.db, CheckpointRow, "WHERE cloud = x''"):
            self.tell(p.CheckpointSigned(sign1(SIGNER, "checkpoint", row.payload)))
        head = next(h for h in self.core.outbox.heads() if h.lane == Lane.URGENT)
        with transaction(self.db):
            self.core.outbox.receipt(head.stream_id, head.lane, head.next_seq - 1, self.now_ms)

    def day(self, register_wh: int) -> int:
        for _ in range(A_DAY):
            self.now_ms += INTERVAL_MS
            register_wh += WH
            self.trust()
            self.read_all(register_wh)
            self.tick()
            self.effects.clear()
        self.answer()
        return register_wh

    def tick(self) -> None:
        since = time.perf_counter()
        self.tell(p.Tick())
        self.ticks_s.append(time.perf_counter() - since)

    def pages(self) -> dict[str, int]:
        query = "SELECT sum(pgsize) FROM dbstat WHERE name = ?"
        return {name: int(self.db.execute(query, (name,)).fetchone()[0] or 0) for name in TABLES}


def main() -> int:
    parser = argparse.ArgumentParser(description="Size of the journals.", epilog="example: journal_size.py --meters 20 --days 12")
    parser.add_argument("--meters", type=int, default=20)
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--keep-days", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Signed(Path(folder), options.meters, tariffs=(tariff(fixed_per_day="2"),), keep_days=options.keep_days)
        for number in range(1, options.meters + 1):
            bench.credit(number, "100000")
        register_wh, before, meters = 1_000_000, bench.pages(), options.meters
        for day in range(1, options.days + 1):
            register_wh = bench.day(register_wh)
            (entries,) = bench.db.execute("SELECT count(*) FROM journal").fetchone()
            now, (opened,) = bench.pages(), bench.db.execute("SELECT count(*) FROM journal_opening").fetchone()
            each = ", ".join(f"{name} {(now[name] - before[name]) / meters:.0f} B" for name in TABLES)
            print(f"day {day:3}: {entries / meters:7.0f} entries a meter; a meter: {each}; {opened} journals begin with a checkpoint")
        ticks = sorted(bench.ticks_s)
        print(f"ticks: median {ticks[len(ticks) // 2] * 1e3:.1f} ms, longest {ticks[-1] * 1e3:.1f} ms, of {len(ticks)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
