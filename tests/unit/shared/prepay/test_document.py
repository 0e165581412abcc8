"""A policy document is read whole or refused with the field, what stands there and what to write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import nano
from gridtally_shared.prepay import document
from gridtally_shared.prepay.document import canonical, policy_of, schema
from gridtally_shared.prepay.in_force import active, in_force
from gridtally_shared.prepay.packs import names, pack
from gridtally_shared.prepay.policy import OfflineCut, Policy, ZeroAction

LEAST = {"kind": "policy", "code": "home", "currency": "INR"}


def text(**more: object) -> str:
    return json.dumps(LEAST | more)


def test_a_document_that_says_nothing_cuts_nobody() -> None:
    policy = policy_of(text(), 7)
    assert policy == Policy("home", currency="INR", version=7)
    assert (policy.zero_action, policy.offline_cut) == (ZeroAction.NONE, OfflineCut.NEVER)


@pytest.mark.parametrize(("more", "path", "remedy"), [
    ({"kind": "rules"}, "kind", 'write one of "policy"'),
    ({"currency": "RUPEES"}, "currency", "ISO 4217"),
    ({"zero_acton": "disconnect"}, "zero_acton", "this key is not known here"),
    ({"zero_action": "cut"}, "zero_action", '"disconnect"'),
    ({"low": {"money": [10]}}, "low.money[0]", 'write it in quotes: "10"'),
    ({"low": {"percent_of_last": ["130"]}}, "low.percent_of_last", "at most 100 percent"),
    ({"notice": {"lead_s": -1}}, "notice.lead_s", "whole number from 0"),
    ({"protected": {"daily": [{"from": "18:00", "to": "8"}]}}, "protected.daily[0].to", 'time of day from "00:00"'),
    ({"protected": {"daily": [{"from": "08:00", "to": "08:00"}]}}, "protected.daily[0]", "two different times"),
    ({"protected": {"weekly": [{"days": ["sunday"]}]}}, "protected.weekly[0].days[0]", '"sun"'),
    ({"protected": {"flags": [{"flag": "medical", "from": "10-01"}]}}, "protected.flags[0]", "both 'from' and 'to'"),
    ({"offline": {"cut": "grace"}}, "offline.grace_h", "hours of grace"),
    ({"offline": {"cut": "never", "lease_days": 30}}, "offline.lease_days", "take it out"),
    ({"offline": {"cut": "allowed"}, "keypad": False}, "offline.cut", "restores on the spot"),
    ({"zero_action": "limit"}, "limit.at_zero", "write a step"),
    ({"limit": {"steps": [{"code": "half", "watts": 300, "percent": "50"}]}}, "limit.steps[0]", "either watts or percent"),
    ({"emergency": {"limit": "5", "step": 1}}, "emergency.step", "there are 0 steps"),
    ({"emergency": {"limit": "0", "threshold": "1"}}, "emergency.limit", "above zero"),
    ({"overdraft": [{}]}, "overdraft[0]", "how far below zero"),
    ({"then": "disconnect"}, "then", "take it out"),
    ({"zero_action": "replenish", "then": "postpaid"}, "then", "what follows a request"),
    ({"debts": [{"kind": "time"}]}, "debts[0].rate", "a rate each period"),
    ({"debts": [{"kind": "payment"}]}, "debts[0].percent", "a share of a top-up"),
    ({"debts": [{"kind": "time", "rate": "1"}, {"kind": "payment", "percent": "10", "period": "day"}]}, "debts", "same period"),
    ({"topup": {"min": "100", "max": "50"}}, "topup.max", "at least the smallest"),
    ({"languages": []}, "languages", "at least 1"),
])  # fmt: skip
def test_each_fault_is_named_with_what_to_write(more: dict, path: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_of(text(**more))
    assert str(caught.value).startswith(f"{path} = ")
    assert remedy in str(caught.value)


@pytest.mark.parametrize("bad", ["", "[]", '{"kind": "policy", "kind": "policy"}', '{"kind":'])
def test_what_is_no_document_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError):
        policy_of(bad)


def test_the_schema_beside_the_code_is_the_one_the_code_reads_by() -> None:
    stored = Path(document.__file__).with_name("policy.schema.json").read_text(encoding="utf-8")
    assert stored == schema()


@pytest.mark.parametrize("name", names())
def test_a_pack_travels_in_one_line_and_means_the_same(name: str) -> None:
    assert "\n" not in canonical(pack(name))
    assert policy_of(canonical(pack(name))) == policy_of(pack(name))


ACCOUNT = AccountConfig(1, 1, 1, "INR", "Asia/Kolkata", "home", nano("5"), "disconnect", policy_id="home")


def version(number: int, from_ms: int, **more: object) -> PolicyDocument:
    return PolicyDocument("home", number, from_ms, text(**more))


def test_the_version_whose_day_came_last_holds_and_never_an_older_one_again() -> None:
    first, second, late = version(1, 0), version(3, 1_000), version(2, 2_000)
    documents = (late, second, first, PolicyDocument("other", 9, 0, text()))
    assert [active("home", documents, at) for at in (-1, 0, 999, 1_000, 2_000)] == [None, first, first, second, second]


@pytest.mark.covers_part("C3-N3")
def test_a_new_version_takes_effect_on_its_day() -> None:
    documents = (version(1, 0, zero_action="disconnect"), version(2, 5_000))
    actions = [in_force(ACCOUNT, documents, at).policy.zero_action for at in (4_999, 5_000)]
    assert actions == [ZeroAction.DISCONNECT, ZeroAction.NONE]


@pytest.mark.parametrize("documents", [(), (PolicyDocument("home", 1, 0, "{"),), (version(1, 0, currency="EUR"),)])
def test_a_catalogue_that_is_not_here_is_no_leave_to_cut(documents: tuple[PolicyDocument, ...]) -> None:
    rules = in_force(ACCOUNT, documents, 1)
    assert not rules.known
    assert rules.policy.low.money_nano == (nano("5"),)


def test_without_a_catalogue_the_rules_of_the_record_hold() -> None:
    plain = AccountConfig(1, 1, 1, "INR", "Asia/Kolkata", "home", nano("5"), "disconnect")
    rules = in_force(plain, (), 1)
    assert rules.known
    assert rules.policy.zero_action is ZeroAction.DISCONNECT
