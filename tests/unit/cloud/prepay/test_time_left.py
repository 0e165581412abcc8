"""The concentrator's word on how long a balance lasts: kept once, newest first, only from the one that serves the account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_cloud.prepay.time_left import take_time_left, time_left_of
from gridtally_shared.contract.prepay_messages import TimeLeftTold
from gridtally_shared.errors import ContractError
from gridtally_shared.forecast.timeleft import Basis, span_ms
from support.payday import Payday

HOUR_MS = 3_600_000


def test_the_newest_word_is_kept_and_a_stranger_is_not_heard(tmp_path: Path) -> None:
    pay = Payday(tmp_path)
    account_no, at_ms = pay.homes[0].account_no, 1_772_430_000_000
    told = TimeLeftTold(account_no, 1, at_ms, 5_000, at_ms + 9 * HOUR_MS, at_ms + 6 * HOUR_MS, "history")
    with pay.db.write() as conn:
        assert time_left_of(conn, account_no) is None
        for word in (told, replace(told, as_of_ms=at_ms - HOUR_MS, central_ms=None)):
            take_time_left(pay.arrival(conn), word)
        left = time_left_of(conn, account_no)
        assert left is not None
        assert (left.basis, span_ms(left), left.cautious_ms) == (Basis.HISTORY, 9 * HOUR_MS, at_ms + 6 * HOUR_MS)
        take_time_left(pay.arrival(conn), replace(told, as_of_ms=at_ms + HOUR_MS, central_ms=None, cautious_ms=None, basis="none"))
        assert time_left_of(conn, account_no) is None
        for wrong in (replace(told, account_no=999_999), replace(told, basis="stars")):
            with pytest.raises(ContractError):
                take_time_left(pay.arrival(conn), wrong)
