"""What the store holds about a person, table by table and column by column: the one table that export and erasure go by. Pure data.

* Every table of the schema stands in `HELD`, `APART` or `NOBODY`; a test asks that of the schema, and that each column of text or bytes
  of a table in `HELD` says what becomes of it. A new table can not be forgotten.
* Numbers and times stay: they are what books, chains and readings are made of, and name nobody once the customer's row does not.
* `link` says how a row is the person's: a column (`account_no`), a column by way of another table's (`payment_no<payment`), or a place and
  the time the person had it (`meter_no@at_ms`). `links.py` makes conditions of it. Rows are found before any is changed.
* Whoever signed in is named in other rows as well (`actor`); there the login becomes the customer's number.

What is kept is kept for a duty (GDPR art. 17(3)(b), (e)); its reasons are `WHYS`. Source: GDPR art. 15, 17; DPDP Act 2023 s. 12;
reliability-security.md section 9; architecture.md sections 1 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Why:
    """Why rows stay, and until when."""

    text: str
    until: str


EVER = "for as long as the law asks; no job of this software deletes them"
WHYS: Mapping[str, Why] = {
    "gone": Why("nothing asks for it", "now"),
    "number": Why("its number ties accounts, bills and audit together; it names nobody", "for as long as the books"),
    "books": Why("the books balance and are shown to auditors and tax offices, under a number instead of a name", EVER),
    "journal": Why("signed and chained by hashes: every entry proves the one before; it holds amounts, no names", EVER),
    "proof": Why("proof of what was told, asked and agreed, and when, without its words", "for as long as the audit"),
    "audit": Why("who did what when; the person appears under a number", "the audit is never deleted"),
    "plant": Why("what happened at the meter and the usage point, which stay", "rules of 'gridtally-mdm retention'; else with the plant"),
    "asked": Why("who was given data of the usage point must be on record", "rule data_given of 'gridtally-mdm retention'"),
    "edits": Why("why a value of the usage point is another than measured", "for as long as the values"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """Each field names columns, with blanks between them.

    `blank`: become empty. `null`: become none. `name`: become the customer's number, `#12`. `unique`: become the number with the row's own.
    `party`: document of a bill, whose customer and address go. `scrub`: text in which what names the person is replaced. `actor`: who
    did it, replaced where it is the person's own login. `keep`: stay; codes and references of ours. `secret`: shown to nobody, blank
    after. `unseen`: not shown either, but not blank. `goes`: the whole row goes.
    """

    table: str
    link: str
    why: str
    blank: str = ""
    null: str = ""
    name: str = ""
    unique: str = ""
    party: str = ""
    scrub: str = ""
    actor: str = ""
    keep: str = ""
    secret: str = ""
    unseen: str = ""
    goes: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """Columns that may not stay as they are."""
        return tuple(" ".join((self.blank, self.null, self.name, self.unique, self.party, self.scrub, self.actor, self.secret)).split())

    @property
    def hidden(self) -> frozenset[str]:
        """Columns the export leaves out: secrets, and what is another's."""
        return frozenset(f"{self.secret} {self.unseen}".split())


