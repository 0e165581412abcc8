"""How long what is kept: the one table of it. Pure data; due.py says what a rule means in the store, deleting.py deletes.

* Each rule is a setting `retention.<name>` in days. 0 keeps for ever; other days below `least` are refused.
* What no rule names is kept for ever. `NEVER` says in words what must be: no rule may name its tables.

Source: requirement I2NFR5; reliability-security.md section 9 (logs of who was given personal data: a year at least); architecture.md
sections 1 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`time`: table and column the days are counted from. `why`: what needs the least."""

    name: str
    what: str
    time: str
    days: int
    least: int
    why: str

    @property
    def setting(self) -> str:
        return f"retention.{self.name}"

    @property
    def table(self) -> str:
        return self.time.partition(".")[0]

    @property
    def column(self) -> str:
        return self.time.partition(".")[2]

    @property
    def sentence(self) -> str:
        return f"Days to keep {self.what}; 0 for ever, else {self.least} or more."


LOG_OF_A_YEAR = "who was given data of consumers is on record for a year (reliability-security.md 9)"

RULES: tuple[Rule, ...] = (
    Rule("momentary_values", "voltages, currents and power of an instant", "reading.at_ms", 45, 45,
         "they are read beside diagnostic events of the last 45 days (I2NFR5)"),
    Rule("register_readings", "readings of registers", "reading.at_ms", 800, 400,
         "a bill is compared with the same month of the year before, and put right from its readings (mdm.md B and C)"),
    Rule("webhook_notices", "notices to other systems that were taken or given up", "webhook_notice.created_ms", 90, 30,
         "a receiver that was away for weeks asks for what it missed (mdm.md D)"),
    Rule("deliveries", "files for recipients that were taken or given up", "delivery_file.made_ms", 400, 365, LOG_OF_A_YEAR),
    Rule("delivery_errors", "errors on the way to recipients", "delivery_error.at_ms", 400, 365, LOG_OF_A_YEAR),
    Rule("data_given", "who was given data of which time, since it was given last", "data_given.last_ms", 1826, 800,
         "who has data is told when they are doubted, as long as readings are kept that may show it (I2-S6.11.4)"),
    Rule("files_taken", "what became of files of the watched folder", "exchange_file.moved_ms", 400, 365, LOG_OF_A_YEAR),
    Rule("export_runs", "runs of export schedules", "exchange_run.at_ms", 1100, 1000,
         "31 runs back are made good: of a monthly schedule, one that is forgotten sooner would be sent again (exchange/schedules.py)"),
    Rule("late_days", "days that went to recipients late", "missing_day.sent_ms", 400, 365, LOG_OF_A_YEAR),
    Rule("way_down", "messages to concentrators that were answered", "outbox_down.done_ms", 400, 90,
         "a concentrator keeps for 90 days what has no receipt, and may come back with it (architecture.md 4)"),
    Rule("runs", "runs over usage points that have ended, with all their rows", "work_run.ended_ms", 400, 45,
         "a run of a month is looked at until the next month's is over"),
    Rule("set_aside", "messages that were set aside and are resolved", "poison.resolved_ms", 400, 45,
         "they explain diagnostic events, which are kept 45 days (I2NFR5)"),
)  # fmt: skip

BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}

NEVER: Mapping[str, tuple[str, ...]] = {
    "bills and the books": ("bill", "receivable", "bill_left", "late_charge", "deposit_receipt", "deposit_interest", "arrangement",
                            "arrangement_bill", "instalment", "assessment"),
    "money and the journals of accounts": ("journal_entry", "account_mirror", "checkpoint", "payment", "refund", "instrument",
                                           "wallet_entry", "station_payment", "gateway_event", "payment_order"),
    "intervals as they came, their versions, edits and what was restated": ("interval_inbox", "interval_block", "usage_day", "usage_month",
                                                                             "vee_run", "vee_finding", "vee_edit", "vee_restated"),
    "the audit, and orders to meters with their log": ("audit_row", "command", "command_log", "disconnect_run", "disconnect_item"),
    "events of meters": ("event",),
    "tariffs, policies and rule sets that held": ("tariff_version", "policy_version", "calendar_version", "vee_rule_set", "billing_rule"),
}  # fmt: skip


def checked(days: Mapping[str, int]) -> dict[str, int]:
    """Days by name of the rule. Raises ConfigError for less than the least."""
    for rule in RULES:
        given = days[rule.name]
        if given != 0 and given < rule.least:
            raise ConfigError(rule.setting, given, f"write {rule.least} or more, or 0 to keep for ever: {rule.why}")
    return {rule.name: days[rule.name] for rule in RULES}


def cut_ms(days: int, now_ms: int) -> int:
    """What is older is due."""
    return now_ms - days * MS_PER_DAY
