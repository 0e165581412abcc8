"""The box's own keys, made at first start and kept in files only their owner may read.

Two keys (architecture.md 7): P-256 for TLS, Ed25519 for journal and receipts. A key, once made, is never replaced here:
the same key again gets the same certificate.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from gridtally_edge.provisioning.identity import sync_folder
from gridtally_shared.records import dataclass
from gridtally_shared.signing import KeySigner


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    tls: ec.EllipticCurvePrivateKey
    journal: KeySigner

    def certificate_request(self, serial: str) -> bytes:
        """PEM of a request that names the serial; the MDM decides the name that is signed."""
        subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial)])
        built = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.tls, hashes.SHA256())
        return built.public_bytes(Encoding.PEM)


def open_or_create(folder: Path) -> DeviceKeys:
    """The keys in `folder`, made there when this is the first start."""
    folder.mkdir(parents=True, exist_ok=True)
    tls, journal = folder / "tls.key", folder / "journal.key"
    if not tls.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        _write_key(tls, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not journal.exists():
        _write_key(journal, secrets.token_bytes(32))
    loaded = load_pem_private_key(tls.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return DeviceKeys(loaded, KeySigner.from_seed(journal.read_bytes()))


def _write_key(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
