"""`gridtally-mdm urdb FILE`: a rate of the OpenEI Utility Rate Database as a tariff document."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from gridtally_cloud.billing.urdb import document_of, read_rate
from gridtally_cloud.customers.desk import OpenDesk
from gridtally_cloud.customers.desk import document_of as text_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `urdb` to the commands of gridtally-mdm. It needs no store."""
    parser = commands.add_parser(
        "urdb", help="make a tariff document of an OpenEI URDB rate",
        description="Read one rate as the Utility Rate Database writes it (JSON, version 8) and write a tariff document. What could not be "
        "carried over, was rounded or assumed is said on the error output, one line each; read it before you bill by the document.",
        epilog="example: gridtally-mdm urdb rate.json --zone America/New_York --code psnh_g --out psnh_g.json",
    )  # fmt: skip
    parser.add_argument("file", help="the rate, as JSON")
    parser.add_argument("--zone", required=True, help="the zone whose clock the rate goes by; the rate does not say it")
    parser.add_argument("--code", default="urdb", help="code of the tariff (urdb)")
    parser.add_argument("--demand-window", type=int, default=0, help="minutes, where the rate names none (15)")
    parser.add_argument("--out", type=Path, help="write the document to this file, not to the output")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    document, notes = document_of(read_rate(text_of(options.file)), options.zone, options.code, options.demand_window)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    print(f"{len(document['versions'][0]['items'])} items; {len(notes)} notes", file=sys.stderr)
    for note in notes:
        print(f"  {note}", file=sys.stderr)
    return 0
