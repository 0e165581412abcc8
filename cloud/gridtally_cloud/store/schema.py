"""The whole schema: importing this module loads every module that declares tables."""

from __future__ import annotations

import importlib

from gridtally_cloud.store.base import metadata

MODULES = (
    "gridtally_cloud.store.tables",
    "gridtally_cloud.store.work",
    "gridtally_cloud.customers.tables",
    "gridtally_cloud.customers.contact_tables",
    "gridtally_cloud.customers.price_tables",
    "gridtally_cloud.ingest.tables",
    "gridtally_cloud.prepay.tables",
    "gridtally_cloud.prepay.handover_tables",
    "gridtally_cloud.prepay.managed_tables",
    "gridtally_cloud.prepay.site_tables",
    "gridtally_cloud.prepay.instrument_tables",
    "gridtally_cloud.prepay.policy_tables",
    "gridtally_cloud.prepay.terms_tables",
    "gridtally_cloud.prepay.calendar_tables",
    "gridtally_cloud.prepay.charging_tables",
    "gridtally_cloud.prepay.enrolment_tables",
    "gridtally_cloud.prepay.disconnect_tables",
    "gridtally_cloud.prepay.migration_tables",
    "gridtally_cloud.prepay.arrears_tables",
    "gridtally_cloud.integrations.webhook_tables",
    "gridtally_cloud.vee.tables",
    "gridtally_cloud.workorders.tables",
    "gridtally_cloud.billing.tables",
    "gridtally_cloud.provisioning.tables",
    "gridtally_cloud.meters.tables",
    "gridtally_cloud.programs.tables",
    "gridtally_cloud.programs.billing_read_tables",
    "gridtally_cloud.inquiry.tables",
    "gridtally_cloud.grid.tables",
    "gridtally_cloud.exchange.tables",
    "gridtally_cloud.exchange.recipient_tables",
    "gridtally_cloud.exchange.given_tables",
    "gridtally_cloud.vee.sibling_tables",
    "gridtally_cloud.web.tables",
    "gridtally_cloud.retention.tables",
    "gridtally_cloud.person.tables",
)

for _name in MODULES:
    importlib.import_module(_name)

__all__ = ["metadata"]
