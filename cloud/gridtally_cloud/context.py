"""What a command of `gridtally-mdm` works with, opened when it is first needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from gridtally_cloud.config import CloudConfig
from gridtally_cloud.customers.senders import Senders, SmtpSettings, senders_from
from gridtally_cloud.prepay.settings import Payments, payments_from
from gridtally_cloud.signer import open_signer, secret_file
from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import Clock, clock_from
from gridtally_shared.errors import ConfigError
from gridtally_shared.signing import KeySigner


class Context:
    """`db` is prepared (made or upgraded) at its first use."""

    def __init__(self, config: CloudConfig) -> None:
        self.config = config

    @cached_property
    def data_dir(self) -> Path:
        try:
            self.config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise ConfigError("data_dir", str(self.config.data_dir), f"can not be made ({error.strerror})") from None
        return self.config.data_dir

    @cached_property
    def db(self) -> Database:
        assert self.data_dir
        db = Database(self.config.store_url)
        meta.prepare(db)
        return db

    @cached_property
    def clock(self) -> Clock:
        try:
            return clock_from(self.config.virtual_clock_file or None)
        except OSError as error:
            file = self.config.virtual_clock_file
            raise ConfigError("virtual_clock_file", file, f"can not be read ({error.strerror}); the demo makes it") from None

    @cached_property
    def signer(self) -> KeySigner:
        assert self.data_dir
        return open_signer(self.config.command_key_file)

    @cached_property
    def payments(self) -> Payments:
        secrets = (secret_file(self.config.webhook_secret_file),) if self.config.payments_gateway else ()
        made = payments_from(self.signer, self.config.payments_gateway, secrets)
        return replace(made, minimum_covers_reconnection=self.config.payments_minimum_covers_reconnection)

    @cached_property
    def senders(self) -> Senders:
        m = self.config.messages
        password = _password(m.smtp_password_file)
        smtp = SmtpSettings(m.smtp_host, m.smtp_port, m.smtp_from, m.smtp_starttls, m.smtp_user, password)
        assert self.data_dir
        return senders_from(m.email, m.sms, smtp, m.file)

    @cached_property
    def web_secret(self) -> bytes:
        assert self.data_dir
        return secret_file(self.config.web_key_file)

    def prepare(self) -> None:
        """Make what is not there yet: folder, store, keys."""
        assert self.data_dir
        assert self.db
        assert self.signer
        assert self.web_secret

    def now_ms(self) -> int:
        return self.clock.now_ms()


def _password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except OSError as error:
        raise ConfigError("messages.smtp_password_file", path, f"can not be read ({error.strerror})") from None
