"""A household that was billed, paid and moved out asks to be forgotten: by the commands a person types, seen on the pages after.

Seen here with the real street: bills still render, books agree, the meter keeps its readings.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from sqlalchemy import select

from gridtally_cloud.billing import service as billing
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.customers.tables import customer
from gridtally_cloud.person import cli
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.store.close import close_days
from gridtally_cloud.store.tables import channel
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import RefusedCommand
from support.pdf_text import text_of
from support.stores import ON_POSTGRES
from support.web_person import Person
from support.web_street import DAY_MS, PER_DAY, START_MS, WebStreet
from support.web_words import plain

Run = Callable[..., int]


@pytest.fixture
def carmen(street: WebStreet) -> int:
    """Her account: three days billed and paid. Her customer's number is the same here."""
    street.live(PER_DAY * 4)
    close_days(street.pay.db, street.now_ms)
    number = street.pay.homes[2].account_no
    with street.pay.db.write() as conn:
        row = conn.execute(select(customer).where(customer.c.customer_no == number)).one()
        assert "Carmen" in row.name
        billing.issue_bill(conn, number, START_MS, START_MS + 3 * DAY_MS, street.now_ms, "test")
        owed = billing.outstanding_nano(conn, number)
        prepay.pay_at_desk(conn, street.pay.payments, number, owed, "R-1", street.now_ms, "consumer:carmen")
    return number


@pytest.fixture
def run(street: WebStreet) -> Run:
    def typed(*words: str) -> int:
        parser = argparse.ArgumentParser()
        desk = Desk(street.pay.db, street.pay.payments, ManualClock(street.now_ms), street.folder)
        cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
        options = parser.parse_args(["person", *words])
        return int(options.run(options))

    return typed


def test_a_household_moves_out_and_is_forgotten(street: WebStreet, carmen: int, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    me, db, file = str(carmen), street.pay.db, street.folder / "carmen.json"
    dora = Person(street.app(), "dora")

    # an open account refuses, and says what is next
    assert run("erase", me) == 7
    said = capsys.readouterr().out
    assert f"account {me} is open" in said
    assert f"gridtally-mdm person moved-out {me}" in said
    with pytest.raises(RefusedCommand, match="is open"):
        run("erase", me, "--apply", "--by", "dora", "--reason", "letter")
    assert run("moved-out", me) == 0
    assert run("moved-out", me) == 0
    assert "Closed on" in plain(dora.get(f"/desk/accounts/{me}"))

    # everything, for her: with the energy her meter measured
    assert run("export", me, "--out", str(file)) == 0
    assert file.stat().st_mode & 0o077 == 0
    held = json.loads(file.read_text(encoding="utf-8"))
    assert held["tables"]["customer"]["rows"][0]["name"] in held["tables"]["bill"]["rows"][0]["document"]
    assert sum(v or 0 for days in held["intervals"] for v in days["values"]) > 1_000

    # dry run, then in earnest, then again
    assert run("erase", me) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert "Carmen" in plain(dora.get(f"/desk/accounts/{me}"))
    assert run("erase", me, "--apply", "--by", "dora", "--reason", "letter of 20 November", "--vacuum") == 0
    capsys.readouterr()
    assert run("erase", me) == 0
    assert "was erased on" in capsys.readouterr().out

    # the pages: her account under its number, her bill as it was but for her name
    page = plain(dora.get(f"/desk/accounts/{me}"))
    assert f"#{me}" in page
    assert "Erased on" in page
    assert "Carmen" not in page
    assert "Ortega" not in page
    bill_no = re.search(r"bills/(B-\d+)\.pdf", dora.get(f"/desk/accounts/{me}"))
    assert bill_no
    paper = text_of(dora.client.get(f"/desk/accounts/{me}/bills/{bill_no[1]}.pdf").data)
    assert f"#{me}" in paper
    assert "Carmen" not in paper
    with db.read() as conn:
        assert reconcile(conn) == ()
        assert billing.outstanding_nano(conn, carmen) == 0
        assert billing.bill(conn, bill_no[1]).bill.party.customer == f"#{me}"
        assert conn.execute(select(channel)).all(), "the meter and its channels stay"
    if not ON_POSTGRES:
        left = b"".join(path.read_bytes() for path in street.folder.glob("mdm.db*"))
        assert b"Ortega" not in left
        assert b"carmen" not in left.lower()
        assert b"Asha Rao" in left
