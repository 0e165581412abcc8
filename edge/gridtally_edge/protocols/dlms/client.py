"""A DLMS client as conversations: associate, get, set and act with blocks and lists, release (IEC 62056-5-3).

How a driver builds one; every conversation is the same over each link:

    link = HdlcLink(Address(48), Address(1, 17, 2), LARGEST, Timing(1_500, 2))     serial line, HDLC over TCP
    link = WrapperLink(48, 1, Timing(3_000, 2), datagrams=True)                     TCP (False) or UDP (True)

    DlmsClient(link)                                                                public client, no password
    DlmsClient(link, Login(Mechanism.LLS, b"12345678"))
    DlmsClient(link, Login(Mechanism.HLS, secret))                                  HLS 2, 3, 4, 6; mutual proof
    security = Security(title=b"GRT12345", keys=CipherKeys(key, auth_key), counters=book,
                        policy=Policy.BOTH, suite=0, form=Form.SERVICE, dedicated=False, on_repair=alarm)
    DlmsClient(link, Login(Mechanism.HLS_GMAC), security=security)                  GMAC, everything ciphered
    DlmsClient(link, Login(preestablished=True), security=...meter_title=...)       no AARQ at all

`counters` is the journal's `CounterBook` (journal/counters.py). A meter's counter object, read by the public client, is
followed with `repair_counter(security, value)`. `unsolicited` takes the plain PDUs a meter sends between our question
and its answer (`decode_apdu`, then protocols/dlms/push.py). Images: image.py; keys: key_transfer.py; names of classes
and their attributes: classes.py; the objects of a meter: object_list.py.

* The link is dropped before an error goes on to the caller: the meter is never left half open. A refusal by
  the meter (`AccessDenied`) is an answer and leaves the association as it is. A caller that goes on after an error
  (another object may be sound) gets a new association with its next request, until it calls `close`.
* A meter that forgot the link (DM, FRMR) is connected again and a GET is asked again, once; SET and ACTION never are:
  read back first.
* Tolerated: octets behind an answer's value, a meter that does not answer RLRQ, or without user information, an empty
  UA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Final, TypeVar

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import transfers
from gridtally_edge.protocols.dlms.access import AccessDenied, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.association import Association
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.initiate import Conformance, InitiateResponse
from gridtally_edge.protocols.dlms.login import Login
from gridtally_edge.protocols.dlms.security import Security
from gridtally_edge.protocols.dlms.timing import Link, LinkDropped, Unsolicited
from gridtally_shared.errors import GridtallyError, LinkDown
from gridtally_shared.records import dataclass

__all__ = ["PROPOSED", "AccessDenied", "DlmsClient", "Login"]

A = TypeVar("A")

PROPOSED: Final = (
    Conformance.PRIORITY
    | Conformance.BLOCK_GET
    | Conformance.BLOCK_SET
    | Conformance.BLOCK_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
    | Conformance.DATA_NOTIFICATION
    | Conformance.EVENT_NOTIFICATION
)
"""What we ask for. Add `Conformance.GENERAL_BLOCK_TRANSFER` and `GENERAL_PROTECTION` where a meter is known to need them."""


@dataclass(slots=True)
class DlmsClient:
    """One client on one link. `agreed` is what the meter granted, None while no association is open."""

    link: Link
    login: Login = field(default_factory=Login)
    max_pdu: int = 0xFFFF
    security: Security | None = None
    proposed: Conformance = PROPOSED
    unsolicited: Unsolicited | None = field(default=None, repr=False)
    _association: Association = field(init=False, repr=False)
    _session: bool = field(default=False, init=False)
    _linked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._association = Association(self.link, self.login, self.security, self.proposed, self.max_pdu, self.unsolicited)

    @property
    def agreed(self) -> InitiateResponse | None:
        return self._association.agreed

    def open(self) -> Conversation[None]:
        """Link and association. Raises LinkDown, or MeterFault where the meter refuses us or fails its proof."""
        self._session = False
        yield from self._guarded(self._connect)
        self._session = True

    def close(self) -> Conversation[None]:
        """Release the association and drop the link; safe to call at any time."""
        self._session = False
        yield from self._drop()

    def get(self, attribute: Attribute, selector: Selector | None = None) -> Conversation[Data]:
        """The attribute's value, however many blocks it takes. Raises AccessDenied, MeterFault or LinkDown."""
        return (yield from self._asked(lambda: transfers.get(self._association, attribute, selector)))

    def get_list(self, attributes: tuple[Attribute, ...]) -> Conversation[tuple[Data | Result, ...]]:
        """Several attributes at once; each comes as a value or the result that stands in its place."""
        targets = tuple((a, None) for a in attributes)
        return (yield from self._asked(lambda: transfers.get_list(self._association, targets)))

    def set(self, attribute: Attribute, value: Data) -> Conversation[None]:
        """Write an attribute. Raises AccessDenied, MeterFault or LinkDown; after LinkDown read back before a repeat."""
        yield from self._guarded(lambda: transfers.set_value(self._association, attribute, value))

    def set_list(self, values: tuple[tuple[Attribute, Data], ...]) -> Conversation[tuple[Result, ...]]:
        """Write several attributes; the result of each."""
        return (yield from self._guarded(lambda: transfers.set_list(self._association, values)))

    def act(self, method: Attribute, parameters: Data | None) -> Conversation[Data | None]:
        """Run a method and return what it gave back. Raises AccessDenied, MeterFault or LinkDown."""
        return (yield from self._guarded(lambda: transfers.act(self._association, method, parameters)))

    def act_list(self, calls: tuple[tuple[Attribute, Data], ...]) -> Conversation[tuple[Data | Result | None, ...]]:
        """Run several methods; what each gave back, or the result that stands in its place."""
        return (yield from self._guarded(lambda: transfers.act_list(self._association, calls)))

    def _connect(self) -> Conversation[None]:
        yield from self.link.connect()
        self._linked = True
        yield from self._association.open()

    def _drop(self, hears: bool = True) -> Conversation[None]:
        """`hears` False: the meter was silent, so it is not asked for a release."""
        if not self._linked:
            return
        self._linked = False
        associated = self.agreed is not None and not self.login.preestablished
        if associated and hears and self.link.needs_release:
            yield from self._association.release()
        self._association.agreed = None
        try:
            yield from self.link.disconnect()
        except LinkDown:
            return

    def _asked(self, work: Callable[[], Conversation[A]]) -> Conversation[A]:
        """`_guarded`, and once more where the meter had forgotten the link."""
        try:
            return (yield from self._guarded(work))
        except LinkDropped:
            if not self._session:
                raise
        return (yield from self._guarded(work))

    def _guarded(self, work: Callable[[], Conversation[A]]) -> Conversation[A]:
        """Run `work`; on any error but a refusal release the association first, then let the error go on."""
        try:
            if self._session and not self._linked:
                yield from self._connect()
            return (yield from work())
        except AccessDenied:
            raise
        except GridtallyError as error:
            yield from self._drop(not isinstance(error, LinkDown))
            raise
