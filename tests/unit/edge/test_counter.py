"""The counter: requests wait for the agent, answers for the asker; what is no request is taken away."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gridtally_edge.core_events import GiveAnswer
from gridtally_edge.counter import Answer, Ask, Asked, Counter
from gridtally_edge.counter_cli import SAID, emergency, instruments, keypad
from gridtally_edge.prepay.keypad import CodeResult
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.money import nano
from support.little_street import DCU, LittleStreet, little_street
from support.prepay_bench import account_of, tariff


def test_a_request_waits_until_it_is_answered_once(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    assert list(counter.waiting()) == []
    ask_id = counter.leave(Ask("code", 101, "1234"))
    (asked,) = Counter(tmp_path).waiting()
    assert (asked.ask_id, asked.ask) == (ask_id, Ask("code", 101, "1234"))
    assert counter.fetch(ask_id) is None
    counter.answer(ask_id, Answer("accepted", 5))
    assert list(counter.waiting()) == []
    assert counter.fetch(ask_id) == Answer("accepted", 5)
    assert counter.fetch(ask_id) is None


def test_rubbish_in_the_folder_is_taken_away_and_old_answers_are_swept(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    kept = counter.leave(Ask("code", 1, "x"))
    for name in ("zz.ask", f"{bytes(16).hex()}.ask"):
        (tmp_path / "counter" / name).write_bytes(b"\xff")
    assert [a.ask_id for a in counter.waiting()] == [kept]
    forgotten = tmp_path / "counter" / f"{b'o' * 16!r}.answer"
    forgotten.write_bytes(b"")
    os.utime(forgotten, (0, 0))
    counter.answer(kept, Answer("used"))
    assert [p.name for p in (tmp_path / "counter").iterdir()] == [f"{kept.hex()}.answer"]


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    (tmp_path / "key.pub").write_bytes(bytes(32))
    (tmp_path / "dcu.toml").write_text('dcu = "dcu-1"\ncommand_key_file = "key.pub"\n')
    return ["--config", str(tmp_path / "dcu.toml"), "--wait", "0.1"]


def test_without_an_agent_the_request_is_kept_and_said_so(config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keypad([*config, "101", "0400", "0058"]) == 4
    assert "The request is kept" in capsys.readouterr().err
    (asked,) = Counter(tmp_path / "data").waiting()
    assert asked.ask == Ask("code", 101, "0400 0058")


def test_a_spoilt_file_is_told_before_anything_is_asked(config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "credits.txt").write_text("GTI1/1/2/00000000:ABC\n")
    assert instruments([*config, "import", str(tmp_path / "credits.txt")]) == 6
    assert "part 2 of 2 is missing" in capsys.readouterr().err
    assert instruments([*config, "import", str(tmp_path / "none.txt")]) == 3
    assert not (tmp_path / "data" / "counter").exists()


def test_every_result_of_a_code_is_said_in_words() -> None:
    assert set(SAID) == {str(result) for result in CodeResult}


def test_emergency_credit_is_taken_at_the_counter_once_it_is_on_offer(tmp_path: Path, config: list[str]) -> None:
    assert emergency([*config, "101"]) == 4
    (asked,) = Counter(tmp_path / "data").waiting()
    assert asked.ask == Ask("emergency", 101, "")
    with little_street(tmp_path) as street:
        assert answer_of(street, asked) == "not_offered"
        home_near_zero(street)
        assert answer_of(street, asked) == "accepted"
        assert answer_of(street, asked) == "not_offered"


def answer_of(street: LittleStreet, asked: Asked) -> str:
    (given,) = (e for e in street.core.handle(asked, street.moment()) if isinstance(e, GiveAnswer))
    assert given.ask_id == asked.ask_id
    return given.answer.result


def home_near_zero(street: LittleStreet) -> None:
    """Account 101 with five rupees, and a policy that offers twenty below ten."""
    policy = {"kind": "policy", "code": "home", "currency": "INR", "emergency": {"limit": "20.00", "threshold": "10.00"}}
    now_ms = street.clock.now_ms()
    street.say_time()
    street.connect()
    street.down("config", m.DcuConfig(
        1, DCU, now_ms, tuple(m.MeterConfig(no, house.serial) for no, house in enumerate(street.houses.values(), start=1)),
        (account_of(1, policy_id="home"),), (tariff(),), policies=(PolicyDocument("home", 1, 0, json.dumps(policy)),),
    ))  # fmt: skip
    street.next_quarter()
    street.down("instrument", m.Instrument(1, DCU, 101, 1, 1, m.InstrumentType.CREDIT, nano("5"), "INR", b"r" * 16, now_ms, bytes(32)))
