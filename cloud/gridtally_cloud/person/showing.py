"""Everything the store holds about a person, as one JSON object: by the same table as an erasure, and what their meters measured.

* Secrets (hashes of passwords and tokens) and what is another's are left out; bytes are hexadecimal, times as stored (ms UTC).
* Intervals come as values: the best version of each, with its quality, for the time the person had the usage point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TextIO

from sqlalchemy import Connection, select

from gridtally_cloud.person.erasing import erased_ms
from gridtally_cloud.person.held import APART, HELD, WHYS, Held
from gridtally_cloud.person.links import Person, Span, rows_of
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.schema import metadata
from gridtally_cloud.store.tables import channel, usage_point
from gridtally_shared.clock import MS_PER_DAY

DAYS_AT_ONCE = 30


def write(conn: Connection, person: Person, now_ms: int, out: TextIO) -> int:
    """One JSON object, table by table as it is read. How many rows."""
    head = {"customer_no": person.customer_no, "made_ms": now_ms, "erased_ms": erased_ms(conn, person.customer_no),
            "accounts": [asdict(span) for span in person.spans],
            "kept_whole": {name: asdict(why) for name, why in APART.items()}}  # fmt: skip
    out.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "tables": {')
    total = 0
    for place, held in enumerate(HELD):
        out.write(("," if place else "") + f'\n"{held.table}": {{"why": {json.dumps(WHYS[held.why].text)}, "rows": [')
        for n, row in enumerate(_rows(conn, person, held)):
            out.write((",\n" if n else "\n") + json.dumps(row, ensure_ascii=False))
            total += 1
        out.write("]}")
    out.write('},\n"usage_points": ' + json.dumps(_places(conn, person), ensure_ascii=False) + ',\n"intervals": [')
    for n, days in enumerate(days for span in person.spans for days in _intervals(conn, span, now_ms)):
        out.write((",\n" if n else "\n") + json.dumps(days))
    out.write("]}\n")
    return total


def _rows(conn: Connection, person: Person, held: Held) -> Iterator[dict[str, Any]]:
    table = metadata.tables[held.table]
    shown = [c for c in table.c if c.name not in held.hidden]
    for row in conn.execute(select(*shown).where(rows_of(person, held)).order_by(*table.primary_key)):
        yield {c.name: bytes(v).hex() if isinstance(v, bytes | memoryview) else v for c, v in zip(shown, row, strict=True)}


def _places(conn: Connection, person: Person) -> list[dict[str, Any]]:
    points = [span.usage_point_no for span in person.spans]
    query = select(usage_point).where(usage_point.c.usage_point_no.in_(points)).order_by(usage_point.c.usage_point_no)
    return [dict(row._mapping) for row in conn.execute(query)]


def _intervals(conn: Connection, span: Span, now_ms: int) -> Iterator[dict[str, Any]]:
    """A month at a time; months without a value are left out."""
    c = channel.c
    channels = conn.execute(select(channel).where(c.usage_point_no == span.usage_point_no).order_by(c.channel_no)).all()
    end_ms = min(now_ms, span.to_ms or now_ms)
    for one in channels:
        for from_ms in range(span.from_ms, end_ms, DAYS_AT_ONCE * MS_PER_DAY):
            found = read_intervals(conn, one.channel_no, from_ms, min(end_ms, from_ms + DAYS_AT_ONCE * MS_PER_DAY))
            if any(found.present):
                values = [v if there else None for v, there in zip(found.values, found.present, strict=True)]
                yield {"account_no": span.account_no, "usage_point_no": span.usage_point_no, "quantity": one.quantity,
                       "direction": one.direction, "unit": one.unit, "exponent": one.exponent, "start_ms": found.start_ms,
                       "period_s": found.period_s, "values": values, "quality": list(found.quality)}  # fmt: skip
