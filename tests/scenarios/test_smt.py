"""Seed 003 (SMT, balance inquiry): what can be asked of which meter. The whole chain in one thread (support/chain.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from gridtally_cloud.ingest import poison
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import meter, reading
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_LANE
from gridtally_shared.contract.codec import encode
from gridtally_shared.quantities import ENERGY_IMPORT
from support.chain import Chain, chain
from support.little_street import DCU, QUARTER_MS


def asked_for(c: Chain, meter_no: int, kind: str) -> tuple[int, str]:
    """Status of the answer to a request for data, and the kind of the problem if there is one."""
    to_ms = c.now_ms // QUARTER_MS * QUARTER_MS
    body = {"type": kind, "from": utc_text(to_ms - 4 * QUARTER_MS), "to": utc_text(to_ms)}
    answer = c.send("POST", f"/meters/{meter_no}/commands", f"{kind} {meter_no}", json=body)
    c.carry()
    problem = answer.get_json()["type"].rsplit("/", 1)[-1] if answer.mimetype == "application/problem+json" else ""
    return answer.status_code, problem


@pytest.mark.covers("SMT-A2")
def test_a_meter_the_utility_has_not_provisioned_is_refused(tmp_path: Path) -> None:
    """Pre: two meters hang on the line, one of them is not provisioned: it is in the books, no concentrator is to serve it. Post:
    nobody gets data of it, by any way; once it is provisioned they do."""
    with chain(tmp_path, dlms=2, connected=False) as c:
        with c.db.write() as conn:
            conn.execute(update(meter).where(meter.c.meter_no == 2).values(dcu=None))
        c.connect()
        c.next_quarter(2)
        asked = len(c.street.asked)
        for kind in ("read_instant", "read_intervals", "read_events", "read_switch"):  # asked on demand
            assert asked_for(c, 2, kind) == (422, "unknown-meter"), kind
        assert len(c.street.asked) == asked
        claimed = m.Readings((m.Value(2, ENERGY_IMPORT.code, c.now_ms, 1),))  # sent unasked
        entry = m.Entry(1, m.EntryKind.READINGS, encode(claimed))
        c.ingest.handle(BY_LANE[m.Lane.LIVE].topic(DCU), encode(m.Batch(b"\x0b" * 16, m.Lane.LIVE, (entry,), c.now_ms)), c.now_ms)
        with c.db.read() as conn:
            assert conn.execute(select(reading).where(reading.c.meter_no == 2)).all() == []
            assert [row.reason for row in poison.waiting(conn)] == [f"meter 2 is not served by {DCU}"]
        assert c.street.meters_bound() == {"10000001"}  # and at the head end it is only a proposal
        assert asked_for(c, 1, "read_instant") == (202, "")
        with c.db.write() as conn:
            conn.execute(update(meter).where(meter.c.meter_no == 2).values(dcu=DCU))  # provisioned
        c.carry()
        c.next_quarter(2)
        assert c.items("/meters/2/readings") != []
        assert asked_for(c, 2, "read_switch") == (202, "")


@pytest.mark.covers_part("SMT-A1", "ETSI-NR13")
def test_a_meter_without_a_profile_has_none_to_give(tmp_path: Path) -> None:
    """Pre: one meter keeps 15-minute intervals, the other does not. Post: a request for them is carried out or not."""
    with chain(tmp_path, dlms=1, modbus=1) as c:
        c.next_quarter()
        to_ms = c.now_ms // QUARTER_MS * QUARTER_MS
        span = {"from": utc_text(to_ms - 4 * QUARTER_MS), "to": utc_text(to_ms)}
        assert c.order(1, "profile", type="read_intervals", **span)["state"] == "done"
        refused = c.order(2, "no profile", type="read_intervals", **span)
        assert (refused["state"], refused["reason"]) == ("failed", "unsupported")
