"""What carries a message out of the house: SMTP for e-mail, and a file of JSON lines for any channel.

* A sender takes one message at a time. RefusedCommand (address_refused): the other side never takes it; LinkDown: try again later;
  Away: nobody is there, and the next message would not be taken either.
* The file sender sends nothing: it appends what another program may pick up, and its name `file` is kept with each message, so that
  nobody takes a written line for a delivered one.
* The same message may go out twice when the power fails between sending and noting it; its Message-ID is then the same.

Source: BYPL-3.2, BYPL-17.6.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

from gridtally_cloud.customers.outgoing import Channel, Outgoing
from gridtally_shared.errors import ConfigError, LinkDown, RefusedCommand
from gridtally_shared.records import dataclass

TIMEOUT_S = 15
PERMANENT = range(500, 600)
ADDRESS_REFUSED = "address_refused"


class Away(LinkDown):
    """The whole way out is away, for every message."""


class Sender(Protocol):
    name: str

    def send(self, message: Outgoing) -> None:
        """Hand one message over. Raises RefusedCommand (address_refused), LinkDown or Away."""


Senders = Mapping[Channel, Sender]


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """`starttls`: the connection is encrypted and the server's certificate checked before anything is said."""

    host: str
    port: int
    sender: str
    starttls: bool = True
    user: str = ""
    password: str = ""


class SmtpSender:
    """One connection a message: a relay nearby is expected."""

    name = "smtp"

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings

    def send(self, message: Outgoing) -> None:
        mail = self._mail(message)
        try:
            with smtplib.SMTP(self._settings.host, self._settings.port, timeout=TIMEOUT_S) as server:
                self._enter(server)
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            if code in PERMANENT:
                raise RefusedCommand(ADDRESS_REFUSED, f"{code} {_said(text)}") from None
            raise LinkDown(f"{code} {_said(text)}") from None
        except smtplib.SMTPResponseException as error:
            raise LinkDown(f"{error.smtp_code} {_said(error.smtp_error)}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise Away(f"{self._settings.host}:{self._settings.port} can not be reached ({error})") from None

    def _enter(self, server: smtplib.SMTP) -> None:
        if self._settings.starttls:
            server.starttls(context=ssl.create_default_context())
        if self._settings.user:
            server.login(self._settings.user, self._settings.password)

    def _mail(self, message: Outgoing) -> EmailMessage:
        mail = EmailMessage()
        try:
            mail["From"], mail["To"], mail["Subject"] = self._settings.sender, message.address, message.subject
        except ValueError as error:
            raise RefusedCommand(ADDRESS_REFUSED, f"the address or subject can not stand in a mail ({error})") from None
        mail["Message-ID"] = f"<gridtally-{message.message_no}-{message.created_ms}@{self._settings.sender.rpartition('@')[2]}>"
        mail.set_content(message.text + "\n")
        return mail


class FileSender:
    """Appends a line of JSON and writes it through to the disk."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, message: Outgoing) -> None:
        line = {
            "message_no": message.message_no, "account_no": message.account_no, "channel": message.channel.value, "to": message.address,
            "code": message.code, "language": message.language, "text": message.text, "created_ms": message.created_ms,
            "note": "written to this file, not sent",
        }  # fmt: skip
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Away(f"{self._path} can not be written ({error.strerror})") from None


def senders_from(email: str, sms: str, smtp: SmtpSettings, file: Path) -> Senders:
    """The senders of a configuration: '' (nobody), 'file', and for e-mail 'smtp'. Raises ConfigError."""
    made: dict[Channel, Sender] = {Channel.LOG: FileSender(file)}
    for channel, name, known in ((Channel.EMAIL, email, ("", "file", "smtp")), (Channel.SMS, sms, ("", "file"))):
        if name not in known:
            raise ConfigError(f"messages.{channel}", name, f"write one of {', '.join(k or 'nothing' for k in known)}")
        if name:
            made[channel] = SmtpSender(smtp) if name == "smtp" else made[Channel.LOG]
    if email == "smtp" and not (smtp.host and "@" in smtp.sender):
        raise ConfigError("messages.smtp_host", smtp.host, "name the mail server, and the sender's address in messages.smtp_from")
    return made


def _said(text: bytes | str) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text
