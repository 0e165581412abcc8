"""gridtally-dcu as a person meets it: helps, mistakes, exit codes; and the doctor's checks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_edge.cli import main
from gridtally_edge.config import load_config
from gridtally_edge.doctor import checks
from gridtally_shared.doctor import Check

MADE = 'dcu = "dcu-1"\n[[line]]\nname = "rs485"\ndevice = "absent"\n'


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "dcu.toml"
    path.write_text(MADE)
    (tmp_path / "command-key.pub").write_bytes(b"k" * 32)
    return str(path)


@pytest.mark.parametrize("words", [[], ["run"], ["read"], ["status"], ["init"], ["meter"], ["meter", "add"], ["simulate"]])
def test_every_help_has_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert "example: gridtally-dcu" in capsys.readouterr().out


def test_wrong_usage_is_exit_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "--config", "absent.toml"], 3, "--config = 'absent.toml'"),
        (["init", "--config", "absent.toml"], 3, "give --dcu NAME to make one"),
        (["status", "--config", "absent.toml"], 3, "absent.toml"),
        (["read", "--line", "absent", "--driver", "nosuch"], 3, "write one of"),
        (["read", "--line", "absent", "--driver", "eastron-sdm230", "--set", "unit=x"], 3, "a whole number"),
        (["read", "--line", "absent", "--driver", "eastron-sdm230", "--set", "unit"], 3, "key=value"),
        (["read", "--line", "absent", "--driver", "eastron-sdm230", "--set", "unit=1"], 4, "plug the adapter in"),
        (["read", "--line", "/", "--driver", "eastron-sdm230", "--set", "unit=1"], 3, "serial"),
    ],
)
def test_each_mistake_is_one_line_with_a_remedy(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    err = capsys.readouterr().err
    assert err.startswith("gridtally-dcu: ")
    assert says in err
    assert len(err.splitlines()) == 1


def test_status_without_an_agent(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", config]) == 4
    assert "start it with 'gridtally-dcu run'" in capsys.readouterr().err


def test_init_makes_file_and_stores_and_may_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "--config", str(tmp_path / "new" / "dcu.toml"), "--dcu", "dcu-9"]
    assert main(words) == 0
    assert main(words) == 0
    assert (tmp_path / "new" / "data" / "readings.db").exists()
    assert (tmp_path / "new" / "data" / "money.db").exists()
    assert "dcu-9" in (tmp_path / "new" / "dcu.toml").read_text()
    assert main(["run", "--config", str(tmp_path / "new" / "dcu.toml"), "--show-config"]) == 0
    assert "Name of this concentrator" in capsys.readouterr().out


def test_meters_are_managed_and_secrets_stay_hidden(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    add = ["meter", "add", "--config", config, "--line", "rs485", "--driver"]
    assert main([*add, "is15959", "--set", "physical_address=17", "--set", "password=hush"]) == 0
    assert main([*add, "eastron-sdm230", "--set", "unit=3"]) == 0
    assert main(["meter", "list", "--config", config]) == 0
    out = capsys.readouterr().out
    assert "rs485/17" in out
    assert "hush" not in out
    assert main(["meter", "list", "--config", config, "--json"]) == 0
    assert [m["key"] for m in json.loads(capsys.readouterr().out)] == ["rs485/17", "rs485/3"]
    assert main(["meter", "remove", "rs485/3", "--config", config]) == 0
    assert main(["meter", "remove", "rs485/3", "--config", config]) == 3
    assert main(["meter", "add", "--config", config, "--line", "nosuch", "--driver", "is15959"]) == 3
    assert "the lines are: rs485" in capsys.readouterr().err


def by_name(found: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in found}


def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDTALLY_DCU_CONFIG", config)
    found = by_name(checks())
    assert found["edge: python"].ok
    assert found["edge: configuration"].ok
    assert not found["edge: data folder"].ok
    assert "gridtally-dcu init" in found["edge: data folder"].remedy
    assert not found["edge: broker"].ok
    assert not found["edge: line rs485"].ok
    assert "plug the adapter in" in found["edge: line rs485"].remedy
    assert all(check.remedy for check in found.values() if not check.ok)


def test_the_doctor_looks_after_keys_drivers_lines_meters_and_switches(
    config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRIDTALLY_DCU_CONFIG", config)
    assert main(["init", "--config", config]) == 0
    with pty_link(tmp_path / "absent"):
        add = ["meter", "add", "--config", config, "--line", "rs485", "--driver", "eastron-sdm230"]
        assert main([*add, "--set", "unit=3", "--switch", "modbus-coil:unit=40,coil=2"]) == 0
        assert main([*add, "--set", "unit=4", "--switch", "gpio:chip=/dev/no-such-chip,coil=2"]) == 0
        drivers = load_config(Path(config)).drivers_dir
        assert drivers is not None
        drivers.mkdir(exist_ok=True)
        (drivers / "mine.toml").write_text('name = "mine"\n')
        secret, registry = tmp_path / "data" / "journal.key", tmp_path / "data" / "registry.json"
        secret.write_bytes(b"k")
        secret.chmod(0o644)
        found = by_name(checks())
        assert found["edge: line rs485"].ok
        assert (found["edge: secret registry.json"].ok, found["edge: secret journal.key"].ok) == (True, False)
        assert found["edge: secret journal.key"].remedy == f"chmod 600 {secret}"
        assert not found["edge: driver mine"].ok
        assert "drivers --check" in found["edge: driver mine"].remedy
        assert "once the agent runs" in found["edge: switch of rs485/3"].message
        assert "/dev/no-such-chip can not be opened" in found["edge: switch of rs485/4"].message
        status = {"pid": os.getpid(), "lines": [{"name": "rs485", "silent": ["board-40"]}]}
        (tmp_path / "data" / "status.json").write_text(json.dumps(status))
        told = by_name(checks())["edge: switch of rs485/3"]
        assert (told.ok, told.message) == (False, "board-40 on rs485 does not answer")
        assert "readings go on" in told.remedy
        registry.write_text(registry.read_text().replace("eastron-sdm230", "no-such-driver"))
        assert not by_name(checks())["edge: meter rs485/3"].ok
        registry.write_text(registry.read_text().replace('"line": "rs485"', '"line": "gone"'))
        assert "there is no line gone" in by_name(checks())["edge: meter gone/3"].message


def test_the_doctor_names_the_program_that_has_the_port(config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDTALLY_DCU_CONFIG", config)
    hold = "import sys; port = open(sys.argv[1], 'r+b', buffering=0); print('open', flush=True); sys.stdin.read()"
    with pty_link(tmp_path / "absent") as link:
        command = [sys.executable, "-c", hold, str(link)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            other.stdout.readline()
            line = by_name(checks())["edge: line rs485"]
            assert not line.ok
            assert f"(process {other.pid})" in line.message
            assert "one program" in line.remedy
            assert other.stdin is not None
            other.stdin.close()
        assert by_name(checks())["edge: line rs485"].ok


@contextlib.contextmanager
def pty_link(path: Path) -> Iterator[Path]:
    """A serial port at `path`."""
    ours, theirs = os.openpty()
    path.symlink_to(os.ttyname(theirs))
    os.close(theirs)
    try:
        yield path
    finally:
        os.close(ours)


def test_the_doctor_after_init(config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDTALLY_DCU_CONFIG", config)
    assert main(["init", "--config", config]) == 0
    (tmp_path / "absent").write_text("")
    found = by_name(checks())
    assert found["edge: data folder"].ok
    assert found["edge: line rs485"].ok


def test_the_doctor_names_a_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dcu.toml").write_text("dcu = 1")
    monkeypatch.setenv("GRIDTALLY_DCU_CONFIG", str(tmp_path / "dcu.toml"))
    found = by_name(checks())
    assert not found["edge: configuration"].ok
    assert "text in quotes" in found["edge: configuration"].remedy


def test_the_doctor_without_a_concentrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDTALLY_DCU_CONFIG", str(tmp_path / "absent.toml"))
    found = by_name(checks())
    assert found["edge: configuration"].ok
    assert "edge: broker" not in found
