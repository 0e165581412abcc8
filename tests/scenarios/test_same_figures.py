"""The meter's face, the display on the spot and the portal show the same figures as of the same moment (C3-S1.12, C3-FR1)."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gridtally_cloud.customers import tariffs
from gridtally_cloud.customers.accounts import account
from gridtally_cloud.prepay.time_left import time_left_of
from gridtally_cloud.web.forecast import forecast
from gridtally_cloud.web.reads import usage as usage_reads
from gridtally_edge.display.account import view_account
from gridtally_edge.polling.plans import PollPlan
from gridtally_shared.messages.words import whole_span
from support.town import town
from support.web_street import PER_DAY, WebStreet


@pytest.mark.covers_part("C3-S1.12")
@pytest.mark.parametrize("quarters", [4, 12, 40, PER_DAY, PER_DAY + 7, PER_DAY * 5])
def test_display_and_portal_agree(tmp_path: Path, quarters: int) -> None:
    street = WebStreet(tmp_path)
    street.live(quarters)
    for home in street.pay.homes[:2]:
        display = view_account(street.pay.money, home.account_no, street.now_ms)
        portal = street.pay.balance(home.account_no)
        with street.pay.db.read() as conn:
            tariff = tariffs.tariff_at(tariffs.versions_of(conn, "home"), street.now_ms)
            outlook = forecast(portal.balance_nano, portal.as_of_ms, tariff, time_left_of(conn, home.account_no), [], 0)
        assert display is not None
        assert (portal.balance_nano, portal.seq, portal.as_of_ms) == (display.balance_nano, display.seq, display.as_of_ms)
        assert outlook.left_wh == display.energy_left_wh
        assert outlook.left_ms == display.time_left_ms
    street.close()


TURN_MS = 6 * 3_600_000
EPOCH_DAY = date(1970, 1, 1).toordinal()


@pytest.mark.covers("C3-S1.12", "C3-S2.14", "C3-FR1")
def test_face_display_and_portal_say_balance_energy_time_left_usual_day_and_history_as_of_one_moment(tmp_path: Path) -> None:
    """Pre: a household read four times a day. Post: three days later the meter's own objects, the page on the spot and the portal say
    money, kWh, days with hours and minutes, the daily average, and when that was; page and portal also what each day took."""
    with town(tmp_path, opening="400", plan=PollPlan(turn_s=TURN_MS // 1_000, watch_s=-1)) as acacia:
        acacia.connect()
        acacia.street.wind(TURN_MS - acacia.now_ms % TURN_MS + 90 * 60_000)
        for _ in range(11):
            acacia.street.beat()
            acacia.carry()
            acacia.street.wind(TURN_MS)
        acacia.street.beat()
        acacia.carry()
        view, page = acacia.display(), acacia.display_page()
        portal = acacia.person("asha").get(f"/account/{acacia.account_no()}/").replace("\N{NO-BREAK SPACE}", " ")
        house, site = acacia.house(), acacia.site()
        with acacia.db.read() as conn:
            point = account(conn, acacia.account_no()).usage_point_no
            days = usage_reads.day_totals(conn, point, view.today - EPOCH_DAY - 14, view.today - EPOCH_DAY)
    assert (view.as_of_ms, view.seq) == (site.as_of_ms, site.seq)
    at = datetime.fromtimestamp(view.as_of_ms / 1_000, ZoneInfo("Asia/Kolkata"))
    money, spent = f"₹ {view.balance_nano // 10**7 / 100:.2f}", whole_span(view.time_left_ms or 0)
    energy, usual = f"{(view.energy_left_wh or 0) // 100 / 10:.1f} kWh", f"{(view.daily_wh or 0) / 1_000:.2f} kWh"
    assert re.fullmatch(r"\d+ d \d+ h \d+ min", spent)
    for said in (money, spent, energy, usual):
        assert (said in page, said in portal) == (True, True)
    assert (f"As of {at:%d.%m.%Y %H:%M}" in page, f"As of {at.day} {at:%b %Y, %H:%M}" in portal) == (True, True)
    # the face: two objects for money and moment, the line of text for the others
    assert house.shown_balance() == (view.balance_nano // 10**7, view.as_of_ms)
    assert house.shown_text() == f"{energy} | {spent} | {usual}/d"
    assert (house.prepaid(21), house.prepaid(23)) == (40_000, 40_000)
    # history
    assert [(d.day - EPOCH_DAY, d.wh, d.present) for d in view.days] == [(d.day, d.wh, d.present) for d in days]
    assert len([d for d in days if d.is_whole]) == 2
    assert all(f"{(d.wh + 5) // 10 / 100:.2f} kWh" in shown for d in days if d.is_whole for shown in (page, portal))
