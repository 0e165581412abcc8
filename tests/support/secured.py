"""A secured Mosquitto as in production: two listeners, mutual TLS, dynamic security, and the MDM's provisioner beside it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gridtally_cloud.provisioning import ca, mosquitto
from gridtally_cloud.provisioning.link import BrokerAccess, Provisioner
from gridtally_cloud.provisioning.service import Endpoint, ProvisioningService, add_to_inventory
from gridtally_cloud.store.db import Database
from gridtally_edge.provisioning.link import ClaimAccess
from gridtally_shared.clock import SystemClock
from gridtally_shared.signing import KeySigner
from support.brokers import Broker, answers, free_port
from support.required import program
from support.stores import fresh_store
from support.waiting import wait_until

COMMAND_SIGNER = KeySigner.from_seed(bytes(range(32)))


@dataclass
class Headquarters:
    """Broker, store and provisioner of one utility."""

    folder: Path
    files: mosquitto.BrokerFiles | None
    db: Database
    service: ProvisioningService
    claim: ClaimAccess

    def expect(self, serial: str, dcu: str, install_secret: bytes, now_ms: int) -> None:
        """Put a box into the inventory."""
        with self.db.write() as conn:
            add_to_inventory(conn, serial, dcu, install_secret, now_ms)

    def credential(self, name: str) -> ClaimAccess:
        """Access to the operational listener under one of the made certificates."""
        assert self.files is not None
        at = self.files.folder
        return ClaimAccess("127.0.0.1", self.files.port, f"{at}/operational-ca.crt", f"{at}/{name}.crt", f"{at}/{name}.key")


@contextlib.contextmanager
def _provisioning(service: ProvisioningService, access: BrokerAccess) -> Iterator[None]:
    stop = threading.Event()
    runner = threading.Thread(target=Provisioner(service, access, SystemClock()).run, args=(stop,), daemon=True)
    runner.start()
    try:
        yield
    finally:
        stop.set()
        runner.join(timeout=5)


@contextlib.contextmanager
def secured_headquarters() -> Iterator[Headquarters]:
    """Mosquitto with both listeners, from files our own code wrote."""
    binary = program("mosquitto", "mosquitto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        now = dt.datetime.now(dt.UTC)
        operational = ca.open_or_create(folder / "ca", "operational-ca", now)
        files = mosquitto.BrokerFiles(folder / "broker", free_port(), free_port())
        claim_ca = ca.open_or_create(folder / "ca", "claim-ca", now)
        mosquitto.write_broker(files.folder, operational, claim_ca, files, now, ("127.0.0.1", "localhost"), "127.0.0.1")
        _give_to_mosquitto(folder)
        process = subprocess.Popen([binary, "-c", str(files.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        db = fresh_store(folder)
        try:
            wait_until(lambda: answers(files.port) and answers(files.claim_port), 10, "both listeners answer")
            at = files.folder
            service = ProvisioningService(db, operational, Endpoint("127.0.0.1", files.port, "mtls"), COMMAND_SIGNER.public)
            access = BrokerAccess("127.0.0.1", files.port, f"{at}/operational-ca.crt", f"{at}/provisioner.crt",
                                  f"{at}/provisioner.key", control=True)  # fmt: skip
            # The broker shows one server certificate, signed by the operational CA, on both listeners.
            claim = ClaimAccess("127.0.0.1", files.claim_port, f"{at}/operational-ca.crt", f"{at}/claim.crt", f"{at}/claim.key")
            with _provisioning(service, access):
                yield Headquarters(folder, files, db, service, claim)
        finally:
            db.close()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=5)


def _give_to_mosquitto(folder: Path) -> None:
    """Started as root, Mosquitto becomes its own user and must read its keys and write its state."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "mosquitto", "mosquitto")


@contextlib.contextmanager
def open_headquarters(broker: Broker) -> Iterator[Headquarters]:
    """The same provisioning on a loopback broker without transport security."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        operational = ca.open_or_create(folder / "ca", "operational-ca", dt.datetime.now(dt.UTC))
        db = fresh_store(folder)
        endpoint = Endpoint(broker.host, broker.port, "loopback-plain")
        service = ProvisioningService(db, operational, endpoint, COMMAND_SIGNER.public)
        try:
            with _provisioning(service, BrokerAccess(broker.host, broker.port)):
                yield Headquarters(folder, None, db, service, ClaimAccess(broker.host, broker.port))
        finally:
            db.close()
