"""The display at the concentrator and the portal in the cloud show the same figures from the same journal (C3-S1.12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_cloud.customers import tariffs
from gridtally_cloud.web.forecast import forecast
from gridtally_cloud.web.reads.pace import pace
from gridtally_edge.display.account import view_account
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
            outlook = forecast(portal.balance_nano, tariff, pace(conn, home.account_no), [], 0)
        assert display is not None
        assert (portal.balance_nano, portal.seq) == (display.balance_nano, display.seq)
        assert outlook.left_wh == display.energy_left_wh
        assert outlook.left_ms == display.time_left_ms
    street.close()
