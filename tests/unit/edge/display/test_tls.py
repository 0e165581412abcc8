"""Page and topic with a certificate, and the command that starts both."""

from __future__ import annotations

import datetime as dt
import http.client
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gridtally_edge.display import cli
from gridtally_shared.pins import hash_pin
from support.brokers import answers, free_port
from support.display_device import Device
from support.prepay_bench import Bench
from support.waiting import wait_until


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed one for 127.0.0.1."""
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "home")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False).sign(key, hashes.SHA256())
    )  # fmt: skip
    at, key_at = folder / "home.pem", folder / "home.key"
    at.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_at.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return at, key_at


def config(folder: Path, page: int, topic: int, more: str = "") -> Path:
    at = folder / "dcu.toml"
    at.write_text(f'dcu = "dcu-1"\ndata_dir = "."\n[display]\nport = {page}\ntopic_port = {topic}\n{more}')
    return at


def test_the_command_serves_both_over_tls(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, {"pin_hash": hash_pin("4711", b"s" * 16)})
    bench.credit(1, "11.11")
    at, _ = certificate(tmp_path)
    page, topic = free_port(), free_port()
    tls = 'certificate_file = "home.pem"\nkey_file = "home.key"\n'
    command = [sys.executable, "-m", "gridtally_edge.cli", "display", "--config", str(config(tmp_path, page, topic, tls))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        wait_until(lambda: answers(page) and answers(topic), 60, "page and topic")
        trust = ssl.create_default_context(cafile=str(at))
        visitor = http.client.HTTPSConnection("127.0.0.1", page, timeout=60, context=trust)
        visitor.request("POST", "/open", "account=101&pin=4711")
        cookie = visitor.getresponse().headers["Set-Cookie"]
        assert cookie.endswith("; Secure")
        device = Device(topic, "101", "4711", trust=at)
        device.wish("gridtally/account/101")
        assert device.document()["balance"] == "11.11"
        device.leave()
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert f"balance page on https://127.0.0.1:{page}/" in said
    assert f"local topic on mqtts://127.0.0.1:{topic}/ gridtally/account/<account>" in said


def test_a_certificate_without_its_key_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", str(config(tmp_path, 1, 0, 'certificate_file = "home.pem"\n'))]) == 3
    assert "TLS needs both files" in capsys.readouterr().err
    (tmp_path / "home.pem").write_text("nothing")
    assert cli.main(["--config", str(config(tmp_path, 1, 0, 'certificate_file = "home.pem"\nkey_file = "home.pem"\n'))]) == 3
    assert "PEM files that belong together" in capsys.readouterr().err
