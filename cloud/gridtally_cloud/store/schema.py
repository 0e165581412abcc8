"""The whole schema: importing this module loads every module that declares tables."""

from __future__ import annotations

import importlib
import importlib.util

from gridtally_cloud.store.base import metadata

MODULES = (
    "gridtally_cloud.store.tables",
    "gridtally_cloud.customers.tables",
    "gridtally_cloud.prepay.tables",
    "gridtally_cloud.billing.tables",
    "gridtally_cloud.provisioning.tables",
    "gridtally_cloud.web.tables",
)

for _name in MODULES:
    if importlib.util.find_spec(_name) is not None:
        importlib.import_module(_name)

__all__ = ["metadata"]
