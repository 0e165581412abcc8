"""A mail server on loopback, as small as SMTP allows: it keeps what it is given, and can refuse an address or be busy."""

from __future__ import annotations

import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType


class MailServer(socketserver.ThreadingTCPServer):
    """`refuse`: an address nobody has here (550); `busy`: every message is put off (451)."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.mails: list[EmailMessage] = []
        self.refuse = ""
        self.busy = False
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __enter__(self) -> MailServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Talk(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline():
            verb = line.strip().upper()
            if verb.startswith(b"DATA"):
                self._say("354 go on")
                self._take()
            elif verb.startswith(b"QUIT"):
                self._say("221 bye")
                return
            else:
                self._say(self._answer(verb))

    def _answer(self, verb: bytes) -> str:
        if verb.startswith(b"RCPT") and self.server.refuse and self.server.refuse.upper().encode() in verb:
            return "550 nobody of that name here"
        return "451 busy, come back" if verb.startswith(b"MAIL") and self.server.busy else "250 well"

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b"..") else line)
        self.server.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))
        self._say("250 taken")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