HELD: tuple[Held, ...] = (
    Held("customer", "customer_no", "number", name="name", blank="email phone address", null="external_ref", keep="language"),
    Held("account", "customer_no", "books", blank="label holds", secret="pin_hash",
         keep="mode tariff_id currency zone language zero_action offline_cut protected_hours"),
    # ---- logins and keys
    Held("app_user", "customer_no", "gone", goes=True, secret="password_hash"),
    Held("web_session", "user_id<app_user", "gone", goes=True, secret="token_hash"),
    Held("login_attempt", "login<app_user", "gone", goes=True),
    Held("api_token", "customer_no", "gone", goes=True, secret="token_hash"),
    # ---- what was said
    Held("consumer_message", "account_no", "proof", blank="params address subject text fault", keep="code ref channel language state via"),
    Held("consumer_notice", "account_no", "proof", scrub="params", keep="code ref"),
    Held("notice_word", "account_no", "proof", keep="ref word place"),
    Held("price_notice", "account_no", "proof", keep="tariff_id ref"),
    Held("contact_choice", "account_no", "gone", goes=True),
    Held("identity_check", "account_no", "proof", actor="actor"),
    Held("prepay_request", "account_no", "proof", name="name", blank="address credential", actor="asked_by acknowledged_by",
         keep="programme option policy_id method source state reason idempotency_key"),
    Held("sender_notice", "cmd_id<command", "proof", scrub="text", actor="to", keep="cmd_id reason"),
    Held("webhook_notice", "body", "proof", scrub="body", keep="topic ref state fault"),
    Held("work_order", "account_no", "proof", blank="detail note", scrub="result", actor="opened_by closed_by",
         keep="kind ref reason state"),
    Held("audit_row", "audit", "audit", scrub="detail", actor="actor subject", keep="action"),
    Held("erasure", "customer_no", "audit", keep="erased_by reason"),
    # ---- money
    Held("payment", "account_no", "books", actor="actor", keep="order_id purpose bill_no currency method gateway gateway_ref"),
    Held("payment_order", "account_no", "books", blank="pay_path", actor="actor",
         keep="order_id bill_no currency state reason gateway gateway_order"),
    Held("gateway_event", "gateway_order<payment_order", "books", blank="body", keep="gateway event_id type gateway_order outcome"),
    Held("test_gateway_order", "gateway_order<payment_order", "books", keep="gateway_order order_id currency paid_ref"),
    Held("test_gateway_event", "gateway_order<payment_order", "books", blank="body", keep="event_id gateway_order"),
    Held("test_gateway_method", "token<payment_method", "gone", goes=True, secret="token"),
    Held("refund", "payment_no<payment", "books", actor="actor", keep="gateway_ref"),
    Held("station_payment", "payment_no<payment", "books", scrub="reversal_reason", keep="key day reversal_day"),
    Held("payment_method", "account_no", "books", unique="token", unseen="token", blank="label", actor="actor", keep="gateway"),
    Held("replenish_rule", "account_no", "proof", actor="consent_by", keep="state reason consent"),
    Held("replenish_attempt", "account_no", "books", keep="order_id state reason"),
    Held("shared_wallet", "wallet_no<wallet_member", "books", scrub="name", keep="currency"),
    Held("wallet_member", "account_no", "books"),
    Held("wallet_entry", "wallet_no<wallet_member", "books", keep="kind reference", unseen="reference"),
    Held("bill", "account_no", "books", party="document", keep="bill_no kind currency cancelled_by"),
    Held("bill_left", "bill_no<bill", "books", scrub="note", actor="actor", keep="bill_no"),
    Held("receivable", "account_no", "books", keep="kind debit_account credit_account currency bill_no"),
    Held("late_charge", "account_no", "books", keep="bill_no per bound"),
    Held("late_run", "account_no", "books"),
    Held("deposit_receipt", "account_no", "books", keep="kind reference"),
    Held("deposit_interest", "account_no", "books"),
    Held("arrangement", "account_no", "books", blank="note", actor="actor", keep="ended"),
    Held("arrangement_bill", "arrangement_no<arrangement", "books"),
    Held("instalment", "arrangement_no<arrangement", "books"),
    Held("assessment", "account_no", "books", scrub="arguments reason", actor="proposed_by decided_by", keep="rule state"),
    Held("arrears_limit", "account_no", "books", actor="actor", keep="state reason"),
    Held("disconnect_item", "account_no", "proof", keep="state reason cmd_id"),
    # ---- prepayment
    Held("journal_entry", "account_no", "journal", keep="body dcu"),
    Held("account_mirror", "account_no", "journal", keep="dcu head state"),
    Held("account_charging", "account_no", "journal", keep="head state running"),
    Held("checkpoint", "account_no", "journal", keep="dcu state payload envelope ledger_state"),
    Held("instrument", "account_no", "journal", keep="dcu currency payload_hash envelope"),
    Held("instrument_floor", "account_no", "journal"),
    Held("late_credit", "account_no", "journal", keep="level"),
    Held("lease_ask", "account_no", "journal", keep="dcu"),
    Held("ledger_problem", "account_no", "journal", keep="code text body dcu"),
    Held("keypad_key", "account_no", "gone", goes=True, secret="secret"),
    Held("managed_supply", "account_no", "journal", keep="standing decision held off_reason fault order_id"),
    Held("time_left", "account_no", "journal", keep="basis"),
    Held("account_swap", "account_no", "journal", actor="actor", keep="kind"),
    Held("mode_migration", "account_no", "proof", actor="asked_by", keep="to_mode profile state reason idempotency_key"),
    Held("account_calendar", "account_no", "books", keep="calendar_id"),
    Held("account_policy", "account_no", "books", keep="policy_id"),
    Held("supply_terms", "account_no", "books", blank="flags", keep="feeder load_class"),
    Held("event_site", "account_no", "proof", actor="by"),
    Held("schedule", "account_no", "books", blank="title", actor="created_by",
         keep="programme zone windows currency state cmd_id idempotency_key"),
    Held("schedule_posting", "schedule_no<schedule", "books", keep="kind holder reference"),
    # ---- the meter and its place, in the time the person had them
    Held("command", "meter_no@issued_at_ms", "plant", scrub="text", actor="requested_by",
         keep="cmd_id dcu order_id cause settings idempotency_key reason result detail target"),
    Held("command_log", "cmd_id<command", "plant", actor="by", keep="cmd_id reason"),
    Held("event", "meter_no@at_ms", "plant", keep="dcu detail"),
    Held("site_entry", "meter_no@at_ms", "plant", keep="dcu entry_id detail"),
    Held("reading", "meter_no@at_ms", "plant"),
    Held("register_set_back", "meter_no@at_ms", "edits", scrub="reason", actor="settled_by"),
    Held("reading_latest", "meter_no@at_ms", "plant"),
    Held("meter_status", "meter_no@at_ms", "plant"),
    Held("data_request", "usage_point_no@asked_ms", "asked", actor="requested_by", keep="kind retailer cmd_id state reason"),
    Held("data_given", "usage_point_no@from_ms", "asked", actor="taker"),
    Held("vee_edit", "channel_no@from_ms", "edits", scrub="reason note ticket", actor="made_by decided_by",
         keep="blob quality measured tool bills state"),
    Held("vee_finding", "channel_no@start_ms", "edits", keep="rule text"),
    Held("vee_restated", "channel_no@from_ms", "edits", keep="bills"),
)  # fmt: skip

