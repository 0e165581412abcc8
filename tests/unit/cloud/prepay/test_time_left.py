"""The concentrator's word on how long a balance lasts: kept once, newest first, only from the one that serves the account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_cloud.prepay.time_left import take_time_left, take_times_left, time_left_of
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


def test_words_that_come_together_are_kept_as_if_they_came_one_by_one(tmp_path: Path) -> None:
    pay = Payday(tmp_path)
    account_no, at_ms = pay.homes[0].account_no, 1_772_430_000_000
    first = TimeLeftTold(account_no, 1, at_ms, 5_000, at_ms + 9 * HOUR_MS, at_ms + 6 * HOUR_MS, "history")
    newer, other = replace(first, as_of_ms=at_ms + HOUR_MS, basis="young"), replace(first, account_no=pay.homes[1].account_no)
    with pay.db.write() as conn:
        wrong = replace(first, account_no=999_999), replace(newer, as_of_ms=at_ms + 2 * HOUR_MS, basis="stars")
        refused = take_times_left(pay.arrival(conn), (first, newer, wrong[0], other, wrong[1], first))
        assert sorted(refused) == [2, 4]
        kept = [time_left_of(conn, home.account_no) for home in pay.homes[:2]]
        assert [(left.as_of_ms, left.basis) for left in kept if left] == [(at_ms + HOUR_MS, Basis.YOUNG), (at_ms, Basis.HISTORY)]
