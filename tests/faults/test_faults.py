"""The quick forms of some faults, and the table that shows them."""

from pathlib import Path

import pytest

from tests.faults.catalogue import catalogue
from tests.faults.fault import Fault, Figure, Need, Outcome, Scale
from tests.faults.needs import CHECKS, missing
from tests.faults.table import BEGIN, END, figure_text, run_fault, text_of, update

FAULTS = catalogue()


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.in_quick_run], ids=lambda fault: fault.name
)
@pytest.mark.usefixtures("kept_meshes")
def test_fault_is_withstood(fault: Fault) -> None:
    lacking = missing(fault)
    if lacking:
        pytest.skip(f"not run: {lacking}")
    row = run_fault(fault, Scale.QUICK)
    assert not row.failed, text_of(row)


def fault_with(*figures: Figure, name: str = "sample", needs: tuple[Need, ...] = ()) -> Fault:
    return Fault(name, "Does nothing.", "holds", lambda _: Outcome(figures), needs)


def test_every_need_has_a_check() -> None:
    assert set(CHECKS) == set(Need)


def test_a_figure_beyond_its_limit_fails_the_fault() -> None:
    late = run_fault(fault_with(Figure("after", 6.0, "s", at_most=5.0)), Scale.QUICK)
    in_time = run_fault(fault_with(Figure("after", 4.0, "s", at_most=5.0)), Scale.QUICK)
    assert (late.verdict, in_time.verdict) == ("FAIL", "pass")
    assert "MISSED: after 6 s (<= 5)" in text_of(late)


def test_a_fault_that_shows_nothing_or_raises_has_failed() -> None:
    def broken(_: Scale) -> Outcome:
        raise OSError("no such device")

    assert run_fault(fault_with(), Scale.QUICK).verdict == "FAIL"
    row = run_fault(Fault("broken", "Breaks.", "none", broken), Scale.QUICK)
    assert row.verdict == "FAIL"
    assert "no such device" in text_of(row)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.needs.is_met", lambda need: need is not Need.FAKETIME)
    row = run_fault(fault_with(needs=(Need.LOOP, Need.FAKETIME)), Scale.QUICK)
    assert row.verdict == "not run"
    assert row.reason == "needs libfaketime"


def test_rows_of_other_faults_stay_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}{END}after\n")
    order = ["one", "two"]
    two = run_fault(fault_with(Figure("n", 2), name="two"), Scale.FULL)
    one = run_fault(fault_with(Figure("n", 1), name="one"), Scale.FULL)
    update(page, [two], order)
    update(page, [one], order)
    text = page.read_text()
    assert text.index("| one |") < text.index("| two |")
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_numbers_are_short() -> None:
    assert figure_text(Figure("n", 12345.0)) == "n 12,345"
    assert figure_text(Figure("n", 0.12345, "s")) == "n 0.123 s"


def test_what_never_came_is_shown_as_missed() -> None:
    never = Figure("after", float("inf"), "s", at_most=5.0)
    assert figure_text(never) == "MISSED: after infinite s (<= 5)"
