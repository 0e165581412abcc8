"""Pages of money on its way: the replay of both streams, late credits, the receipt's code, automatic recharge, what is to be paid."""

from __future__ import annotations

import json

import pytest

from gridtally_cloud.ingest.measurements import take_readings
from gridtally_cloud.prepay import managed_run, policies, resend
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.notices import notice_of
from gridtally_cloud.prepay.replenish_rules import RuleState, methods, rule_of
from gridtally_cloud.prepay.resend import HOUR_MS, MINUTE_MS
from gridtally_cloud.web.i18n import LANGUAGES, language
from gridtally_cloud.web.speech import notice_text, switch_text
from gridtally_shared.contract.messages import Readings, Value
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import SwitchEvidence, detail
from gridtally_shared.quantities import ENERGY_IMPORT
from support.payday import SIGNER
from support.web_person import Person
from support.web_street import WebStreet


def account_path(street: WebStreet) -> str:
    return f"/account/{street.pay.account}"


@pytest.mark.covers_part("C3-A3.3")
def test_the_replay_page_shows_what_the_consumer_sees_and_what_is_in_transit(street: WebStreet) -> None:
    dora, say = Person(street.app(), "dora"), language("en", "Asia/Kolkata")
    street.pay.pay("250")
    html = dora.get(f"/desk/accounts/{street.pay.account}/replay")
    view = street.pay.balance()
    assert say.money(view.balance_nano, "INR") in html
    assert say.t("replay.as_of", when=say.when(view.as_of_ms), seq=view.seq) in html
    assert say.t("replay.agrees") in html
    assert say.t("replay.transit") in html
    assert say.money(view.pending_nano, "INR") in html


def test_the_replay_page_is_for_staff_in_three_languages(street: WebStreet) -> None:
    app = street.app()
    Person(app, "asha").get(f"/desk/accounts/{street.pay.account}/replay", 403)
    otto = Person(app, "otto")
    for code in LANGUAGES:
        otto.post("/language", {"language": code, "next": "/"}, form="/desk/late")
        assert language(code).t("replay.lines") in otto.get(f"/desk/accounts/{street.pay.account}/replay")
    otto.get("/desk/accounts/4711/replay", 404)


def test_a_late_credit_is_on_the_desk_and_its_code_on_the_receipt(street: WebStreet) -> None:
    app = street.app()
    asha, dora = Person(app, "asha"), Person(app, "dora")
    capture = street.pay.pay("250")
    assert capture.order is not None
    receipt = f"{account_path(street)}/orders/{capture.order.order_id}"
    assert "code-to-type" not in asha.get(receipt)
    street.pay.now_ms += MINUTE_MS
    resend.watch(street.pay.db, street.now_ms)
    with street.pay.db.read() as conn:
        assert capture.payment is not None
        code = resend.code_to_type(conn, capture.payment.instrument)
    assert len(code.replace(" ", "")) == 24
    assert code in asha.get(receipt)
    assert "The receipt has a code" in asha.get(f"{account_path(street)}/")
    street.pay.now_ms += HOUR_MS
    resend.watch(street.pay.db, street.now_ms)
    assert "Late" in dora.get("/desk/late")


@pytest.mark.covers_part("C3-A2.8d")
def test_a_consumer_stores_a_method_agrees_and_ends_it(street: WebStreet) -> None:
    asha, path = Person(street.app(), "asha"), f"{account_path(street)}/replenish/"
    assert asha.post(f"{path}method", {"choice": "card"}, form=path).status_code == 302
    with street.pay.db.read() as conn:
        method = methods(conn, street.pay.account)[0]
    wish = {"method": str(method.method_no), "threshold": "100", "amount": "500", "month_cap": "2,000.00"}
    refused = asha.post(path, wish)
    assert refused.status_code == 422
    assert "without your consent" in refused.get_data(as_text=True)
    assert asha.post(path, wish | {"consent": "1", "amount": "1"}).status_code == 422
    assert asha.post(path, wish | {"consent": "1"}).status_code == 302
    with street.pay.db.read() as conn:
        rule = rule_of(conn, street.pay.account)
    assert rule is not None
    assert (rule.state, rule.consent_by) == (RuleState.ACTIVE, "consumer:asha")
    assert asha.post(f"{path}off", form=path).status_code == 302
    assert asha.post(f"{path}method/{method.method_no}/remove", form=path).status_code == 302
    with street.pay.db.read() as conn:
        assert rule_of(conn, street.pay.account).state is RuleState.OFF  # type: ignore[union-attr]
        assert methods(conn, street.pay.account) == ()


