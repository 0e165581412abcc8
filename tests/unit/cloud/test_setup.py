"""Setting up an MDM: configuration, keys, command line, doctor. Errors say which setting and what to write."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from units import environment

from gridtally_cloud import cli, doctor
from gridtally_cloud.config import SETTINGS, first_file, load_config, rows_in_force
from gridtally_cloud.signer import open_signer, secret_file
from gridtally_shared.doctor import failed
from gridtally_shared.errors import ConfigError
from support.brokers import answers, free_port
from support.required import ROOT
from support.waiting import wait_until


def _file(folder: Path, text: str) -> Path:
    path = folder / "mdm.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_a_whole_configuration(tmp_path: Path) -> None:
    config = load_config(_file(tmp_path, ""))
    assert (config.broker.host, config.broker.port, config.web.port) == ("127.0.0.1", 1883, 8000)
    assert config.store_url == f"sqlite:///{tmp_path}/data/mdm.db"


def test_the_first_file_reads_as_the_defaults_and_names_every_setting(tmp_path: Path) -> None:
    path = _file(tmp_path, first_file())
    assert not any(named for _, _, named in rows_in_force(path))
    uncommented = "\n".join(line[2:] if " = " in line else line for line in first_file().splitlines())
    rows = rows_in_force(_file(tmp_path, uncommented.replace("port = 0", "port = 1")))
    assert sum(named for _, _, named in rows) == len(SETTINGS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", ["colour", "no such setting"]),
        ("[web]\nport = 'x'", ["web.port", "write a int"]),
        ("[web]\nport = 70000", ["web.port", "65535"]),
        ("log_level = 'loud'", ["log_level", "debug, info"]),
        ("zone = 'Mars/Base'", ["zone", "Europe/Berlin"]),
        ("[broker]\ncertificate_file = 'a'", ["broker.key_file", "together"]),
        ("[broker]\ncertificate_file = 'a'\nkey_file = 'b'", ["broker.ca_file", "name the CA"]),
        ("[provisioner]\ntransport = 'pigeon'", ["provisioner.transport", "mtls"]),
        ("= 1", ["is not TOML"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_to_write(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(_file(tmp_path, text))
    message = str(caught.value)
    assert all(word in message for word in words)
    assert "\n" not in message


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gridtally-mdm init"):
        load_config(tmp_path / "none.toml")


def test_keys_are_made_once_and_only_for_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "command.key"
    first = open_signer(path)
    assert open_signer(path).public == first.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "web.key"
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="restore it from the backup"):
        secret_file(path)
    assert path.read_bytes() == b"short"


def test_init_show_and_the_tools_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(tmp_path / "mdm.toml")]
    assert cli.main([*config, "init"]) == 0
    assert cli.main([*config, "init"]) == 0
    assert "store ready" in capsys.readouterr().out
    assert cli.main([*config, "show-config", "--json"]) == 0
    assert '"web.port": 8000' in capsys.readouterr().out
    assert cli.main([*config, "vee"]) == 0
    assert cli.main([*config, "set-aside"]) == 0
    assert "0 channel-days" in capsys.readouterr().out


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in sorted(cli.OWN):
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
        assert "example: gridtally-mdm" in capsys.readouterr().out


def test_a_taken_port_is_a_plain_error_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = _file(tmp_path, f"[web]\nport = {port}\n")
        assert cli.main(["--config", str(config), "web"]) == ConfigError.exit_code
    message = capsys.readouterr().err
    assert f"web.port = {port}" in message
    assert "Choose another port" in message
    assert "Traceback" not in message


def test_doctor_says_what_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(doctor.CONFIG_VARIABLE, str(tmp_path / "mdm.toml"))
    assert failed(doctor.checks()) == 0
    with socket.create_server(("127.0.0.1", 0)) as broker:
        path = _file(tmp_path, f"[broker]\nport = {broker.getsockname()[1]}\n")
        found = {check.name: check for check in doctor.checks()}
        assert {name for name, check in found.items() if not check.ok} == {"mdm store", "mdm command key"}
        assert all(check.remedy for check in found.values() if not check.ok)
        assert cli.main(["--config", str(path), "init"]) == 0
        assert failed(doctor.checks()) == 0
        (tmp_path / "data" / "command.key").chmod(0o644)
        assert [check.name for check in doctor.checks() if not check.ok] == ["mdm command key"]
    assert "mdm broker" in {check.name for check in doctor.checks() if not check.ok}


@pytest.mark.timeout(120)
def test_the_pages_work_in_the_environment_that_the_unit_sets(tmp_path: Path) -> None:
    """Without documentation strings and assertions: nothing may rest on them."""
    settings = environment("gridtally-mdm")
    assert settings["PYTHONOPTIMIZE"] == "2"
    port = free_port()
    path = _file(tmp_path, f"[web]\nport = {port}\n")
    assert cli.main(["--config", str(path), "init"]) == 0
    env = os.environ | settings | {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "cloud"))}
    with subprocess.Popen([sys.executable, "-m", "gridtally_cloud.cli", "--config", str(path), "web"], env=env) as pages:
        try:
            wait_until(lambda: answers(port), 60, "the pages")
            with urlopen(f"http://127.0.0.1:{port}/login", timeout=20) as page:
                assert b"<form" in page.read()
            with pytest.raises(HTTPError, match="401"):
                urlopen(f"http://127.0.0.1:{port}/api/v1/meters", timeout=20)
        finally:
            pages.terminate()
