"""The node table, the book on disk, and the commands about nodes."""

import json

import pytest

from gridtally_edge.cli import main
from gridtally_edge.journal.nodes import NODES_FILE, NodeBook
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.transports.modem_model import NodeHere
from gridtally_edge.transports.nodes import MOST_NODES, NodeTable, report_of
from gridtally_shared.contract.messages import NodeState


def here(node="a", address="11", parent="0", hops=1, quality=200):
    return NodeHere(node, address, parent, hops, quality)


@pytest.fixture
def table():
    return NodeTable("plc", open_to_all=True)


def test_only_changes_of_place_are_told(table):
    assert [c.state for c in table.here(here(), 1.0)] == [NodeState.JOINED]
    assert table.here(here(quality=90), 2.0) == ()
    assert table.node("a").quality == 90
    (moved,) = table.here(here(parent="12", hops=2), 3.0)
    assert (moved.parent, moved.hops) == ("12", 2), "an address, where the parent is not known"


def test_a_parent_is_named_by_its_identity(table):
    table.here(here(), 1.0)
    (change,) = table.here(here("b", "12", "11", 2), 2.0)
    assert change.parent == "a"
    assert report_of(change, 5, "4711").serial == "4711"


def test_an_address_belongs_to_the_node_that_had_it_last(table):
    table.here(here("a", "11"), 1.0)
    changes = table.here(here("b", "11"), 2.0)
    assert [(c.node, c.state) for c in changes] == [("a", NodeState.LEFT), ("b", NodeState.JOINED)]
    assert table.at("11").node == "b"
    table.here(here("a", "12"), 3.0)
    assert (table.at("12").node, table.at("11").node) == ("a", "b")


def test_a_new_address_is_the_same_node(table):
    table.here(here("a", "11"), 1.0)
    (change,) = table.here(here("a", "77"), 2.0)
    assert (change.node, change.address) == ("a", "77")
    assert table.at("11") is None
    assert len(table.nodes()) == 1


def test_leaving_is_told_once(table):
    table.here(here(), 1.0)
    assert [c.state for c in table.gone("a", 2.0)] == [NodeState.LEFT]
    assert table.gone("a", 3.0) == ()
    assert table.gone("never", 3.0) == ()
    assert table.at("11") is None


def test_the_white_list(table):
    table.open_to_all = False
    assert [c.state for c in table.here(here(), 1.0)] == [NodeState.WAITING]
    assert [c.state for c in table.asks("b", 1.0)] == [NodeState.WAITING]
    assert table.asks("b", 2.0) == ()
    changes, fresh, gone = table.allow({"a", "b"})
    assert [(c.node, c.state) for c in changes] == [("a", NodeState.JOINED)], "b is not there yet"
    assert (fresh, gone) == ({"a", "b"}, frozenset())
    changes, fresh, gone = table.allow({"b"})
    assert [(c.node, c.state) for c in changes] == [("a", NodeState.WAITING)]
    assert gone == {"a"}


def test_a_table_is_bounded(table):
    for number in range(MOST_NODES + 5):
        table.here(here(str(number), str(number)), 1.0)
    assert len(table.nodes()) == MOST_NODES
    assert table.asks("one more", 1.0) == ()


def test_what_was_there_before_a_restart_is_not_told_again(table, tmp_path):
    table.here(here(), 10.0)
    book = NodeBook(tmp_path / NODES_FILE)
    book.take("plc", table.nodes(), {"a": "4711"}, 1_000_000, 12.0)
    assert book.save(12.0)
    rows = NodeBook(tmp_path / NODES_FILE).rows("plc")
    assert [(r.node, r.serial, r.seen_ms, r.address) for r in rows] == [("a", "4711", 998_000, "11")]
    after = NodeTable("plc", open_to_all=True)
    after.remember(row.as_node() for row in rows)
    assert after.here(here(), 1.0) == ()
    assert [c.state for c in after.here(here(hops=3), 2.0)] == [NodeState.JOINED]


def test_the_book_is_written_when_a_place_changed_or_it_is_old(table, tmp_path):
    book = NodeBook(tmp_path / NODES_FILE)
    table.here(here(), 1.0)
    book.take("plc", table.nodes(), {}, 1_000, 1.0)
    assert book.save(1.0)
    table.here(here(quality=5), 2.0)
    book.take("plc", table.nodes(), {}, 2_000, 2.0)
    assert not book.save(2.0)
    assert book.save(700.0)
    table.gone("a", 701.0)
    book.take("plc", table.nodes(), {}, 3_000, 701.0)
    assert book.save(701.0)


@pytest.mark.parametrize(
    "content", ["no json", "[]", '{"nodes": {"1": {"line": 5}}}', '{"nodes": {"1": {"line": "x", "node": "y", "state": 9}}}']
)
def test_a_spoilt_book_is_an_empty_one(tmp_path, content):
    (tmp_path / NODES_FILE).write_text(content)
    assert NodeBook(tmp_path / NODES_FILE).rows() == ()


@pytest.fixture
def site(tmp_path):
    (tmp_path / "k").write_bytes(bytes(32))
    (tmp_path / "dcu.toml").write_text(
        'dcu = "d"\ncommand_key_file = "k"\n[[line]]\nname = "plc"\ndevice = "modem:///dev/null"\n'
        '[[line]]\nname = "bus"\ndevice = "/dev/null"\n'
    )

    def run(*words):
        return main(["nodes", words[0], "--config", str(tmp_path / "dcu.toml"), *words[1:]])

    return run, tmp_path


def test_allow_and_forget(site, capsys):
    run, folder = site
    assert run("allow", "plc/a1") == 0
    assert run("allow", "plc/a1") == 0
    registry = Registry(folder / "data" / "registry.json")
    assert registry.allowed_nodes("plc") == {"a1"}
    assert registry.allowed_nodes("bus") == frozenset()
    assert run("forget", "plc/a1") == 0
    assert registry.allowed_nodes("plc") == frozenset()
    capsys.readouterr()
    assert run("forget", "plc/a1") == 3
    assert "not on the white list" in capsys.readouterr().err
    assert run("allow", "bus/a1") == 3
    assert "lines with a coordinator: plc" in capsys.readouterr().err


def test_a_meter_allows_its_node(site, capsys):
    run, folder = site
    run("allow", "plc/other")
    registry = Registry(folder / "data" / "registry.json")
    registry.add_meter(MeterEntry("plc", "is15959", {"physical_address": 17, "node": "a1"}))
    assert registry.meters()[0].key == "plc/a1"
    assert registry.allowed_nodes("plc") == {"a1", "other"}
    assert run("forget", "plc/a1") == 3
    assert "gridtally-dcu meter remove plc/a1" in capsys.readouterr().err


def test_nodes_are_listed(site, capsys):
    run, folder = site
    assert run("list") == 0
    assert "no nodes yet" in capsys.readouterr().out
    table = NodeTable("plc")
    table.here(here("a1"), 1.0)
    (folder / "data").mkdir(exist_ok=True)
    book = NodeBook(folder / "data" / NODES_FILE)
    book.take("plc", table.nodes(), {"a1": "4711"}, 1_790_000_000_000, 1.0)
    book.save(1.0)
    run("list")
    text = capsys.readouterr().out
    assert "plc/a1" in text
    assert "waiting" in text
    assert "not on the white list" in text
    assert "4711" in text
    run("allow", "plc/a1")
    capsys.readouterr()
    run("list", "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["node"], row["state"], row["allowed"]) == ("a1", "waiting", True)
