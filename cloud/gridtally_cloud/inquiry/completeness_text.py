"""The completeness report for a person (a table with bars), for programs (JSON lines, CSV), and what was asked. Pure.

* A bar has a cell of its own for whatever there is of received, estimated and missing, however small its share.
* Ranges are told in the usage point's own time; programs get UTC.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from gridtally_cloud.inquiry.completeness import Gap
from gridtally_cloud.inquiry.received import Line
from gridtally_cloud.inquiry.requests import NOT_HELD, Asked, DataRequest, State
from gridtally_cloud.store.days import date_of, utc_text, zone_of
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.use import largest_remainder

WIDTH = 24
RANGES_SHOWN = 6
FIELDS = ("day", "meter_no", "meter_serial", "channel_no", "quantity", "expected", "received", "estimated", "missing", "late", "late_at",
          "ranges")  # fmt: skip
STATE_TEXTS = {
    State.ASKED: "on its way to the meter", State.DELIVERED: "with the concentrator", State.ANSWERED: "answered, being taken in",
    State.MERGED: "in the store", State.GAVE_UP: "given up",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Glyphs:
    received: str
    estimated: str
    missing: str


BLOCKS = Glyphs("\u2588", "\u2592", "\u00b7")
PLAIN = Glyphs("#", "+", ".")


def bar(shares: Sequence[int], glyphs: Glyphs, width: int = WIDTH) -> str:
    """Received, estimated and missing as a bar. What is there at all has at least one cell."""
    whole = sum(shares)
    if not whole:
        return " " * width
    cells = [max(cell, int(share > 0)) for cell, share in zip(largest_remainder(width, list(shares)), shares, strict=True)]
    cells[cells.index(max(cells))] -= sum(cells) - width
    return "".join(glyph * n for glyph, n in zip((glyphs.received, glyphs.estimated, glyphs.missing), cells, strict=True))


def as_table(lines: Sequence[Line], everything: bool, glyphs: Glyphs) -> Iterator[str]:
    if not lines:
        yield "no meter was to send anything in these days"
        return
    yield f"{'day':10}  {'':{WIDTH}}  {'received':>9} {'estimated':>9} {'missing':>8} {'late':>6}   " + _legend(glyphs)
    for day, group in groupby(lines, key=lambda x: x.day):
        of_day = list(group)
        yield _row(date_of(day).isoformat(), of_day, glyphs) + f"   {_complete(of_day)}"
        for line in of_day:
            if everything or line.counted.gaps or line.counted.late:
                yield from _meter_rows(line, glyphs)


def _legend(glyphs: Glyphs) -> str:
    return f"{glyphs.received} received  {glyphs.estimated} estimated  {glyphs.missing} missing"


def _complete(lines: Sequence[Line]) -> str:
    meters = {line.meter_no for line in lines}
    whole = meters - {line.meter_no for line in lines if line.counted.gaps}
    return f"{len(whole)} of {len(meters)} meters complete"


def _row(name: str, lines: Sequence[Line], glyphs: Glyphs) -> str:
    total = [sum(getattr(line.counted, field) for line in lines) for field in ("received", "estimated", "missing", "late")]
    expected = sum(line.counted.expected for line in lines)
    return f"{name:10}  {bar(total[:3], glyphs)}  {_percent(total[0], expected):>9} {total[1]:>9} {total[2]:>8} {total[3]:>6}"


def _percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % is all of it."""
    return f"{part * 1000 // whole / 10:.1f} %" if whole else "-"


def _meter_rows(line: Line, glyphs: Glyphs) -> Iterator[str]:
    yield _row(line.serial[:10], [line], glyphs) + f"   {line.quantity}"
    shown = line.counted.gaps[:RANGES_SHOWN]
    if shown:
        more = len(line.counted.gaps) - len(shown)
        yield f"{'':10}  not measured: {', '.join(_range(gap, line) for gap in shown)}{f' and {more} more' if more else ''}"
    if line.counted.late_ms is not None:
        yield f"{'':10}  {line.counted.late} came late, the last at {_local(line.counted.late_ms, line.zone)}"


