"""What a simulated meter's token gateway holds: it takes a token once and refuses it the second time.

* `answers` is what it says of the next tokens, one each, instead of judging them; `slow` for how many looks at its status it is
  still busy with a token.
* What it took it does not forget: the house writes it down.

Source: IEC 62056-6-2 class 115.
"""

from __future__ import annotations

from dataclasses import field

from gridtally_shared.instruments.token import TokenStatus
from gridtally_shared.records import dataclass

_LONGEST = 20


@dataclass(slots=True)
class TokenGateway:
    """`taken` counts tokens that were executed; `entered` all that came, in order."""

    answers: list[TokenStatus] = field(default_factory=list)
    slow: int = 0
    token: bytes = b""
    at_ms: int = 0
    status: TokenStatus = TokenStatus.FORMAT_OK
    used: set[bytes] = field(default_factory=set)
    entered: list[bytes] = field(default_factory=list)
    busy: int = 0

    @property
    def taken(self) -> int:
        return len(self.used)

    def judge(self, token: bytes) -> TokenStatus:
        if self.answers:
            return self.answers.pop(0)
        if not 0 < len(token) <= _LONGEST:
            return TokenStatus.FORMAT_FAILED
        return TokenStatus.VALIDATION_FAILED if token in self.used else TokenStatus.EXECUTION_OK

    def take(self, token: bytes, status: TokenStatus, at_ms: int) -> None:
        self.token, self.at_ms, self.status, self.busy = token, at_ms, status, self.slow
        self.entered.append(token)
        if status is TokenStatus.EXECUTION_OK:
            self.used.add(token)
