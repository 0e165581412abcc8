"""The staff's pages: what they show is what is stored; orders need what the table says they need."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.app import create_app
from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.service import create_user
from gridtally_cloud.exchange import deliveries, recipients
from gridtally_cloud.exchange.delivering import deliver_due
from gridtally_cloud.exchange.validated import note
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.tables import command
from gridtally_cloud.web.i18n import language
from gridtally_cloud.web.results import rows
from gridtally_cloud.web.site import WebSettings
from gridtally_shared import cbor
from gridtally_shared.clock import MS_PER_DAY, SystemClock
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import NANO
from support.payday import SIGNER
from support.stores import fresh_store
from support.web_person import Person, token_of
from support.web_street import PASSWORD, WebStreet
from support.web_words import plain

SignIn = Callable[[str], Person]
METER = "/staff/meters/1"


def commands_of(street: WebStreet) -> list:  # type: ignore[type-arg]
    with street.pay.db.read() as conn:
        return list(conn.execute(select(command).order_by(command.c.issued_at_ms, command.c.cmd_id)))


def receipt(street: WebStreet, cmd_id: bytes, state: CommandState, reason: str = "", result: bytes = b"") -> None:
    """What the edge answers to a command."""
    street.send(m.Lane.URGENT, m.EntryKind.COMMAND_RECEIPT, m.CommandReceipt(cmd_id, 1, state, street.now_ms, reason, result))


# ---- what is shown --------------------------------------------------------------------------------------------


def test_overview_counts_the_fleet(old_street: WebStreet, sign_in: SignIn) -> None:
    said = plain(sign_in("otto").get("/staff/"))
    assert "Meters 3 2 prepaid accounts" in said
    assert "Answering 100.0 %" in said
    assert "Magnet near the meter" in said
    assert "dcu-pay" in said
    assert "Every mirrored journal agrees" in said


def test_overview_shows_a_broken_journal_and_an_unreadable_message(street: WebStreet) -> None:
    street.handle("live", m.Batch(b"\x09" * 16, m.Lane.LIVE, (m.Entry(1, m.EntryKind.INTERVALS, b"\xff\xff"),), street.now_ms))
    street.send(m.Lane.URGENT, m.EntryKind.JOURNAL, m.JournalRange(1, 1, street.pay.balance().seq + 1, (b"\x00 not an entry",)))
    said = plain(Person(street.app(), "otto").get("/staff/"))
    assert re.search(r"Unreadable messages [1-9]", said) or re.search(r"Ledger problems [1-9]", said)
    assert "Every message could be read." not in said or "Every mirrored journal agrees" not in said


def test_meter_list_filters(old_street: WebStreet, sign_in: SignIn) -> None:
    otto = sign_in("otto")
    assert all(s in otto.get("/staff/meters") for s in ("10000001", "10000002", "10000003"))
    by_name = otto.get("/staff/meters?q=carmen")
    assert ("10000003" in by_name, "10000001" in by_name) == (True, False)
    assert "No meter matches" in otto.get("/staff/meters?q=%25")
    assert "No meter matches" in otto.get("/staff/meters?state=silent")


@pytest.mark.parametrize("q", ["'; DROP TABLE meter; --", "%", "_", "\\", "<script>alert(1)</script>"])
def test_a_search_is_only_text(q: str, sign_in: SignIn) -> None:
    page = sign_in("ada").client.get("/staff/meters", query_string={"q": q})
    assert page.status_code == 200
    assert "<script" not in page.get_data(as_text=True)
    assert sign_in("ada").client.get("/desk/", query_string={"q": q}).status_code == 200


def test_meter_page_tells_all(old_street: WebStreet, sign_in: SignIn) -> None:
    said = plain(sign_in("otto").get(METER))
    assert "231.400 V" in said
    assert "Asha Rao" in said
    assert "Magnet near the meter phase 1" in said
    assert f"{(old_street.register[0] + 5) // 10 / 100:,.2f} kWh" in said
    sign_in("otto").get("/staff/meters/999", 404)


def test_events_page_separates_the_urgent(sign_in: SignIn) -> None:
    everything, urgent = (plain(sign_in("otto").get(f"/staff/events{q}")) for q in ("", "?urgent=1"))
    assert "Meter does not answer" in everything
    assert ("Meter does not answer" in urgent, "Magnet near the meter" in urgent) == (False, True)


def test_refused_boxes_are_shown(street: WebStreet) -> None:
    from sqlalchemy import insert

    from gridtally_cloud.provisioning.tables import refused_box

    with street.pay.db.write() as conn:
        conn.execute(insert(refused_box).values(serial="BOX-9", reason="unknown_serial", first_ms=1, last_ms=street.now_ms, count=3))
    said = plain(Person(street.app(), "otto").get("/staff/dcus"))
    assert "BOX-9 Refused Not in the inventory" in said


def test_the_desk_sees_what_the_customer_sees(old_street: WebStreet, sign_in: SignIn) -> None:
    desk, own = plain(sign_in("dora").get("/desk/accounts/1")), plain(sign_in("asha").get("/account/1/"))
    balance = re.search(r"₹ [\d,.]+", own)
    assert balance
    assert balance[0] in desk


def test_an_empty_store_has_pages_that_say_what_comes_next(tmp_path: Path) -> None:
    db = fresh_store(tmp_path)
    create_user(db, "ada", "Ada", Role.ADMIN, PASSWORD, SystemClock().now_ms(), "test")
    ada = Person(create_app(WebSettings(b"k" * 32), db, SystemClock(), Payments(SIGNER)), "ada")
    said = {path: plain(ada.get(path)) for path in ("/staff/", "/staff/meters", "/staff/commands", "/staff/events", "/staff/dcus",
                                                    "/staff/tokens", "/desk/")}  # fmt: skip
    db.close()
    assert "No concentrators yet" in said["/staff/"]
    assert "gridtally-mdm import-street" in said["/staff/meters"]
    assert "The inventory is empty" in said["/staff/dcus"]


# ---- orders ---------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-21.1")
@pytest.mark.parametrize(
    ("kind", "fields", "type_"),
    [
        ("read_instant", {}, CommandType.READ_INSTANT),
        ("read_intervals", {"from": "2026-11-01", "to": "2026-11-01"}, CommandType.READ_INTERVALS),
        ("read_events", {"from": "2026-11-01", "to": "2026-11-01"}, CommandType.READ_EVENTS),
        ("read_switch", {}, CommandType.READ_SWITCH),
        ("switch_close", {}, CommandType.SWITCH_CLOSE),
        ("message", {"text": "Work in your street on Monday"}, CommandType.MESSAGE),
        ("switch_open", {"reason": "move out", "password": PASSWORD}, CommandType.SWITCH_OPEN),
        ("limit", {"limit_w": "700", "reason": "feeder work", "password": PASSWORD}, CommandType.LIMIT),
    ],
)
def test_every_order_becomes_a_signed_command(street: WebStreet, kind: str, fields: dict[str, str], type_: CommandType) -> None:
    otto = Person(street.app(), "otto")
    answer = otto.post(f"{METER}/commands", {"kind": kind, **fields}, form=METER)
    assert answer.status_code == 303
    (row,) = commands_of(street)
    assert (row.meter_no, row.type, row.state, row.requested_by) == (1, type_, CommandState.QUEUED, "staff:otto")
    if "from" in fields:
        assert row.to_ms - row.from_ms == 86_400_000, "the whole local day"
    assert "Queued" in plain(otto.get(answer.headers["Location"]))


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        ("switch_open", {"reason": "x"}, "password"),
        ("limit", {"limit_w": "700", "reason": "x"}, "limit-password"),
        ("limit", {"limit_w": "0.7", "reason": "x", "password": PASSWORD}, "limit_w"),
        ("switch_open", {"password": PASSWORD}, "reason"),
        ("switch_open", {"reason": "x", "password": "wrong wrong wrong"}, "password"),
        ("read_intervals", {}, "from"),
        ("read_intervals", {"from": "2026-11-02", "to": "2026-11-01"}, "to"),
        ("message", {"text": " "}, "text"),
        ("message", {"text": "x" * 161}, "text"),
    ],
)
def test_an_incomplete_order_sends_nothing(street: WebStreet, kind: str, fields: dict[str, str], problem: str) -> None:
    answer = Person(street.app(), "otto").post(f"{METER}/commands", {"kind": kind, **fields}, form=METER)
    assert answer.status_code == 422
    assert f'id="{problem}-error"' in answer.get_data(as_text=True)
    assert commands_of(street) == []


def test_guessing_the_password_of_a_disconnect_locks(street: WebStreet) -> None:
    otto = Person(street.app(), "otto")
    for _ in range(5):
        otto.post(f"{METER}/commands", {"kind": "switch_open", "reason": "x", "password": "wrong wrong wrong"}, form=METER)
    right = otto.post(f"{METER}/commands", {"kind": "switch_open", "reason": "x", "password": PASSWORD}, form=METER)
    assert "Too many attempts" in right.get_data(as_text=True)
    assert commands_of(street) == []


def test_a_form_sent_twice_is_one_command(street: WebStreet) -> None:
    otto = Person(street.app(), "otto")
    page = otto.get(METER)
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key
    fields = {"kind": "read_instant", "key": key[1], "csrf_token": token_of(page)}
    where = {otto.client.post(f"{METER}/commands", data=fields).headers["Location"] for _ in range(2)}
    assert len(where) == 1
    assert len(commands_of(street)) == 1


def test_the_page_follows_a_command_to_its_end(street: WebStreet) -> None:
    otto = Person(street.app(), "otto")
    where = otto.post(f"{METER}/commands", {"kind": "switch_close"}, form=METER).headers["Location"]
    cmd_id = bytes.fromhex(where.rsplit("/", 1)[1])
    assert 'http-equiv="refresh"' in otto.get(where)
    receipt(street, cmd_id, CommandState.EXECUTING)
    receipt(street, cmd_id, CommandState.DONE, result=encode(SwitchEvidence(True, "done", 4, 4, 1, "10000001", 5_000_123)))
    page = otto.get(where)
    said = plain(page)
    assert "Being carried out" in said
    assert "Not known → On" in said
    assert "5,000.123 kWh" in said
    assert 'http-equiv="refresh"' not in page


def test_a_refused_command_says_why(street: WebStreet) -> None:
    otto = Person(street.app(), "otto")
    where = otto.post(f"{METER}/commands", {"kind": "read_instant"}, form=METER).headers["Location"]
    receipt(street, bytes.fromhex(where.rsplit("/", 1)[1]), CommandState.REFUSED, "clock_untrusted")
    assert "Clock of the concentrator not trusted" in plain(otto.get(where))


def test_an_unsent_command_can_be_taken_back(street: WebStreet) -> None:
    otto = Person(street.app(), "otto")
    where = otto.post(f"{METER}/commands", {"kind": "read_instant"}, form=METER).headers["Location"]
    otto.post(f"{where}/cancel", form=where)
    assert commands_of(street)[0].state == CommandState.CANCELLED
    otto.get("/staff/commands/zz", 404)


def test_a_wave_of_disconnects_waits_for_a_second_person(street: WebStreet) -> None:
    with street.pay.db.write() as conn:
        for i in range(21):
            wanted = CommandRequest(1, CommandType.SWITCH_OPEN, f"system:rule{i}", "test")
            last = commanding.issue(conn, SIGNER, wanted, street.now_ms)
    assert last.state is CommandState.QUARANTINED
    app = street.app()
    otto, olga = Person(app, "otto"), Person(app, "olga")
    where = otto.post(f"{METER}/commands", {"kind": "switch_open", "reason": "x", "password": PASSWORD}, form=METER).headers["Location"]
    assert "Held for a second person" in plain(otto.get(where))
    otto.post(f"{where}/release", form=where)
    assert "Held for a second person" in plain(otto.get(where)), "not by the one who asked"
    olga.post(f"{where}/release", form=where)
    assert "Queued" in plain(olga.get(where))


# ---- the desk -------------------------------------------------------------------------------------------------


def test_cash_at_the_desk_becomes_credit_once(street: WebStreet) -> None:
    dora = Person(street.app(), "dora")
    for _ in range(2):
        dora.post("/desk/accounts/1/credit", {"amount": "250", "reference": "R-17"}, form="/desk/accounts/1")
    assert street.pay.balance().pending_nano == 250 * NANO
    with street.pay.db.read() as conn:
        assert [p.gateway_ref for p in prepay.payments(conn, 1)][:1] == ["R-17"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"amount": "", "reference": "R-1"}, "amount"),
        ({"amount": "1,234", "reference": "R-1"}, "amount"),
        ({"amount": "250", "reference": " "}, "reference"),
        ({"amount": "1", "reference": "R-1"}, "amount"),
    ],
)
def test_unclear_cash_books_nothing(street: WebStreet, fields: dict[str, str], problem: str) -> None:
    answer = Person(street.app(), "dora").post("/desk/accounts/1/credit", fields, form="/desk/accounts/1")
    assert answer.status_code == 422
    assert f'id="{problem}-error"' in answer.get_data(as_text=True)
    assert street.pay.balance().pending_nano == 0


@pytest.mark.parametrize(
    ("kind", "result", "shown"),
    [
        (CommandType.READ_SWITCH, cbor.dumps({0: 0}), (("Supply", "Off"),)),
        (CommandType.READ_INSTANT, encode(m.Readings((m.Value(1, 21, 5, 231_400), m.Value(1, 25, 5, 978)))),
         (("Voltage", "231.400 V"), ("Power factor", "0.978 "))),
        (CommandType.READ_INTERVALS, encode(m.Intervals((m.ChannelBlock(1, 11, 0, 900, 96, b""),))),
         (("Answer of the meter", "96 intervals read"),)),
        (CommandType.READ_EVENTS, cbor.dumps({0: [[201, 1_795_271_700_000, ""]]}), (("Magnet near the meter", "21 Nov 2026, 14:35"),)),
        (CommandType.READ_INSTANT, b"\xff", (("Answer of the meter", "ff"),)),
    ],
)  # fmt: skip
def test_answers_in_words(kind: CommandType, result: bytes, shown: tuple[tuple[str, str], ...]) -> None:
    assert rows(kind, result, language("en")) == shown


# ---- results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"\xff", b"\x00", b"\xa1", cbor.dumps({"a": 1}), cbor.dumps([1, 2]), cbor.dumps("x"), b"\xa0"])
def test_any_result_can_be_shown(octets: bytes) -> None:
    for kind in CommandType:
        rows(kind, octets, language("en"))


# ---- data for others ------------------------------------------------------------------------------------------


def test_a_file_nobody_took_stands_on_the_work_page_and_goes_again_at_a_click(street: WebStreet) -> None:
    now_ms = street.now_ms
    with street.pay.db.write() as conn:
        recipients.add(conn, "market", ("http://127.0.0.1:1/",), "", now_ms, "test")
        deliveries.queue(conn, "market", {"daily_0001.csv": b"1"}, now_ms)
    otto = Person(street.app(), "otto")
    assert "daily_0001.csv" not in otto.get("/desk/work/")
    deliver_due(street.pay.db, now_ms + 4 * MS_PER_DAY)
    said = plain(otto.get("/desk/work/"))
    assert "Data nobody took" in said
    assert "daily_0001.csv · market" in said
    assert "127.0.0.1 can not be reached" in said
    assert "Days that are missing" not in said
    with street.pay.db.write() as conn:
        note(conn, "smt", 20_486, (3, 4), now_ms)
    assert "2026-02-02 · smt 2 usage points" in plain(otto.get("/desk/work/"))
    assert otto.post("/desk/work/deliveries/1", form="/desk/work/").status_code == 303
    assert "daily_0001.csv goes out again." in plain(otto.get("/desk/work/"))
    with street.pay.db.read() as conn:
        assert deliveries.deliveries(conn, "market")[-1].state is recipients.DeliveryState.WAITING
