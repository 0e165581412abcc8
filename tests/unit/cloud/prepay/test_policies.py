"""Policies as stored and published: versions, boundaries, which account follows which, what travels to the edge."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from gridtally_cloud.assets.config_publisher import build
from gridtally_cloud.prepay import policy_cli
from gridtally_cloud.prepay.policies import PolicyReason, add_policy, follow, followed, travelling, versions
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.prepay.in_force import in_force
from gridtally_shared.prepay.packs import pack
from gridtally_shared.prepay.policy import ZeroAction
from support.cloud_store import DCU, START_MS, Street, new_street

QUARTER_MS = 900_000
EURO = json.dumps({"kind": "policy", "code": "home", "currency": "EUR", "zero_action": "disconnect"})
MILD = json.dumps({"kind": "policy", "code": "home", "currency": "EUR"})


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return new_street(tmp_path)


@pytest.mark.covers_part("C3-N3")
def test_a_version_travels_with_the_account_that_follows_it(street: Street) -> None:
    with street.db.write() as conn:
        add_policy(conn, START_MS, EURO, START_MS, "desk")
        add_policy(conn, START_MS + QUARTER_MS, MILD, START_MS, "desk")
        follow(conn, 2, "home", START_MS, "desk")
        config = build(conn, DCU, START_MS)
    assert [a.policy_id for a in config.accounts] == ["", "home", ""]
    assert [d.version for d in config.policies] == [1, 2]
    now, later = (in_force(config.accounts[1], config.policies, at) for at in (START_MS, START_MS + QUARTER_MS))
    assert (now.known, now.policy.zero_action) == (True, ZeroAction.DISCONNECT)
    assert (later.known, later.policy.zero_action, later.policy.version) == (True, ZeroAction.NONE, 2)


def test_what_is_over_stays_at_home(street: Street) -> None:
    with street.db.write() as conn:
        for number in range(3):
            add_policy(conn, START_MS + number * QUARTER_MS, EURO, START_MS, "desk")
        assert [d.version for d in travelling(conn, {"home", ""}, START_MS + QUARTER_MS)] == [2, 3]
        assert [d.version for d in versions(conn)] == [1, 2, 3]


@pytest.mark.parametrize(("from_ms", "reason"), [
    (START_MS + 1, PolicyReason.NOT_AT_A_BOUNDARY), (START_MS - 2 * QUARTER_MS, PolicyReason.POLICY_IN_THE_PAST),
    (START_MS, PolicyReason.POLICY_IN_THE_PAST),
])  # fmt: skip
def test_a_version_begins_later_than_all_before_it(street: Street, from_ms: int, reason: str) -> None:
    with street.db.write() as conn:
        add_policy(conn, START_MS, EURO, START_MS, "desk")
        with pytest.raises(RefusedCommand) as caught:
            add_policy(conn, from_ms, EURO, START_MS, "desk")
    assert caught.value.reason == reason


def test_an_account_follows_only_what_is_there_and_in_its_currency(street: Street) -> None:
    with street.db.write() as conn:
        with pytest.raises(RefusedCommand, match="load it first"):
            follow(conn, 1, "home", START_MS, "desk")
        add_policy(conn, START_MS, pack("texas"), START_MS, "desk")
        with pytest.raises(RefusedCommand, match="not in EUR"):
            follow(conn, 1, "texas", START_MS, "desk")
        add_policy(conn, START_MS, EURO, START_MS, "desk")
        follow(conn, 1, "home", START_MS, "desk")
        assert followed(conn) == {1: "home"}
        follow(conn, 1, "", START_MS, "desk")
        assert followed(conn) == {}


def test_a_document_that_is_not_understood_is_not_stored(street: Street) -> None:
    with street.db.write() as conn:
        with pytest.raises(ConfigError, match="zero_acton"):
            add_policy(conn, START_MS, EURO.replace("zero_action", "zero_acton"), START_MS, "desk")
        assert versions(conn) == ()


def test_the_command_says_what_a_pack_does_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_cli._check(Namespace(document="karnataka")) == 0
    said = capsys.readouterr().out
    assert "At zero: disconnect; never while offline; currency INR" in said
    assert "needed before live use" in said
    with pytest.raises(ConfigError, match="one of gb_like, karnataka"):
        policy_cli._check(Namespace(document="nowhere.json"))
