"""What the benchmarks make of their figures: tables, documents, raw data, plots."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.__main__ import parser
from tests.bench.blobs import blobs_table
from tests.bench.cost import cost_table, plot
from tests.bench.peers import report
from tests.bench.plot import nice_ticks
from tests.bench.reports import Kept, Row, load, number, put_between, quantile, ratio

STORE: Row = {"part": "stores", "durability": "fsync", "contend": False, "clients": 1, "lost": 0}


def store(system: str, turn: int, rate: float) -> Row:
    figures = {"won_per_s": rate, "p50_ms": 1.0, "p99_ms": 2.0, "two_winners": 0}
    return STORE | {"system": system, "round": turn} | figures


def test_table_stands_between_its_markers_and_only_there(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n")
    for _ in range(2):
        put_between(document, "x", "| new |\n")
        assert document.read_text() == ("a\n<!-- bench:x -->\n\n| new |\n\n<!-- /bench:x -->\nb\n")
    with pytest.raises(ValueError, match="bench:y"):
        put_between(document, "y", "")


def test_rows_replace_those_of_their_key_and_are_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results" / "raw.jsonl"
    kept = Kept(path, ("nodes",))
    kept.add({"nodes": 3, "value": 1.23456789})
    kept.add({"nodes": 10, "value": 2.0})
    assert load(path) == [{"nodes": 3, "value": 1.2346}, {"nodes": 10, "value": 2.0}]
    later = Kept(path, ("nodes",))
    later.add({"nodes": 3, "value": 5.0})
    assert [row["value"] for row in load(path)] == [5.0, 2.0]
    Kept(path).add({"nodes": 1})
    assert load(path) == [{"nodes": 1}]


def test_losing_rows_are_shown_as_well() -> None:
    rates = {"etcd x3": 100.0, "Redis x1": 800.0, "mesh x3": 400.0}
    rows = [store(name, turn, rate + turn) for name, rate in rates.items() for turn in (-1, 0, 1)]
    (line,) = report(rows)["stores"].splitlines()[-1:]
    assert line.endswith("| 4.00 x | 0.50 x |")


def member(system: str, turn: int, loss: float, known_s: list[float]) -> Row:
    where = {"part": "serf", "round": turn, "system": system, "nodes": 3, "loss": loss}
    join = {"late_s": 0.5, "late_load_s": 0.25, "burst_s": 1.0}
    idle = {"bytes_s": 200.0 if system == "serf" else 100.0, "packets_s": 2.0, "cpu_percent": 0.1}
    seen = {"known_s": known_s, "unknown": 2 - len(known_s), "innocents": turn}
    return where | join | idle | seen | {"memory_mb": 15.0, "others_percent": 3.0}


def test_serf_and_mesh_stand_side_by_side_at_each_loss() -> None:
    rows = [
        member(system, turn, loss, [1.0, 2.0] if turn else [8.0])
        for system in ("serf", "mesh")
        for loss in (0.0, 0.25)
        for turn in (0, 1, 2)
    ]
    lines = report(rows)["serf"].splitlines()
    assert "medians of 3 rounds" in lines[0]
    for loss in ("0%", "25%"):
        assert f"| bytes/s sent, idle: {loss} loss | 200 / 100 (0.50 x) |" in lines
        assert (
            f"| kill -9 to known, p50 of all others, s: {loss} loss | 2.00 / 2.00 (1.00 x) |"
            in (lines)
        )
        assert f"| kill -9 to known, p99, s: {loss} loss | 8.00 / 8.00 (1.00 x) |" in lines
        assert f"| live members believed gone, sum of views: {loss} loss | 3 / 3 |" in lines
        assert f"| killed and not known after 60 s, sum of views: {loss} loss | 1 / 1 |" in lines


def test_blobs_are_shown_by_size_beside_a_copy() -> None:
    rows: list[Row] = [
        {"part": "cp", "size": 1 << 26, "seconds": 0.5, "sender_cpu_s": 0.1},
        {"part": "cut", "size": 1 << 26, "seconds": 1.0, "again_bytes": 1 << 20},
        {"part": "put", "size": 1 << 20, "seconds": 0.1, "sender_cpu_s": 0.01},
    ]
    small, cut, copy = blobs_table(rows).splitlines()[2:]
    assert small.startswith("| 1.00 |")
    assert "| 10.0 | - | 10.0 ms |" in small
    assert cut.endswith("| 64.0 | 0.50 x |  |  | 1.00 MiB |")
    assert "| 128 | 1.00 x |" in copy


def test_cost_is_shown_for_each_loss_and_what_is_missing_as_a_dash() -> None:
    rows: list[Row] = [
        {"kind": kind, "nodes": nodes, "loss": loss, "bytes_s": 300.0, "known_p99_s": 3.0}
        for kind, nodes in (("real", 3), ("simulated", 100))
        for loss in (0.0, 0.25)
    ]
    assert "| 100 simulated | 300 / 300 | - / - |" in cost_table(rows)
    assert len(ET.fromstring(plot(rows)).findall(".//*")) > 20


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("peers --parts", "serf, stores"),
        ("figures --only", "detection,"),
        ("claims --only", "seen"),
    ],
)
def test_unknown_parts_are_answered_by_those_there_are(
    capsys: pytest.CaptureFixture[str], line: str, known: str
) -> None:
    command, option = line.split()
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, option, "nosuch"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert "nothing is called 'nosuch': those are " in said
    assert known in said
    usual = getattr(parser().parse_args([command]), option.removeprefix("--"))
    chosen = parser().parse_args([command, option, ",".join(usual[:2])])
    assert getattr(chosen, option.removeprefix("--")) == usual[:2]


@given(st.floats(1e-3, 1e6), st.floats(1, 1e3))
def test_ticks_enclose_what_is_drawn(low: float, factor: float) -> None:
    ticks = nice_ticks(low, low * factor)
    assert ticks[0] <= low
    assert ticks[-1] >= low * factor
    assert len(ticks) >= 2


def test_figures_have_three_digits_that_count() -> None:
    assert [number(value) for value in (1234.5, 12.34, 1.234, 0.01234, None)] == [
        *("1,234", "12.3", "1.23", "0.012", "-")
    ]
    assert (ratio(3.0, 2.0), ratio(3.0, 0), ratio(None, 1.0)) == ("1.50 x", "-", "-")
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([], 0.5) is None
