"""The checked-in AsyncAPI document is the one the CHANNELS table makes."""

from __future__ import annotations

from gridtally_shared.contract import asyncapi
from support.required import ROOT


def test_the_document_is_up_to_date() -> None:
    assert (ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8") == asyncapi.text(), (
        "run: python -m gridtally_shared.contract.asyncapi > docs/asyncapi.json"
    )


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document()
    schemas = document["components"]["schemas"]
    refs = asyncapi.text().split('"$ref": "')[1:]
    for ref in (r.split('"')[0] for r in refs):
        part, name = ref.removeprefix("#/").rsplit("/", 1)
        assert name in (schemas if part == "components/schemas" else document["channels"])
