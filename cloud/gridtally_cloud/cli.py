"""The console command `gridtally-mdm`. Each area brings its own subcommands; they are imported when they are there.

Exit codes: 0 fine, 1 something failed, 2 wrong usage, 3 a setting is wrong, 4 the broker or store does not answer, 7 refused.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gridtally_cloud.config import CONFIG_NAME, first_file, load_config, rows_in_force
from gridtally_cloud.context import Context
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.logs import start_logging
from gridtally_shared.errors import ConfigError, GridtallyError

AREAS = (
    "gridtally_cloud.customers.cli",
    "gridtally_cloud.customers.tariff_cli",
    "gridtally_cloud.prepay.cli",
    "gridtally_cloud.prepay.instrument_cli",
    "gridtally_cloud.prepay.policy_cli",
    "gridtally_cloud.prepay.terms_cli",
    "gridtally_cloud.prepay.handover_cli",
    "gridtally_cloud.prepay.correction_cli",
    "gridtally_cloud.prepay.enrolment_cli",
    "gridtally_cloud.prepay.calendar_cli",
    "gridtally_cloud.prepay.wallet_cli",
    "gridtally_cloud.prepay.cut_share_cli",
    "gridtally_cloud.billing.cli",
    "gridtally_cloud.billing.rebill_cli",
    "gridtally_cloud.billing.late_cli",
    "gridtally_cloud.billing.deposit_cli",
    "gridtally_cloud.billing.tail_cli",
    "gridtally_cloud.billing.arrangement_cli",
    "gridtally_cloud.billing.assessment_cli",
    "gridtally_cloud.billing.register_cli",
    "gridtally_cloud.billing.urdb_cli",
    "gridtally_cloud.commands.cli",
    "gridtally_cloud.programs.cli",
    "gridtally_cloud.prepay.arrears_cli",
    "gridtally_cloud.prepay.restores_cli",
    "gridtally_cloud.integrations.webhook_cli",
    "gridtally_cloud.provisioning.cli",
    "gridtally_cloud.exchange.cli",
    "gridtally_cloud.exchange.recipient_cli",
    "gridtally_cloud.inquiry.completeness_cli",
    "gridtally_cloud.inquiry.retailer_cli",
    "gridtally_cloud.grid.cli",
    "gridtally_cloud.runs_cli",
    "gridtally_cloud.retention.cli",
    "gridtally_cloud.person.cli",
    "gridtally_cloud.store.sql_cli",
)

OWN = frozenset({"all", "web", "worker", "provisioner", "init", "show-config", "vee", "set-aside"})
"""Commands that need none of the areas."""

VEE, VEE_TOOLS = "vee", "gridtally_cloud.vee.cli"

Parsers = Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(given).parse_args(given)
    try:
        return int(options.run(options))
    except GridtallyError as error:
        print(f"gridtally-mdm: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The parsers of the areas are loaded only where the command is none of ours: a worker starts without fonts and PDF."""
    parser = argparse.ArgumentParser(
        prog="gridtally-mdm",
        description="The meter data management of gridtally: pages, worker, provisioner and tools.",
        epilog="example: gridtally-mdm init && gridtally-mdm all",
    )
    parser.add_argument("--config", type=Path, default=Path(CONFIG_NAME), help=f"configuration file (default {CONFIG_NAME})")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_processes(commands)
    _add_setup(commands)
    _add_tools(commands)
    for name in _areas(set(given)):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).add_parser(commands, open_desk)
    return parser


def _areas(given: set[str]) -> tuple[str, ...]:
    """Those whose commands may be meant."""
    if VEE in given:
        return (VEE_TOOLS,)
    return () if given & OWN else (*AREAS, VEE_TOOLS)


def open_context(options: argparse.Namespace) -> Context:
    """The configuration the options name, with logging started. Raises ConfigError."""
    config = load_config(options.config)
    start_logging(config.log_level)
    return Context(config)


@contextlib.contextmanager
def open_desk(options: argparse.Namespace) -> Iterator[Desk]:
    """What the commands of the desk work with."""
    context = open_context(options)
    try:
        yield Desk(context.db, context.payments, context.clock, context.data_dir)
    finally:
        context.db.close()


def _add(commands: Parsers, name: str, about: str, example: str, run: Callable[..., int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about, epilog=f"example: {example}")
    parser.set_defaults(run=run)
    return parser


# ---- processes ------------------------------------------------------------------------------------------------


def _process(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from gridtally_cloud import server

        return int(getattr(server, name)(open_context(options)))

    return run


def _add_processes(commands: Parsers) -> None:
    table = (
        ("all", "web, worker and provisioner on one box", "run_all"),
        ("web", "only the pages and the API", "run_web"),
        ("worker", "only the worker: takes readings in, sends commands; any number of them", "run_worker"),
        ("provisioner", "only the provisioner, which holds the CA and enrols DCUs", "run_provisioner"),
    )
    for name, about, function in table:
        _add(commands, name, about, f"gridtally-mdm --config mdm.toml {name}", _process(function))


# ---- setting up -----------------------------------------------------------------------------------------------


def _add_setup(commands: Parsers) -> None:
    init = _add(commands, "init", "write a first configuration file, make or upgrade the store, make the keys",
                "gridtally-mdm --config /etc/gridtally/mdm.toml init", _init)  # fmt: skip
    init.add_argument("--citus", action="store_true", help="spread the tables of a PostgreSQL with Citus over its nodes, by shard")
    init.add_argument("--show", action="store_true", help="with --citus: print the statements and run none")
    show = _add(commands, "show-config", "print every setting with the value in force", "gridtally-mdm show-config", _show)
    show.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def _init(options: argparse.Namespace) -> int:
    path: Path = options.config
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(first_file(), encoding="utf-8")
        print(f"wrote {path}")
    context = Context(load_config(path))
    context.prepare()
    print(f"store ready: {context.config.store_url}")
    if options.citus:
        _spread(context, options.show)
    print(f"command key {context.signer.key_id.hex()}, public {context.signer.public.hex()}")
    return 0


def _spread(context: Context, show: bool) -> None:
    from gridtally_cloud.store import postgres

    if show:
        print(";\n".join((*postgres.distribution(), "")))
        return
    if context.db.is_sqlite:
        raise ConfigError("store.url", context.config.store_url, "Citus is an extension of PostgreSQL; one file can not be spread")
    with context.db.write() as conn:
        if not postgres.can_spread(conn):
            raise ConfigError("store.url", context.config.store_url, "this PostgreSQL has no Citus: install it, and name it in "
                              "shared_preload_libraries on every node")  # fmt: skip
        for statement in postgres.distribute(conn):
            print(statement)


def _show(options: argparse.Namespace) -> int:
    rows = rows_in_force(options.config)
    if options.json:
        print(json.dumps({s.name: value for s, value, _ in rows}, indent=2))
        return 0
    for setting, value, named in rows:
        print(f"{setting.name:30} {value!s:28} {'set' if named else 'default':8} {setting.sentence}")
    return 0


# ---- tools ----------------------------------------------------------------------------------------------------


def _add_tools(commands: Parsers) -> None:
    poison = _add(commands, "set-aside", "list what could not be taken in, or try it again",
                  "gridtally-mdm set-aside --retry", _aside)  # fmt: skip
    poison.add_argument("--retry", action="store_true", help="try every entry again, after the cause was mended")
    poison.add_argument("--json", action="store_true", help="one JSON object a line")


def _aside(options: argparse.Namespace) -> int:
    from gridtally_cloud.ingest.retry import print_set_aside

    return print_set_aside(open_context(options), options)


if __name__ == "__main__":
    sys.exit(main())