def _range(gap: Gap, line: Line) -> str:
    since, until = (_at(ms, line.zone) for ms in (gap.from_ms, gap.to_ms))
    how = "estimated" if gap.estimated == gap.n else f"{gap.estimated} of {gap.n} estimated" if gap.estimated else "missing"
    end = until.strftime("%H:%M") if until.date() == since.date() else "24:00"
    return f"{since:%H:%M}-{end} ({gap.n}, {how})"


def _at(ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone_of(zone))


def _local(ms: int, zone: str) -> str:
    return f"{_at(ms, zone):%Y-%m-%d %H:%M}"


# ---- for programs ---------------------------------------------------------------------------------------------


def as_json(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        c = line.counted
        yield json.dumps({
            **dict(zip(FIELDS, _fields(line), strict=False)), "late_at": utc_text(c.late_ms) if c.late_ms is not None else None,
            "ranges": [{"from": utc_text(g.from_ms), "to": utc_text(g.to_ms), "intervals": g.n, "estimated": g.estimated} for g in c.gaps],
        })  # fmt: skip


def as_csv(lines: Sequence[Line]) -> Iterator[str]:
    """Ranges stand in one field, from/to, with a blank between two."""
    yield ",".join(FIELDS)
    for line in lines:
        c, out = line.counted, io.StringIO()
        ranges = " ".join(f"{utc_text(g.from_ms)}/{utc_text(g.to_ms)}" for g in c.gaps)
        csv.writer(out, lineterminator="").writerow((*_fields(line), utc_text(c.late_ms) if c.late_ms is not None else "", ranges))
        yield out.getvalue()


def _fields(line: Line) -> tuple[object, ...]:
    c = line.counted
    return (date_of(line.day).isoformat(), line.meter_no, line.serial, line.channel_no, line.quantity, c.expected, c.received,
            c.estimated, c.missing, c.late)  # fmt: skip


# ---- requests -------------------------------------------------------------------------------------------------


def asked_lines(asked: Asked) -> Iterator[str]:
    n = sum(request.lacking for request in asked.requests)
    more = f"; {_count(asked.under_way, 'range')} under way" if asked.under_way else ""
    yield f"asked for {_count(len(asked.requests), 'range')}, {_count(n, 'interval')}{more}"
    if asked.given_up:
        yield f"{_count(asked.given_up, 'range')} asked for three times and left: look at the meter, or let estimates stand"
    yield from (f"not asked: {sentence}" for sentence in asked.refused)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def requests_table(requests: Sequence[DataRequest]) -> Iterator[str]:
    if not requests:
        yield "nothing was asked for yet: gridtally-mdm completeness --from 2026-11-20 --ask"
        return
    yield f"{'no.':>6}  {'meter':>6}  {'from (UTC)':20}  {'to (UTC)':20}  {'came':>9}  state"
    for r in requests:
        why = ": the meter does not hold them" if r.reason == NOT_HELD else f": {r.reason.replace('_', ' ')}" if r.reason else ""
        yield (f"{r.request_no:6}  {r.meter_no:6}  {utc_text(r.from_ms):20}  {utc_text(r.to_ms):20}  {f'{r.filled} of {r.lacking}':>9}  "
               f"{STATE_TEXTS[r.state]}{why}")  # fmt: skip


def requests_json(requests: Sequence[DataRequest]) -> Iterator[str]:
    for r in requests:
        yield json.dumps({
            "request_no": r.request_no, "meter_no": r.meter_no, "from": utc_text(r.from_ms), "to": utc_text(r.to_ms),
            "state": r.state.value, "reason": r.reason, "intervals": r.lacking, "filled": r.filled, "asked_by": r.requested_by,
            "asked_at": utc_text(r.asked_ms), "state_at": utc_text(r.state_at_ms), "cmd_id": r.cmd_id.hex() if r.cmd_id else None,
        })  # fmt: skip
