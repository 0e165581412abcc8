"""Another way of paying, another meter, another concentrator: from the page, the API and the command line."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import handover_cli
from gridtally_cloud.prepay.handover import pending_mode
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.tables import dcu, meter
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from support.payday import DCU
from support.web_person import Person
from support.web_street import StreetClock, WebStreet
from support.web_words import plain

PAGE = "/desk/accounts/{}/handover"


def stored(street: WebStreet, account_no: int) -> Account:
    with street.pay.db.read() as conn:
        return account_of(conn, account_no)


def ordered(street: WebStreet, account_no: int) -> list[InstrumentType]:
    with street.pay.db.read() as conn:
        query = select(instrument.c.type).where(instrument.c.account_no == account_no).order_by(instrument.c.gseq)
        return [InstrumentType(x) for x in conn.execute(query).scalars()]


def spare_meter(street: WebStreet) -> None:
    with street.pay.db.write() as conn:
        point = conn.execute(select(meter.c.usage_point_no).where(meter.c.meter_no == 1)).scalar_one()
        conn.execute(insert(meter).values(meter_no=50, serial="NEW-50", dcu=DCU, usage_point_no=point, installed_ms=street.now_ms))


def spare_edge(street: WebStreet) -> None:
    with street.pay.db.write() as conn:
        conn.execute(insert(dcu).values(dcu="dcu-new", serial="S-NEW", state="active", created_ms=street.now_ms))


# ---- the page


def test_a_change_of_mode_is_told_first_and_done_with_the_second_click(street: WebStreet) -> None:
    dora, no = Person(street.app(), "dora"), street.pay.postpaid_account
    page = PAGE.format(no)
    assert "Today this account is billed." in plain(dora.get(page + "/"))
    first = dora.post(page + "/mode", {"deposit": "80"}, form=page + "/")
    said = plain(first.get_data(as_text=True))
    assert "The account becomes prepaid at the end of the present recording interval." in said
    assert "is given back as credit." in said
    assert "No switch is moved" in said
    assert ordered(street, no) == []
    done = dora.post(page + "/mode", {"deposit": "80", "confirmed": "yes"}, form=page + "/")
    assert done.status_code == 303
    assert ordered(street, no) == [InstrumentType.OPENING, InstrumentType.MODE_SET]
    assert "On its way to prepaid." in plain(dora.get(page + "/"))
    again = dora.post(page + "/mode", {"confirmed": "yes"}, form=page + "/")
    assert again.status_code == 422
    assert "Nothing was changed That change is on its way already." in plain(again.get_data(as_text=True))
    assert ordered(street, no) == [InstrumentType.OPENING, InstrumentType.MODE_SET]


@pytest.mark.parametrize(("fields", "why"), [
    ({"serial": "NOBODY"}, "No installed meter has this serial."),
    ({"serial": "10000002"}, "That meter serves another account."),
    ({"serial": "NEW-50", "closing": "1"}, "The register does not fit"),
    ({"serial": "NEW-50", "closing": "x"}, "A number could not be read."),
])  # fmt: skip
def test_a_swap_that_can_not_be_is_refused_at_the_first_click(street: WebStreet, fields: dict[str, str], why: str) -> None:
    spare_meter(street)
    dora, page = Person(street.app(), "dora"), PAGE.format(street.pay.account)
    answer = dora.post(page + "/meter", fields, form=page + "/")
    assert answer.status_code == 422
    assert why in plain(answer.get_data(as_text=True))
    assert stored(street, street.pay.account).meter_no == 1


def test_meter_and_concentrator_are_swapped_by_those_who_may(street: WebStreet) -> None:
    spare_meter(street)
    spare_edge(street)
    otto, no = Person(street.app(), "otto"), street.pay.account
    page = PAGE.format(no)
    shown = plain(otto.post(page + "/meter", {"serial": "NEW-50", "closing": "5900.5"}, form=page + "/").get_data(as_text=True))
    assert "The old one is charged up to 5,900.500 kWh. The new one is charged from its first reading on." in shown
    otto.post(page + "/meter", {"serial": "NEW-50", "closing": "5900.5", "confirmed": "yes"}, form=page + "/")
    assert stored(street, no).meter_no == 50
    assert "It begins with the balance of" in plain(otto.post(page + "/edge", {"dcu": "dcu-new"}, form=page + "/").get_data(as_text=True))
    assert stored(street, no).dcu == DCU
    otto.post(page + "/edge", {"dcu": "dcu-new", "confirmed": "yes"}, form=page + "/")
    assert (stored(street, no).dcu, stored(street, no).account_epoch) == ("dcu-new", 2)
    refused = otto.post(page + "/mode", {"confirmed": "yes"}, form=page + "/")
    assert refused.status_code == 403


@pytest.mark.parametrize(("language", "word"), [("es", "Esto pasará:"), ("hi", "यह होगा:")])
def test_the_sentences_come_in_the_readers_language(street: WebStreet, language: str, word: str) -> None:
    dora, page = Person(street.app(), "dora"), PAGE.format(street.pay.account)
    dora.post("/language", {"language": language, "next": "/"}, form=page + "/")
    assert word in dora.post(page + "/mode", {}, form=page + "/").get_data(as_text=True)


# ---- the API and the command line


@pytest.mark.covers("ETSI-5.2.5-basic-1")
@pytest.mark.covers_part("BYPL-13.1", "BYPL-14.1")
def test_the_api_orders_refuses_and_says_why(street: WebStreet) -> None:
    spare_meter(street)
    with street.pay.db.write() as conn:
        token = create_token(conn, "test", SCOPES, SystemClock().now_ms(), "test")
    client, no = street.app().test_client(), street.pay.account

    def post(what: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        answer = client.post(f"/api/v1/accounts/{no}/{what}", json=body, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.get_json()

    status, body = post("mode", {"mode": "postpaid"})
    assert (status, body["mode"], body["wanted_mode"]) == (202, "prepaid", "postpaid")
    assert ordered(street, no)[-1] is InstrumentType.MODE_SET
    status, body = post("mode", {"mode": "postpaid"})
    assert (status, str(body["type"]).rsplit("/", 1)[-1]) == (409, "change-pending")
    status, body = post("meter", {"meter_serial": "NEW-50", "closing_wh": 5_900_000, "opening_wh": 0})
    assert (status, body["meter_serial"]) == (202, "NEW-50")
    status, body = post("dcu", {"dcu": "nowhere"})
    assert (status, body["detail"]) == (422, "no concentrator is called nowhere; enrol it first")
    assert post("mode", {"mode": "sometimes"})[0] == 422
    assert post("meter", {"meter_serial": "NEW-50", "closing_wh": -1})[0] == 422


def run(street: WebStreet, *given: str) -> int:
    parser = argparse.ArgumentParser()
    desk = Desk(street.pay.db, street.pay.payments, StreetClock(street.pay))
    handover_cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(["handover", *given])
    code: int = options.run(options)
    return code


def test_the_command_line_says_what_will_happen_and_asks(
    street: WebStreet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no = street.pay.account
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    assert run(street, "mode", str(no), "postpaid") == 1
    assert "what is left of the balance is a credit on the first bill" in capsys.readouterr().out
    assert ordered(street, no) == [InstrumentType.CREDIT]
    assert run(street, "mode", str(no), "postpaid", "--yes") == 0
    with street.pay.db.read() as conn:
        assert pending_mode(conn, account_of(conn, no)) is not None
    spare_meter(street)
    assert run(street, "meter", str(no), "NEW-50", "--closing", "5900.5", "--yes") == 0
    spare_edge(street)
    assert run(street, "account", str(no), "dcu-new", "--yes") == 0
    assert run(street, "dcu", DCU, "dcu-new", "--yes") == 0
    assert "done; 2 accounts" in capsys.readouterr().out
    with pytest.raises(RefusedCommand, match="enrol it first"):
        run(street, "dcu", "dcu-new", "nowhere", "--yes")
    with pytest.raises(RefusedCommand, match="on its way to regular billing"):
        run(street, "manage", str(no), "cloud", "--yes")
    with street.pay.db.write() as conn:
        conn.execute(update(account_table).values(zero_action="none"))
        other = street.pay.homes[1].account_no
    assert run(street, "manage", str(other), "cloud", "--yes") == 0
    assert "The cloud charges it from the readings" in capsys.readouterr().out
