"""The billing system commands monthly billing data of meters and groups through the API; simulated meters answer over their lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import command
from gridtally_cloud.web.tokens import create_token
from support.chain import Chain, chain
from support.unasked import house_of, ms_of

DAY_MS = 86_400_000
BILLING_SYSTEM = ("commands:write", "commands:read", "readings:read")


def token(c: Chain, *scopes: str, customer_no: int | None = None) -> str:
    with c.db.write() as conn:
        return create_token(conn, "billing system", scopes, c.now_ms, "ada", customer_no=customer_no)


def asked(c: Chain, key: str, text: str, **body: Any) -> dict[str, Any]:
    answer = c.send("POST", "/billing-reads", key, text, json=body)
    assert answer.status_code == 202, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    assert answer.headers["Location"].endswith(f"/billing-reads/{found['job_no']}")
    return found


def seen(c: Chain, path: str, text: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = c.send("GET", path, token=text, query_string=query).get_json()
    return found


def counted(job: dict[str, Any]) -> dict[str, int]:
    return {state: n for state, n in job["counts"].items() if n}


@pytest.mark.covers("BYPL-2.1")
def test_a_job_says_how_far_each_meter_is_and_lists_what_each_answered(tmp_path: Path) -> None:
    """Meters 1 and 2 answer, 3 is mute, 4 keeps no billing rows, 99 is nobody's."""
    with chain(tmp_path, dlms=3, modbus=1) as c:
        text, closing_ms = token(c, *BILLING_SYSTEM), house_of(c).billing(0, c.now_ms)[-1].at_ms
        span = {"from": utc_text(closing_ms - DAY_MS), "to": utc_text(closing_ms + 1)}
        c.street.mute.add("dlms/3")
        made = asked(c, "march", text, dcu=c.street.dcu, meters=[99], **span)
        assert (made["state"], made["requested_by"], counted(made)) == ("open", "api:billing system", {"waiting": 4, "failed": 1})
        c.carry()
        job = seen(c, f"/billing-reads/{made['job_no']}", text)
        assert (job["state"], counted(job)) == ("done", {"collected": 2, "failed": 3})
        items = {item["meter_no"]: item for item in seen(c, f"/billing-reads/{made['job_no']}/results", text)["items"]}
        assert {no: (item["state"], item["reason"]) for no, item in items.items() if no != 99} == {
            1: ("collected", ""), 2: ("collected", ""), 3: ("failed", "no_answer"), 4: ("failed", "unsupported")}  # fmt: skip
        assert (items[99]["state"], items[99]["cmd_id"], items[99]["reason"]) == ("failed", None, "no DCU serves meter 99")
        for number in (1, 2):
            (truth,) = house_of(c, number).billing(closing_ms, closing_ms)
            values = {v["quantity"]: v["value"] for v in items[number]["values"] if ms_of(v["at"]) == closing_ms}
            assert (values["energy_import_wh"], values["apparent_import_vah"]) == (truth.import_wh, truth.apparent_vah)
            assert [values[f"energy_import_rate{rate}_wh"] for rate in range(1, 9)] == list(truth.rates_wh)
            assert truth.demand_w in [v["value"] for v in items[number]["values"] if v["quantity"] == "demand_max_w"]
            assert 0 < values["billing_power_factor_milli"] <= 1_000


@pytest.mark.covers_part("BYPL-2.1")
def test_the_same_key_is_the_same_job_and_what_makes_no_sense_orders_nothing(tmp_path: Path) -> None:
    with chain(tmp_path, dlms=2) as c:
        text = token(c, *BILLING_SYSTEM)
        span = {"from": utc_text(c.now_ms - 2 * DAY_MS), "to": utc_text(c.now_ms - DAY_MS)}
        home = c.get("/accounts/1")["tariff_id"]
        first = asked(c, "k", text, tariff=home, **span)
        assert asked(c, "k", text, tariff=home, **span)["job_no"] == first["job_no"]
        c.carry()
        assert counted(seen(c, f"/billing-reads/{first['job_no']}", text)) == {"empty": 2}, "no month ended then"
        pages = [seen(c, f"/billing-reads/{first['job_no']}/results", text, limit=1)]
        pages.append(seen(c, f"/billing-reads/{first['job_no']}/results", text, limit=1, cursor=pages[0]["next"]))
        assert [item["meter_no"] for each in pages for item in each["items"]] == [1, 2]
        wrong: tuple[dict[str, Any], ...] = (
            {}, {"meters": ["1"]}, {"meters": list(range(1, 2_100))}, {"feeder": "nowhere"}, {"dcu": "nobody"},
            {"meters": [1], "from": span["to"], "to": span["from"]},
        )  # fmt: skip
        for body in wrong:
            assert c.send("POST", "/billing-reads", "w", text, json=span | body).status_code == 422, body
        own = token(c, *BILLING_SYSTEM, customer_no=1)
        assert c.send("POST", "/billing-reads", "c", own, json=span | {"meters": [1]}).status_code == 403
        assert c.send("GET", "/billing-reads/9999", token=text).status_code == 404
        with c.db.read() as conn:
            mine = command.c.cause.startswith("billing read")
            assert conn.execute(select(func.count()).select_from(command).where(mine)).scalar_one() == 2


@pytest.mark.covers_part("BYPL-2.5")
def test_the_billing_system_fetches_determinants(tmp_path: Path) -> None:
    with chain(tmp_path, dlms=1, postpaid=1) as c:
        c.next_quarter(6)
        whole, own = token(c, "bills:read"), token(c, "bills:read", customer_no=99)
        rows = [r for r in c.items("/meters/1/readings", **{"from": utc_text(0)}) if r["quantity"] == "energy_import_wh"]
        first, last = rows[0], rows[-1]
        found = seen(c, "/accounts/1/determinants", whole, **{"from": first["at"], "to": last["at"]})
        assert (found["counted_by"], found["account_no"]) == ("register", 1)
        assert found["last"] == {"at": last["at"], "register_wh": last["value"], "ahead_wh": 0, "estimated": False}
        assert found["import_wh"] == last["value"] - found["first"]["register_wh"]
        assert c.send("GET", "/accounts/1/determinants", token=own).status_code == 404
