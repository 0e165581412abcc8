"""The MDM's own certificate authorities: P-256, one for operation and one for claims.

* The operational CA signs DCUs, the broker, the MDM's workers and the provisioner; CN is the name the broker's ACL uses.
* The claim CA signs the one credential that may only ask to be provisioned. The two never trust each other.
* Keys are files of mode 0600 in the provisioner's folder; only the provisioner process opens them.
* Device certificates live 365 days, CAs ten years, claim certificates one year (reliability-security.md 3.2, 3.3).
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.records import dataclass

CA_DAYS, DEVICE_DAYS, CLAIM_DAYS = 3650, 365, 365
_BACKDATE = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def open_or_create(folder: Path, name: str, now: dt.datetime) -> Authority:
    """Load `<name>.crt` and `<name>.key` from `folder`, or make them. Raises ConfigError when only one is there."""
    crt, key = folder / f"{name}.crt", folder / f"{name}.key"
    if crt.exists() != key.exists():
        raise ConfigError("provisioning.folder", str(folder), f"{name}.crt and {name}.key belong together; restore both")
    if not crt.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = _create(name, now)
        write_secret(key, key_pem(made.key))
        write_secret(crt, made.pem)
    loaded = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate(crt.read_bytes()), loaded)


def _create(name: str, now: dt.datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"gridtally {name}")
    builder = _builder(subject, subject, key.public_key(), now, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Authority, common_name: str, public: ec.EllipticCurvePublicKey, now: dt.datetime, days: int,
          hosts: tuple[str, ...] = ()) -> x509.Certificate:  # fmt: skip
    """A leaf certificate; with `hosts` it may also serve TLS under those names and addresses."""
    builder = _builder(_name(common_name), authority.certificate.subject, public, now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def public_key_of(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a certificate request, its own signature checked and its type P-256. Raises ContractError."""
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        public = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, InvalidSignature):
        raise ContractError("the certificate request can not be read") from None
    if not valid or not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise ContractError("the certificate request must be signed by its own P-256 key")
    return public


def key_bytes(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_secret(path: Path, content: bytes) -> None:
    """Write a file only its owner may read, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime,
             days: int) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(text: str) -> x509.GeneralName:
    import ipaddress

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
