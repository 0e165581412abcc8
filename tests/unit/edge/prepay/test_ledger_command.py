"""`gridtally-dcu ledger` is clean on clean books and finds each kind of damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_edge.prepay.cli import main
from gridtally_shared.ledger.entries import Kind
from support.prepay_bench import HOUR_MS, Bench

TAMPERS = {
    "the bytes of an entry": "UPDATE journal SET body = CAST(replace(body, x'1b', x'1a') AS BLOB) WHERE kind = 2 AND account_no = 101",
    "an entry gone": "DELETE FROM journal WHERE seq = 2",
    "the cached balance": "UPDATE account SET balance_nano = balance_nano + 1 WHERE account_no = 101",
    "noise": "UPDATE journal SET body = x'00' WHERE seq = 2",
}


@pytest.fixture
def site(tmp_path: Path) -> Bench:
    (tmp_path / "data").mkdir()
    (tmp_path / "key.pub").write_bytes(bytes(32))
    (tmp_path / "dcu.toml").write_text('dcu = "dcu-1"\ncommand_key_file = "key.pub"\n')
    bench = Bench(tmp_path / "data", 2)
    for meter in (1, 2):
        bench.credit(meter, "100")
        bench.wait(HOUR_MS)
        bench.read(meter, 1_001_000)
    return bench


def run(site: Bench, *words: str) -> int:
    return main(["--config", str(site.folder.parent / "dcu.toml"), *words])


def test_clean_books_with_the_agent_stopped(site: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    site.db.close()
    assert run(site) == 0
    assert "2 journals, all clean." in capsys.readouterr().out


def test_json_gives_exact_amounts(site: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "--json", "--account", "102") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["account"], found["balance"], found["charged_wh"], found["clean"]) == (102, "91.6", 1000, True)
    assert found["pools"] == {"paid": "91.6", "received": "-100", "energy": "8", "tax": "0.4"}


def test_entries_are_printed(site: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "--entries", "--account", "101") == 0
    assert Kind.CREDIT.name in capsys.readouterr().out


@pytest.mark.parametrize("what", TAMPERS)
def test_damage_is_found(site: Bench, capsys: pytest.CaptureFixture[str], what: str) -> None:
    changed = site.db.execute(TAMPERS[what]).rowcount
    assert changed >= 1
    assert run(site) == 1
    assert "with a fault" in capsys.readouterr().out
