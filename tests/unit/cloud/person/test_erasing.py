"""Erasure of a person: nothing that names the person is left, nothing of another person changes, and it is all or nothing."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from gridtally_cloud import doctor
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.customers.tables import account, app_user, audit_row, customer
from gridtally_cloud.person import erasing, listed, showing
from gridtally_cloud.person.again import again
from gridtally_cloud.person.held import APART, HELD
from gridtally_cloud.person.links import find
from gridtally_cloud.person.obstacles import WAITS, obstacles
from gridtally_cloud.person.tables import erasure
from gridtally_cloud.prepay import cli as prepay_cli
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.schema import metadata
from gridtally_shared.clock import ManualClock
from gridtally_shared.doctor import Check
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.signing import KeySigner
from support.stores import ON_POSTGRES
from support.two_people import CLOSED_MS, NOT_HELD_IN, OMAR, ZERLINA, Someone, all_rows, two_people, words_left

NOW_MS = CLOSED_MS + 86_400_000
REASON = "letter of Zerlina Quasthoff, 20 November"


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return two_people(tmp_path)


def erase(db: Database, folder: Path, who: Someone = ZERLINA) -> erasing.Erased:
    return erasing.erase(db, folder / listed.NAME, who.number, "dora", REASON, NOW_MS)


def test_nothing_names_the_person_after_and_the_rows_of_others_are_the_same(db: Database, tmp_path: Path) -> None:
    before = all_rows(db)
    assert len(words_left(db, ZERLINA)) > 60, "the store is full of her"
    done = erase(db, tmp_path)
    assert done.changed > 20
    assert done.deleted == sum(held.goes for held in HELD)
    assert words_left(db, ZERLINA) == []
    after = all_rows(db)
    for name, rows in before.items():
        of_others = [row for row in rows if not _names(row, ZERLINA) and row not in after[name]]
        assert [row for row in of_others if _names(row, OMAR)] == [], f"a row of another person in {name} has changed"
    kept = {held.table for held in HELD if not held.goes} - NOT_HELD_IN
    assert {name: len(after[name]) - len(before[name]) for name in kept} == {**dict.fromkeys(kept, 0), "audit_row": 1}


def _names(row: tuple[Any, ...], who: Someone) -> bool:
    text = " ".join(bytes(v).decode("utf-8", "replace") if isinstance(v, bytes | memoryview) else str(v) for v in row)
    return any(word in text for word in who.words)


def test_who_lives_there_now_is_another(db: Database, tmp_path: Path) -> None:
    """Omar has her meter since she left: what was ordered and edited in his time is his, whoever is named in it."""
    command, edit = metadata.tables["command"], metadata.tables["vee_edit"]
    with db.write() as conn:
        moved_in = {"usage_point_no": 1, "meter_no": 1, "opened_ms": CLOSED_MS, "closed_ms": None}
        conn.execute(update(account).where(account.c.account_no == 2).values(moved_in))
        conn.execute(update(command).where(command.c.meter_no == 2).values(meter_no=1, issued_at_ms=CLOSED_MS, text="Quasthoff?"))
        conn.execute(update(edit).where(edit.c.channel_no == 2).values(channel_no=1, from_ms=CLOSED_MS, note="was Quasthoff"))
    erase(db, tmp_path)
    with db.read() as conn:
        assert conn.execute(select(command.c.text).order_by(command.c.issued_at_ms)).scalars().all()[1] == "Quasthoff?"
        assert conn.execute(select(edit.c.note).order_by(edit.c.from_ms)).scalars().all()[1] == "was Quasthoff"
    assert words_left(db, ZERLINA) == ["command: Quasthoff", "vee_edit: Quasthoff"]


def test_numbers_and_what_is_kept_are_as_before(db: Database, tmp_path: Path) -> None:
    """All columns that no erasure names, in every row of hers that stays: amounts, times, chains, references."""
    before = all_rows(db)
    erase(db, tmp_path)
    after = all_rows(db)
    for held in HELD:
        table = metadata.tables[held.table]
        same = [place for place, c in enumerate(table.c) if c.name not in held.changes]
        for old, new in zip(before[held.table], after[held.table], strict=False) if not held.goes else ():
            assert [old[i] for i in same] == [new[i] for i in same], held.table


@pytest.mark.skipif(ON_POSTGRES, reason="PostgreSQL has no one file: dead rows go by VACUUM FULL (docs/person.md)")
@pytest.mark.parametrize("vacuum", [False, True])
def test_the_bytes_of_the_files_do_not_name_the_person(db: Database, tmp_path: Path, vacuum: bool) -> None:
    """secure_delete overwrites what goes and the log is emptied; vacuum writes all anew."""
    erase(db, tmp_path)
    if vacuum:
        erasing.vacuum(db)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found = [(name, word) for name, data in files.items() for word in ZERLINA.words if word.encode() in data]
    assert found == []
    assert OMAR.name.encode() in b"".join(files.values())


def test_the_audit_says_it_without_the_person(db: Database, tmp_path: Path) -> None:
    erase(db, tmp_path)
    with db.read() as conn:
        row = conn.execute(select(audit_row).order_by(audit_row.c.audit_no.desc()).limit(1)).one()
        mark = conn.execute(select(erasure)).one()
    assert (row.at_ms, row.actor, row.action, row.subject) == (NOW_MS, "dora", "person.erased", "customer:1")
    assert row.detail.endswith(": letter of #1, 20 November")
    assert mark.reason == "letter of #1, 20 November"


def test_a_second_erasure_does_nothing_and_says_so(db: Database, tmp_path: Path) -> None:
    erase(db, tmp_path)
    before, line = all_rows(db), (tmp_path / listed.NAME).read_bytes()
    again_ms = erasing.erase(db, tmp_path / listed.NAME, 1, "dora", "once more", NOW_MS + 5)
    assert again_ms == erasing.Erased(1, NOW_MS, before=True)
    assert all_rows(db) == before
    assert (tmp_path / listed.NAME).read_bytes() == line


def test_killed_in_the_middle_nothing_is_done_and_the_same_again_does_all(db: Database, tmp_path: Path) -> None:
    """The last step fails: the list can not be written. All before it is rolled back."""
    before = all_rows(db)
    (tmp_path / "not-a-folder").write_text("")
    with pytest.raises(Exception, match="list of erasures can not be written"):
        erasing.erase(db, tmp_path / "not-a-folder" / listed.NAME, 1, "dora", REASON, NOW_MS)
    assert all_rows(db) == before
    erase(db, tmp_path)
    assert words_left(db, ZERLINA) == []


def test_the_list_was_written_and_the_store_was_not(db: Database, tmp_path: Path) -> None:
    """Killed between the two: the person is on the list; `again` does the rest, and the list grows no second line."""
    listed.append(tmp_path / listed.NAME, listed.Line(1, _created(db), NOW_MS))
    assert [result.done for result in again(db, tmp_path / listed.NAME, "dora", NOW_MS)] == [True]
    assert words_left(db, ZERLINA) == []
    assert len(listed.lines(tmp_path / listed.NAME)) == 1
    assert again(db, tmp_path / listed.NAME, "dora", NOW_MS) == ()


def _created(db: Database, number: int = 1) -> int:
    with db.read() as conn:
        return int(conn.execute(select(customer.c.created_ms).where(customer.c.customer_no == number)).scalar_one())


def test_an_older_copy_that_is_put_back_is_erased_again(db: Database, tmp_path: Path) -> None:
    """Rows of the copy, as they were: everything of her is back; the list beside the store takes it away again, and nothing of others."""
    copy = all_rows(db)
    erase(db, tmp_path)
    with db.write() as conn:
        for table in reversed(metadata.sorted_tables):
            conn.execute(delete(table))
        for table in metadata.sorted_tables:
            rows = [dict(zip(table.c.keys(), row, strict=True)) for row in copy[table.name]]
            if rows:
                conn.execute(insert(table), rows)
    assert words_left(db, ZERLINA)
    assert [result.text for result in again(db, tmp_path / listed.NAME, "restore", NOW_MS + 1)] == ["customer 1 is erased again"]
    assert words_left(db, ZERLINA) == []
    assert words_left(db, OMAR)


def test_somebody_else_who_got_the_number_after_a_restore_is_left_alone(db: Database, tmp_path: Path) -> None:
    listed.append(tmp_path / listed.NAME, listed.Line(1, _created(db) - 1, NOW_MS))
    assert again(db, tmp_path / listed.NAME, "restore", NOW_MS) == ()
    assert words_left(db, ZERLINA)


def test_half_a_line_of_the_list_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / listed.NAME
    file.write_text('{"customer_no": 4, "crea')
    listed.append(file, listed.Line(5, 1, 2))
    assert listed.lines(file) == (listed.Line(5, 1, 2),)


def test_a_login_of_staff_stays_and_loses_only_the_link(db: Database, tmp_path: Path) -> None:
    with db.write() as conn:
        conn.execute(update(app_user).where(app_user.c.user_id == 1).values(role="desk", login="desk.7", name="Seven Desk"))
    erase(db, tmp_path)
    with db.read() as conn:
        staff = conn.execute(select(app_user).where(app_user.c.user_id == 1)).one()
    assert (staff.login, staff.name, staff.customer_no) == ("desk.7", "Seven Desk", None)


# ---- what stands against it


def test_whatever_is_open_refuses_and_says_what_to_do_next(db: Database, tmp_path: Path) -> None:
    before = all_rows(db)
    for wait in WAITS:
        table = metadata.tables[wait.table]
        column, mine = table.c[wait.column], table.c[next(c.name for c in table.primary_key)]
        number = "order_id-1" if wait.table == "payment_order" else 1
        row = update(table).where(mine == number)
        with db.write() as conn:
            closed = conn.execute(select(column).where(mine == number)).scalar_one()
            conn.execute(row.values({wait.column: wait.states[0]}))
        with pytest.raises(RefusedCommand) as refused:
            erase(db, tmp_path)
        lines = refused.value.detail.splitlines()
        assert (refused.value.reason, len(lines)) == (erasing.OPEN, 2), wait.table
        assert ": " in lines[1], "says what to do next"
        with db.write() as conn:
            assert obstacles(conn, find(conn, OMAR.number)) == ()
            conn.execute(row.values({wait.column: closed}))
    assert all_rows(db) == before
    assert not (tmp_path / listed.NAME).exists()
    assert erase(db, tmp_path).changed


@pytest.mark.parametrize(("debit", "credit", "text"), [("receivable", "revenue", "owes"), ("cash", "receivable", "is owed")])
def test_money_owed_either_way_refuses(db: Database, tmp_path: Path, debit: str, credit: str, text: str) -> None:
    row = {"account_no": 1, "at_ms": 1, "kind": "assessment", "debit_account": debit, "credit_account": credit, "amount_nano": 10**9,
           "currency": "EUR", "bill_no": ""}  # fmt: skip
    with db.write() as conn:
        conn.execute(update(account).values(currency="EUR"))
        conn.execute(insert(metadata.tables["receivable"]).values(receivable_no=9, **row))
    with pytest.raises(RefusedCommand, match=f"account 1 {text}"):
        erase(db, tmp_path)


def test_it_needs_a_reason_and_a_name_and_a_customer_who_is_there(db: Database, tmp_path: Path) -> None:
    for number, by, reason, code in ((1, "", "x", "no_reason"), (1, "dora", " ", "no_reason"), (77, "dora", "x", "unknown_customer")):
        with pytest.raises(RefusedCommand) as refused:
            erasing.erase(db, tmp_path / listed.NAME, number, by, reason, NOW_MS)
        assert refused.value.reason == code


# ---- what is shown


def shown(db: Database, who: Someone) -> tuple[str, dict[str, Any]]:
    out = StringIO()
    with db.read() as conn:
        showing.write(conn, find(conn, who.number), NOW_MS, out)
    return out.getvalue(), json.loads(out.getvalue())


def test_the_export_has_every_row_that_names_the_person_and_no_secret(db: Database) -> None:
    text, found = shown(db, ZERLINA)
    held = {held.table for held in HELD} - NOT_HELD_IN
    assert {name for name, table in found["tables"].items() if len(table["rows"]) == 1} == held
    assert "password_hash" not in text
    assert "token_hash" not in text
    assert "pin_hash" not in text
    assert set(found["kept_whole"]) == set(APART)
    assert not any(word in text for word in OMAR.words), "nothing of somebody else"


def test_the_export_after_an_erasure_still_shows_what_was_kept(db: Database, tmp_path: Path) -> None:
    erase(db, tmp_path)
    text, found = shown(db, ZERLINA)
    assert found["erased_ms"] == NOW_MS
    assert found["tables"]["payment"]["rows"]
    assert not found["tables"]["app_user"]["rows"]
    assert not any(word in text for word in ZERLINA.words)


# ---- after a restore


def test_saying_restored_erases_again_and_the_doctor_fails_until_then(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mdm.toml").write_text(f'data_dir = "{tmp_path}"\n[store]\nurl = "{db.url}"\n')
    monkeypatch.setenv(doctor.CONFIG_VARIABLE, str(tmp_path / "mdm.toml"))
    listed.append(tmp_path / listed.NAME, listed.Line(1, _created(db), NOW_MS))
    assert (doctor_says().ok, doctor_says().remedy) == (False, "run 'gridtally-mdm person again'")
    parser = argparse.ArgumentParser()
    desk = Desk(db, Payments(KeySigner.from_seed(bytes(32))), ManualClock(NOW_MS), tmp_path)
    prepay_cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(["restored"])
    assert options.run(options) == 0
    assert capsys.readouterr().out.endswith("customer 1 is erased again\n")
    assert doctor_says().ok
    assert words_left(db, ZERLINA) == []


def doctor_says() -> Check:
    return next(check for check in doctor.checks() if check.name == "mdm erasures")
