"""Each country pack's days as a table of events and what comes of them; every line is checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_shared.prepay.document import policy_of
from gridtally_shared.prepay.packs import names, pack
from support.policy_story import Supply, lines_of, settings_of, told

FOLDER = Path(__file__).parents[3] / "vectors" / "policy"
STORIES = sorted(FOLDER.glob("*.txt"))


def supply_of(path: Path) -> Supply:
    settings = settings_of(path)
    own = settings.get("policy", "")
    name = next((n for n in names() if path.stem.startswith(n)), "")
    account = {"contract_w": int(settings.get("contract_w", "0")), "flags": tuple(filter(None, [settings.get("flag", "")]))}
    return Supply(policy_of(own or pack(name)), settings["zone"], **account)


@pytest.mark.parametrize("path", STORIES, ids=[p.stem for p in STORIES])
def test_the_days_of_a_pack(path: Path) -> None:
    supply = supply_of(path)
    for number, line in enumerate(lines_of(path), 1):
        assert (number, line.at, *told(supply.tell(line.at, line.what))) == (number, line.at, line.stands, line.done)


def test_every_pack_has_its_days() -> None:
    assert {n for n in names() if any(p.stem.startswith(n) for p in STORIES)} == set(names())


@pytest.mark.parametrize("name", names())
def test_a_pack_says_that_it_is_a_sample(name: str) -> None:
    policy, raw = policy_of(pack(name)), json.loads(pack(name))
    assert policy.sample
    assert "needed before live use" in raw["source"]
