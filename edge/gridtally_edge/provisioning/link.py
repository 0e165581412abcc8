"""Enrolment over MQTT: the claim listener first, then the first contact under the own name.

`python -m gridtally_edge.provisioning.link --help`, or `gridtally-dcu enrol`. Exit codes: 0 enrolled, 4 broker away,
7 refused by the MDM, 3 wrong setting.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import secrets
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from gridtally_edge import __version__
from gridtally_edge.provisioning import identity as ident
from gridtally_edge.provisioning import keys
from gridtally_edge.provisioning.enrolment import Applicant, Enrolment, Step
from gridtally_shared.contract import channels, codec
from gridtally_shared.contract import messages as m
from gridtally_shared.errors import ConfigError, GridtallyError, LinkDown, RefusedCommand
from gridtally_shared.records import dataclass

REPEAT_S = 3.0
SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class ClaimAccess:
    """Where to ask. The three files are empty on the embedded broker, which has no transport security."""

    host: str
    port: int
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class Mailbox:
    """A connected MQTT client and what it hears."""

    def __init__(self, client: mqtt.Client) -> None:
        self.client = client
        self.inbox: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.granted: queue.Queue[bool] = queue.Queue()
        self._topics: list[str] = []
        client.on_message = lambda _c, _u, message: self.inbox.put((message.topic, bytes(message.payload)))
        client.on_subscribe = lambda _c, _u, _mid, codes, _p: self.granted.put(not any(code.is_failure for code in codes))

    def listen(self, topics: list[str], within_s: float) -> None:
        """Subscribe and wait for the grant (a request before it could miss its answer)."""
        self._topics = topics
        self.subscribe()
        try:
            granted = self.granted.get(timeout=within_s)
        except queue.Empty:
            raise LinkDown("the broker does not answer a subscription; try again") from None
        if not granted:
            raise RefusedCommand("not_authorised", "the broker forbids the answer topic; check the claim certificate")

    def subscribe(self) -> None:
        """Also after a reconnect: the broker ends the session when it changes this name's role."""
        if self._topics:
            self.client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._topics])

    def say(self, channel: str, ident_: str, message: object) -> None:
        self.client.publish(channels.BY_NAME[channel].topic(ident_), codec.encode(message), qos=1)