ENERGY = "interval_inbox interval_block usage_day usage_month vee_run"
"""Shown as the values they hold, for the time the person had the usage point: `intervals` of the export."""

APART: Mapping[str, Why] = {
    **{name: Why("energy of the usage point, which stays", "raw intervals and versions are never deleted") for name in ENERGY.split()},
    "config_version": Why("signed as a concentrator holds it; labels of homes and hashes of display PINs are in it", EVER),
    "outbox_down": Why("signed, as it went to a concentrator", "rule way_down of 'gridtally-mdm retention' (400 days)"),
    "poison": Why("messages of concentrators that could not be read, as they came", "rule set_aside (400 days after they are resolved)"),
    "delivery_file": Why("files as recipients were given them: use by usage point, no names", "rule deliveries (400 days)"),
    "station_day": Why("closed days of pay stations, as they were given out: account numbers and amounts", EVER),
    "exchange_file": Why("reports of files that were taken in: usage points, no names", "rule files_taken (400 days)"),
}
"""Tables that may tell of a person, and of others in the same bytes: kept whole."""

NOBODY: Mapping[str, str] = {
    "the plant: meters, places, concentrators and lines": (
        "usage_point meter meter_lot meter_seen meter_setting name_plate channel node place dcu inventory refused_box device_certificate "
        "provision_attempt provision_challenge switch_counter command_counter command_priority grid_place grid_operator transformer "
        "price_refused vee_point inquiry_limit"),
    "rules, tariffs and what staff set up": (
        "tariff_version policy_version calendar_version billing_rule programme_option vee_rule_set disconnect_run billing_read "
        "billing_read_item"),
    "companies and other systems": (
        "retailer retailer_of_record retailer_token recipient recipient_address delivery delivery_error webhook exchange_schedule "
        "exchange_run missing_day station_call api_request"),
    "how far the store and its workers are": (
        "store_meta stream_head inbox_seen work_item work_run vee_order retention_pass"),
}  # fmt: skip
"""Tables without data of persons, by what they are about. The address of a usage point is that of the plant: the meter hangs there
whoever lives there."""

BY_NAME: Mapping[str, Held] = {held.table: held for held in HELD}

BARE_ACTIONS = ("login.", "account.terms", "account.policy", "method.stored", "arrangement.made", "contact.chosen")
"""Beginnings of actions of the audit whose detail goes: network addresses, flags of health, cards, words of the person."""


def pseudonym(customer_no: int) -> str:
    """What stands in place of a name, in every language."""
    return f"#{customer_no}"