def test_a_neighbour_can_not_touch_the_rule(street: WebStreet) -> None:
    bilal, path = Person(street.app(), "bilal"), f"{account_path(street)}/replenish/"
    own = f"/account/{street.pay.homes[1].account_no}/replenish/"
    bilal.get(path, 404)
    for action in ("", "off", "method", "method/1/remove"):
        assert bilal.post(path + action, {"choice": "card"}, form=own).status_code == 404


@pytest.mark.parametrize(("spoken", "close", "result", "shown"), [
    ("en", True, "done", "Switch closed"), ("en", False, "already", "Switch opened"),
    ("en", True, "stuck", "Tried to switch on: the switch did not follow"),
    ("en", True, "switch_stuck", "Tried to switch on: the switch did not follow"),
    ("en", False, "wrong_serial", "Tried to switch off: another meter answered"),
    ("en", False, "of another version", "Tried to switch off: it was not done"),
    ("es", True, "no_answer", "Se intentó conectar: sin respuesta"),
    ("hi", True, "stuck", "चालू करने का प्रयास: स्विच नहीं चला"),
])  # fmt: skip
def test_a_switch_action_that_failed_is_told_as_failed(old_street: WebStreet, spoken: str, close: bool, result: str, shown: str) -> None:
    """In the list of messages and in the evidence of a meter alike."""
    seen = SwitchEvidence(close, result, 1)
    entry = LedgerEntry(1, 0, 3, b"", int(Kind.SWITCH), 0, detail=detail(seen))
    with old_street.app().test_request_context(headers={"Accept-Language": spoken}):
        assert notice_text(notice_of(entry, "switch"), "INR") == shown
        assert switch_text(seen) == shown


OFFERS = {"kind": "policy", "code": "ours", "name": "Ours", "currency": "INR", "zero_action": "disconnect",
          "emergency": {"limit": "20", "threshold": "9000", "uses_per_topup": 1}, "languages": ["en"]}  # fmt: skip


def test_a_household_the_mdm_runs_takes_up_its_emergency_credit_in_the_portal(street: WebStreet) -> None:
    """Offered with a button, taken once; a household that a concentrator runs is sent to its display."""
    app, pay = street.app(), street.pay
    with pay.db.write() as conn:
        policies.add_policy(conn, pay.now_ms, json.dumps(OFFERS), pay.now_ms, "ada")
        policies.follow(conn, pay.account, "ours", pay.now_ms, "ada")
        manage(conn, SIGNER, pay.account, Managed.CLOUD, pay.now_ms, "ada")
    pay.wait(900_000)
    with pay.db.write() as conn:
        take_readings(pay.arrival(conn), Readings((Value(pay.homes[0].meter_no, ENERGY_IMPORT.code, pay.now_ms, 9_000_000),)))
    managed_run.run(pay.db, SIGNER, pay.now_ms)
    asha, say, home, take = Person(app, "asha"), language("en"), account_path(street) + "/", account_path(street) + "/emergency"
    assert say.t("emergency.take") in asha.get(home)
    assert asha.post(take, {}, form=home).status_code == 303
    page = asha.get(home)
    assert say.t("emergency.taken") in page
    assert say.t("emergency.take") not in page
    asha.post(take, {}, form=home)
    assert say.t("emergency.not_now") in asha.get(home)
    bilal = Person(app, "bilal")
    other = f"/account/{pay.homes[1].account_no}/"
    assert bilal.post(take, {}, form=other).status_code == 404
    bilal.post(other + "emergency", {}, form=other)
    assert language("hi").t("emergency.not_now") in bilal.get(other)