@contextlib.contextmanager
def connected(client_id: str, access: ClaimAccess) -> Iterator[Mailbox]:
    """Connect, yield, disconnect. Raises LinkDown when the broker is away or refuses."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    if access.ca_file:
        client.tls_set(ca_certs=access.ca_file, certfile=access.cert_file or None, keyfile=access.key_file or None)
    answered: queue.Queue[str] = queue.Queue()
    client.on_connect = lambda _c, _u, _f, reason, _p: answered.put(str(reason) if reason.is_failure else "")
    try:
        client.connect(access.host, access.port, keepalive=30)
    except (OSError, ssl.SSLError) as error:
        raise LinkDown(f"broker {access.host}:{access.port} can not be reached: {error}") from None
    client.loop_start()
    try:
        mailbox = Mailbox(client)
        refused = answered.get(timeout=10)
        if refused:
            raise LinkDown(f"broker {access.host}:{access.port} refuses this box: {refused}")
        client.on_connect = lambda *_: mailbox.subscribe()
        yield mailbox
    except queue.Empty:
        raise LinkDown(f"broker {access.host}:{access.port} does not answer") from None
    finally:
        client.disconnect()
        client.loop_stop()


def enrol(folder: Path, serial: str, install_secret: bytes, access: ClaimAccess, now_ms: int, within_s: float) -> ident.Identity:
    """All steps, from an unknown box to an active name. Raises RefusedCommand with the MDM's reason, or LinkDown.

    A pending slot left by a power cut is activated first: its certificate is as good as a new one.
    """
    own = keys.open_or_create(folder)
    pending = ident.load(folder, ident.PENDING)
    if pending is not None:
        with contextlib.suppress(LinkDown, RefusedCommand):
            return _activate(folder, pending, within_s)
    applicant = Applicant(serial, install_secret, own.certificate_request(serial), own.journal.public)
    request_id, boot_id = secrets.token_bytes(16), secrets.token_bytes(16)
    hello = m.ProvisionHello(request_id, serial, __version__, boot_id, now_ms, m.ClockState.UNTRUSTED)
    issued = _ask(Enrolment(applicant, hello), access, within_s)
    got = ident.Identity(
        dcu=issued.dcu, serial=serial, host=issued.host, port=issued.port, transport=issued.transport,
        command_key=issued.command_key.hex(), activation_token=issued.activation_token.hex(),
    )  # fmt: skip
    ident.store_pending(folder, got, issued.certificate, issued.ca_chain)
    return _activate(folder, got, within_s)


def _ask(enrolment: Enrolment, access: ClaimAccess, within_s: float) -> m.ProvisionIssued:
    client_id = "p-" + secrets.token_hex(16)
    replies = {"prov-challenge": m.ProvisionChallenge, "prov-issued": m.ProvisionIssued, "prov-rejected": m.ProvisionRejected}
    with connected(client_id, access) as mailbox:
        mailbox.listen([channels.BY_NAME[name].topic(client_id) for name in replies], within_s)
        deadline = time.monotonic() + within_s
        while enrolment.step not in (Step.ISSUED, Step.REFUSED):
            if time.monotonic() > deadline:
                raise LinkDown("the MDM's provisioner does not answer; is `gridtally-mdm provisioner` running?")
            to_say = enrolment.to_say()
            assert to_say is not None
            mailbox.say(to_say[0], client_id, to_say[1])
            with contextlib.suppress(queue.Empty):
                topic, raw = mailbox.inbox.get(timeout=REPEAT_S)
                enrolment.take(codec.decode(replies[channels.parse_topic(topic)[0].name], raw))
    if enrolment.rejected is not None:
        raise RefusedCommand(enrolment.rejected.reason, f"not admitted; retry in {enrolment.rejected.retry_after_s} s")
    assert enrolment.issued is not None
    return enrolment.issued


def _activate(folder: Path, who: ident.Identity, within_s: float) -> ident.Identity:
    """First contact under the own name; only then does the pending slot become the active one."""
    files = ident.tls_files(folder, ident.PENDING)
    secured = ClaimAccess(who.host, who.port, str(files.ca), str(files.certificate), str(files.key))
    access = secured if who.secured else ClaimAccess(who.host, who.port)
    with connected(who.dcu, access) as mailbox:
        mailbox.listen([channels.BY_NAME["activated"].topic(who.dcu)], within_s)
        deadline = time.monotonic() + within_s
        while True:
            mailbox.say("activate", who.dcu, m.Activate(who.serial, bytes.fromhex(who.activation_token)))
            with contextlib.suppress(queue.Empty):
                codec.decode(m.Activated, mailbox.inbox.get(timeout=REPEAT_S)[1])
                break
            if time.monotonic() > deadline:
                raise LinkDown("the MDM does not confirm the activation; run enrol again, the certificate is kept")
    ident.promote(folder)
    return who


def read_secret(path: Path) -> bytes:
    """The install secret from its file: 32 hex digits, as on the label. Raises ConfigError."""
    try:
        secret = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        raise ConfigError("enrol.secret_file", str(path), "write the 32 hex digits of the label into this file") from None
    if len(secret) != SECRET_BYTES:
        raise ConfigError("enrol.secret_file", str(path), "the install secret has 32 hex digits")
    return secret


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gridtally-dcu enrol",
        description="Ask the MDM for a name and a certificate.",
        epilog="example: gridtally-dcu enrol --serial SN-0001 --secret-file install.secret --host mdm.example --port 8884",
    )
    parser.add_argument("--identity", type=Path, default=Path("identity"), help="folder for keys and certificate")
    parser.add_argument("--serial", required=True)
    parser.add_argument("--secret-file", type=Path, required=True, help="file with the install secret of the label, in hex")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    for name, about in (("ca", "CA of the claim listener"), ("cert", "claim certificate"), ("key", "its key")):
        parser.add_argument(f"--{name}", default="", help=about + " (none: the broker has no transport security)")
    parser.add_argument("--within", type=float, default=60.0, metavar="S", help="give up after so many seconds")
    a = parser.parse_args(argv)
    try:
        access = ClaimAccess(a.host, a.port, a.ca, a.cert, a.key)
        got = enrol(a.identity, a.serial, read_secret(a.secret_file), access, time.time_ns() // 1_000_000, a.within)
    except GridtallyError as error:
        print(f"gridtally-dcu enrol: {error}")
        return error.exit_code
    security = "mutual TLS" if got.secured else "no transport security (loopback broker)"
    print(f"enrolled as {got.dcu}, broker {got.host}:{got.port}, {security}")
    print(f"put this into dcu.toml:\n{settings_for(a.identity, got)}")
    return 0


def settings_for(folder: Path, who: ident.Identity) -> str:
    """The lines of dcu.toml that enrolment has settled."""
    files = ident.tls_files(folder.resolve())
    lines = [f'dcu = "{who.dcu}"', f'command_key_file = "{files.ca.parent / "command-key.pub"}"',
             f'journal_key_file = "{files.key.parent / "journal.key"}"', "[broker]",
             f'host = "{who.host}"', f"port = {who.port}"]  # fmt: skip
    if who.secured:
        lines += [f'ca_file = "{files.ca}"', f'certificate_file = "{files.certificate}"', f'key_file = "{files.key}"']
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
