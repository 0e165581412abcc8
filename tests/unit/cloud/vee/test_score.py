"""`gridtally-mdm vee --score`: the damaged house of the data, and folders that hold none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_cloud.cli import main
from support.data import data_path

HOURS = ("2026-03-02T00:00:00+05:30", "2026-03-02T00:30:00+05:30", "2026-03-02T01:00:00+05:30", "2026-03-02T01:30:00+05:30")
ROWS = [f"{at},{kwh}\n" for at, kwh in zip(HOURS, ("0.100", "0.200", "0.300", "0.300"), strict=True)]
FILES = {
    "damaged": "".join(["interval_start,kwh\n", ROWS[0], *ROWS[2:]]),
    "registers": "read_time,register_kwh\n2026-03-02T00:00:00+05:30,1.0\n2026-03-02T02:00:00+05:30,1.9\n",
    "truth": "".join(["interval_start,kwh\n", *ROWS]),
}
FAULTS = {"faults": [{"kind": "gap", "start": "2026-03-02 00:30:00", "intervals": 1}]}


def house(folder: Path, **other: str) -> Path:
    for name, text in FILES.items():
        (folder / f"h_{name}.csv").write_text(other.get(name, text))
    (folder / "h_faults.json").write_text(other.get("faults", json.dumps(FAULTS)))
    return folder


def test_in_the_damaged_house_every_fault_is_found_and_nothing_else_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vee", "--score", str(data_path("vee/10018064_damaged.csv").parent), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert [f["kind"] for f in score["faults"] if not f["found"]] == []
    assert len(score["faults"]) == 10
    assert score["changed_outside"] == 0
    assert (score["days_that_sum"], score["days"]) == (31, 31)
    assert score["total_wh"] == score["truth_total_wh"] == 91_594


def test_the_score_is_printed_for_people_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vee", "--score", str(house(tmp_path)), "--zone", "Asia/Kolkata"]) == 0
    head, _, _, fault, *_ = capsys.readouterr().out.splitlines()
    assert head == "h: 1 of 1 faults found, 0 intervals changed outside them, 1 of 1 days sum to the register"
    assert fault.split() == ["gap", "2026-03-02", "00:30", "1", "yes", "200", "Wh", "200", "Wh", "EST-LIN"]


def test_a_fault_that_vee_does_not_find_is_said_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = {"faults": [{"kind": "spike", "start": "2026-03-02 00:00:00", "intervals": 1}]}
    assert main(["vee", "--score", str(house(tmp_path, faults=json.dumps(faults))), "--zone", "Asia/Kolkata", "--json"]) == 1
    score = json.loads(capsys.readouterr().out)
    assert not score["faults"][0]["found"]
    assert score["changed_outside"] == 1, "the hole is no fault of this file"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"damaged": "interval_start,kwh\nyesterday,1\n"}, "h_damaged.csv, line 2"),
        ({"damaged": "interval_start,kwh\n2026-03-02T00:00:00+05:30,0.0001\n"}, "h_damaged.csv, line 2"),
        ({"registers": "read_time,register_kwh\n"}, "at least one row each"),
        ({"faults": "{}"}, "JSON with `faults`"),
    ],
)
def test_what_can_not_be_read_is_named_with_its_line(
    wrong: dict[str, str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vee", "--score", str(house(tmp_path, **wrong)), "--zone", "Asia/Kolkata"]) == 3
    assert says in capsys.readouterr().err


def test_half_an_hour_off_utc_needs_the_name_of_its_zone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vee", "--score", str(house(tmp_path))]) == 3
    assert "--zone" in capsys.readouterr().err


def test_a_folder_without_a_house_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vee", "--score", str(tmp_path)]) == 3
    assert "NAME_damaged.csv" in capsys.readouterr().err
