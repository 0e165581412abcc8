"""Tables of bills and of what consumers owe.

* `bill` keeps the issued document whole (canonical JSON of `model.Bill`); it is never changed. A cancelled one stays, and says which
  bill stands in its place; `revision` counts the bills of one period.
* `bill_left`: restated data of a bill of which a person said that the bill stands.
* `receivable` is append-only double entry: an amount moves from `credit_account` to `debit_account`. The accounts are
  'receivable' (what the consumer owes us), 'revenue', 'cash' and the others of `receivables.MOVES`; what is owed is the debit less the
  credit of 'receivable'.
* `billing_rule`: dated rules (`rules.py`), never changed. `late_charge`: each charge for late payment with what it is made of, its row of
  the books, and the one that took it back; `late_run`: the months that were charged, so that none is charged twice.
* `deposit_receipt`: what a receipt took or gave back. `deposit_interest`: the days a deposit bore interest on, with what it came to.
* `arrangement`: arrears paid by instalments (`instalment`), what of which periods' bills they are (`arrangement_bill`), and how it ended.
* `assessment`: energy that was not measured after tampering, who proposed and who approved it, and its rows of the books.
* `register_set_back`: a meter's register showed less at `at_ms` than before, and a person said what was used meanwhile.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Key, Ms, Nano, Wh, metadata

bill = Table(
    "bill", metadata,
    Column("bill_id", Key, primary_key=True),
    Column("bill_no", Text, nullable=False, unique=True),
    Column("account_no", Key, nullable=False),
    Column("kind", Text, nullable=False),  # statement, bill
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=False),
    Column("currency", Text, nullable=False),
    Column("charged_nano", Nano, nullable=False),
    Column("closing_nano", Nano, nullable=False),
    Column("document", Text, nullable=False),
    Column("issued_ms", Ms, nullable=False),
    Column("due_ms", Ms),
    Column("revision", Integer, nullable=False, default=0, server_default="0"),
    Column("cancelled_ms", Ms),
    Column("cancelled_by", Text),
    UniqueConstraint("account_no", "kind", "from_ms", "to_ms", "revision"),
    Index("ix_bill_account", "account_no", "from_ms"),
)  # fmt: skip

receivable = Table(
    "receivable", metadata,
    Column("receivable_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("kind", Text, nullable=False),  # receivables.MOVES
    Column("debit_account", Text, nullable=False),
    Column("credit_account", Text, nullable=False),
    Column("amount_nano", Nano, nullable=False),
    Column("currency", Text, nullable=False),
    Column("bill_no", Text, nullable=False, default=""),
    Column("payment_no", Key),
    Index("ix_receivable_account", "account_no", "at_ms"),
)  # fmt: skip

bill_left = Table(
    "bill_left", metadata,
    Column("left_no", Key, primary_key=True),
    Column("bill_no", Text, nullable=False),
    Column("restated_no", Key, nullable=False),  # the newest restatement the person had seen
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Index("ix_bill_left_bill", "bill_no"),
)  # fmt: skip

billing_rule = Table(
    "billing_rule", metadata,
    Column("rule_no", Key, primary_key=True),
    Column("kind", Text, nullable=False),  # rules.RuleKind
    Column("tariff_id", Text, nullable=False, default=""),  # '': all tariffs
    Column("currency", Text, nullable=False),
    Column("from_day", Integer, nullable=False),  # local day, days since 1970
    Column("document", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    UniqueConstraint("kind", "tariff_id", "currency", "from_day"),
)  # fmt: skip

late_run = Table(
    "late_run", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("month_day", Integer, primary_key=True, autoincrement=False),  # first local day of the month
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip

late_charge = Table(
    "late_charge", metadata,
    Column("charge_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("bill_no", Text, nullable=False),  # the overdue one
    Column("rule_no", Key, nullable=False),
    Column("first_day", Integer, nullable=False),
    Column("until_day", Integer, nullable=False),
    Column("base_nano", Nano, nullable=False),
    Column("percent", Nano, nullable=False),  # 10^-9 percent
    Column("per", Text, nullable=False),  # month, day
    Column("bound", Text, nullable=False, default=""),  # minimum, cap
    Column("amount_nano", Nano, nullable=False),
    Column("receivable_no", Key, nullable=False),
    Column("back_no", Key),  # the row of the books that took it back
    UniqueConstraint("bill_no", "first_day"),
    Index("ix_late_charge_account", "account_no"),
)  # fmt: skip

deposit_receipt = Table(
    "deposit_receipt", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),  # deposit, deposit_refund
    Column("reference", Text, primary_key=True),
    Column("amount_nano", Nano, nullable=False),
    Column("receivable_no", Key, nullable=False),
)  # fmt: skip

deposit_interest = Table(
    "deposit_interest", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("first_day", Integer, primary_key=True, autoincrement=False),
    Column("until_day", Integer, nullable=False),
    Column("base_nano", Nano, nullable=False),
    Column("rule_no", Key, nullable=False),
    Column("amount_nano", Nano, nullable=False),
    Column("receivable_no", Key),  # none where it came to less than half a coin
)  # fmt: skip

arrangement = Table(
    "arrangement", metadata,
    Column("arrangement_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("made_ms", Ms, nullable=False),
    Column("grace_days", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("ended", Text, nullable=False, default=""),  # instalments.ArrangementState, '' until somebody looked
    Column("ended_day", Integer),  # the local day from which it holds no more
    Column("ended_ms", Ms),
    Index("ix_arrangement_account", "account_no"),
)  # fmt: skip

arrangement_bill = Table(
    "arrangement_bill", metadata,
    Column("arrangement_no", Key, primary_key=True, autoincrement=False),
    Column("from_ms", Ms, primary_key=True, autoincrement=False),
    Column("to_ms", Ms, primary_key=True, autoincrement=False),
    Column("claimed_nano", Nano, nullable=False),  # what the bill charged then
    Column("amount_nano", Nano, nullable=False),  # what of it was open
)  # fmt: skip

instalment = Table(
    "instalment", metadata,
    Column("arrangement_no", Key, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("due_day", Integer, nullable=False),
    Column("amount_nano", Nano, nullable=False),
)  # fmt: skip

assessment = Table(
    "assessment", metadata,
    Column("assessment_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("first_day", Integer, nullable=False),
    Column("until_day", Integer, nullable=False),
    Column("rule", Text, nullable=False),  # assessments.Rule
    Column("arguments", Text, nullable=False),  # whole numbers
    Column("assessed_wh", Wh, nullable=False),
    Column("measured_wh", Wh, nullable=False),
    Column("price_nano", Nano, nullable=False),  # a kWh
    Column("times_permille", Integer, nullable=False),
    Column("amount_nano", Nano, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),  # assessments.AssessmentState
    Column("proposed_by", Text, nullable=False),
    Column("proposed_ms", Ms, nullable=False),
    Column("decided_by", Text),
    Column("decided_ms", Ms),
    Column("receivable_no", Key),  # once approved
    Column("back_no", Key),  # once taken back
    Index("ix_assessment_account", "account_no"),
)  # fmt: skip

register_set_back = Table(
    "register_set_back", metadata,
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("at_ms", Ms, primary_key=True, autoincrement=False),  # the first read behind it
    Column("before_ms", Ms, nullable=False),
    Column("before_wh", Wh, nullable=False),
    Column("after_wh", Wh, nullable=False),
    Column("used_wh", Wh, nullable=False),
    Column("reason", Text, nullable=False),
    Column("settled_by", Text, nullable=False),
    Column("settled_ms", Ms, nullable=False),
)  # fmt: skip
