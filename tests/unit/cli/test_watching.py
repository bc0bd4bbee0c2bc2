"""What coordination costs, from the counters of a node."""

from mesh.cli.output import cells
from mesh.cli.watching import bill_of, fitted


def test_a_bill_is_split_by_kind() -> None:
    spent = {
        "tasks_over": 4,
        "sent_push": 12,
        "sent_push_bytes": 4000,
        "datagrams_sent": 20,
        "bytes_sent": 5000,
        "verifications": 8,
        "settled": 2,
        "settle_us": 3000,
    }
    bill = bill_of(spent)
    assert bill["kinds"]["push"] == {"messages": 12, "bytes": 4000}
    assert bill["kinds"]["sync"] == {"messages": 0, "bytes": 0}
    assert bill["settle_ms_per_claim"] == 1.5


def test_nothing_done_costs_nothing_per_task() -> None:
    assert bill_of({})["settle_ms_per_claim"] is None


def test_a_frame_fits_its_terminal() -> None:
    frame = ["title of the mesh", "漢字" * 9, *map(str, range(9))]
    shown = fitted(frame, 10, 5)
    assert shown == ["title of …", "漢字漢字…", "0", "8 more li…"]
    assert all(cells(line) <= 10 for line in shown)
    assert fitted(frame, 80, 40) == frame
    assert len(fitted(frame, 0, 0)) == 1
