"""Tokens of other systems through the core: handed to the meter once, its answer told as it says it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.core_events import GiveAnswer
from gridtally_edge.counter import Answer, Ask, Asked
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.instruments.token import TokenOrder, TokenOutcome, TokenStatus
from gridtally_shared.lifecycle import CommandState, Reason
from support.commands import command, done, last_receipt, ready
from support.little_street import LittleStreet, little_street

C, S = m.CommandType, CommandState
KEY = "dlms/1"
DIGITS = "12345678901234567890"
OTHER = "09876543210987654321"


def token(street: LittleStreet, digits: str = DIGITS) -> m.Command:
    return replace(command(street, C.TOKEN), detail=encode(TokenOrder(digits)))


def told(receipt: m.CommandReceipt) -> TokenOutcome:
    return decode(TokenOutcome, receipt.result)


def test_a_token_reaches_the_gateway_as_it_is_and_its_status_comes_back(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        outcome = told(done(street, token(street)))
        assert (outcome.status, outcome.data) == (TokenStatus.EXECUTION_OK, "00000000")
        assert abs(outcome.entered_ms - street.clock.now_ms()) < 60_000
        assert street.houses[KEY].tokens.entered == [DIGITS.encode()]
        (event,) = street.events("token_taken")
        assert "status=3" in event.detail
        assert DIGITS not in event.detail


def test_the_same_token_by_a_second_command_is_not_entered_again(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        first = done(street, token(street))
        assert done(street, token(street)).result == first.result
        assert street.houses[KEY].tokens.entered == [DIGITS.encode()]


def test_one_the_meter_had_before_is_only_looked_at(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].enter_token(DIGITS.encode())  # typed at the meter's own keypad
        assert told(done(street, token(street))).status == TokenStatus.EXECUTION_OK
        assert len(street.houses[KEY].tokens.entered) == 1


@pytest.mark.parametrize("status", [TokenStatus.AUTHENTICATION_FAILED, TokenStatus.EXECUTION_FAILED])
def test_a_refusal_is_told_with_the_stage_the_meter_names(tmp_path: Path, status: TokenStatus) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].tokens.answers.append(status)
        order = token(street)
        street.down("command", order)
        last = last_receipt(street, order)
        assert (last.state, last.reason, told(last).status) == (S.REFUSED, Reason.TOKEN_REFUSED, status)
        assert street.events("token_refused")


def test_a_used_one_is_refused_by_the_meter_with_its_data_value(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].enter_token(DIGITS.encode())
        street.houses[KEY].enter_token(OTHER.encode())
        order = token(street)
        street.down("command", order)
        assert told(last_receipt(street, order)) == TokenOutcome(6, "00000001", told(last_receipt(street, order)).entered_ms)


@pytest.mark.parametrize("answers", [5, 8, 9, 11])
def test_a_lost_answer_at_any_point_never_enters_it_twice(tmp_path: Path, answers: int) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.deaf_after[KEY] = answers
        order = token(street)
        street.down("command", order)
        for _ in range(3):
            street.wind(60_000)
            street.beat()
        assert last_receipt(street, order).state == S.DONE
        assert street.houses[KEY].tokens.entered == [DIGITS.encode()]


def test_a_restart_in_the_middle_looks_before_it_enters(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.drop_effects = True
        order = token(street)
        street.down("command", order)
        signer, clock_ms = street.signer, street.clock.now_ms()
    with little_street(tmp_path, signer=signer, start_ms=clock_ms) as street:
        street.connect()
        street.beat()
        street.beat()
        assert last_receipt(street, order).state == S.DONE
        assert len(street.houses[KEY].tokens.entered) == 1


def test_another_token_since_leaves_nobody_sure_and_nothing_is_repeated(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.drop_effects = True
        order = token(street)
        street.down("command", order)
        signer, clock_ms = street.signer, street.clock.now_ms()
    with little_street(tmp_path, signer=signer, start_ms=clock_ms) as street:
        street.houses[KEY].enter_token(OTHER.encode())
        street.connect()
        street.beat()
        street.beat()
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (S.FAILED, Reason.NOT_READ_BACK)
        assert street.houses[KEY].tokens.entered == [OTHER.encode()]
        assert street.events("token_lost")


def test_a_meter_that_takes_its_time_is_asked_again(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].tokens.slow = 6
        order = token(street)
        street.down("command", order)
        assert last_receipt(street, order).state == S.EXECUTING
        for _ in range(3):
            street.wind(60_000)
            street.beat()
        assert last_receipt(street, order).state == S.DONE
        assert len(street.houses[KEY].tokens.entered) == 1


def test_a_meter_that_never_answers_certainly_has_not_got_it_and_a_later_try_delivers(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.mute.add(KEY)
        order = token(street)
        order = replace(order, expires_ms=order.issued_at_ms + 90_000)
        street.down("command", order)
        for _ in range(3):
            street.wind(60_000)
            street.beat()
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (S.FAILED, Reason.NO_ANSWER)
        street.mute.clear()
        assert told(done(street, token(street))).status == TokenStatus.EXECUTION_OK


def test_a_meter_without_a_gateway_refuses(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        ready(street)
        order = token(street)
        street.down("command", order)
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (S.REFUSED, Reason.UNSUPPORTED)


def test_what_is_no_20_digits_never_reaches_the_meter(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        for digits in ("", "1234567890123456789", "123456789012345678901", "1234567890123456789x", "١" * 20):
            order = token(street, digits)
            street.down("command", order)
            last = last_receipt(street, order)
            assert (last.state, last.reason) == (S.REFUSED, Reason.MALFORMED)
        assert not street.houses[KEY].tokens.entered


def asked(street: LittleStreet, account_no: int, text: str, ask_id: bytes = b"") -> list[Answer]:
    """Somebody at the counter; what was answered."""
    effects = street.feed(Asked(ask_id or os.urandom(16), Ask("token", account_no, text)))
    return [effect.answer for effect in effects if isinstance(effect, GiveAnswer)]
