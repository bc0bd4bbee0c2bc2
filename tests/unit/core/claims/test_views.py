"""The JSON that others rely on."""

import pytest

from mesh.core.claims.exchange_views import moment
from mesh.core.claims.views import Shown, Views, claim_view, output_view
from mesh.core.identity import NodeId
from mesh.core.snapshot import TaskState
from tests.unit.core.claims.scribe import ANN, BOB, CAT, ranked, table_of

CREATED_MS = 1_700_000_000_123


def name(node: NodeId) -> str:
    return {ANN.id: "ann", BOB.id: "bob", CAT.id: "cat"}[node]


VIEWS = Views(name)


@pytest.mark.parametrize(
    ("wall_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (CREATED_MS, "2023-11-14T22:13:20.123Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ((1 << 64) - 1, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_rfc_3339(wall_ms: int, text: str) -> None:
    assert moment(wall_ms) == text


def test_output_is_text_only_if_it_is() -> None:
    assert output_view(b"ok") == {"output": "b2s=", "text": "ok"}
    assert output_view(b"\xff") == {"output": "/w==", "text": None}


EMPTY: dict[str, object] = {
    "progress": None,
    "checkpoint": None,
    "handoff": None,
    "questions": [],
    "reviews": [],
    "verify": 0,
    "waits_for": None,
    "declines": 0,
    "timeouts": 0,
    "deaths": 0,
    "reopens": None,
    "progress_limit_s": None,
}


def test_a_new_task() -> None:
    spec = ANN.spec(created_ms=CREATED_MS)
    record = table_of(spec).record(spec.fact.task)
    assert record is not None
    view = VIEWS.task(record, None)
    assert view | EMPTY == view
    assert {name: value for name, value in view.items() if name not in EMPTY} == {
        "id": f"1-7-{ANN.id.hex()}",
        "kind": "build",
        "blob": None,
        "state": "submitted",
        "mode": "convergent",
        "owner": None,
        "token": None,
        "epoch": 0,
        "attempts": 0,
        "max_attempts": 3,
        "copies": 1,
        "created_at": "2023-11-14T22:13:20.123Z",
        "updated_at": "2023-11-14T22:13:20.123Z",
        "result": None,
        "superseded": [],
        "starts": 0,
        "error": None,
        "note": "",
    }


def test_a_task_under_work_and_what_its_agent_gets() -> None:
    spec = ANN.spec(payload=b"hi")
    claim = BOB.claim(spec)
    record = table_of(spec, claim, BOB.progress(claim)).record(spec.fact.task)
    assert record is not None
    shown = Shown(TaskState.WORKING, claim.id, None, CREATED_MS, copies=2)
    view = VIEWS.task(record, shown)
    assert view["owner"] == {"node": BOB.id.hex(), "agent": "agent", "name": "bob"}
    assert str(view["token"]).startswith("00000001-")
    assert (view["copies"], view["starts"], view["attempts"]) == (2, 1, 1)
    assert view["updated_at"] == "2023-11-14T22:13:20.123Z"
    hand = claim_view(record, claim, "h", "owned", VIEWS.name)
    assert hand["attempt"] == 1
    assert hand["payload"] == "aGk="
    assert hand["token"] == view["token"]


def test_two_results_are_both_kept() -> None:
    spec = ANN.spec()
    low, high = ranked(spec.fact.task, 1, BOB, CAT)
    claims = [low.claim(spec), high.claim(spec)]
    facts = [low.result(claims[0], b"old"), high.result(claims[1], b"new")]
    record = table_of(spec, *claims, *facts).record(spec.fact.task)
    assert record is not None
    view = VIEWS.task(record, None)
    result, superseded = view["result"], view["superseded"]
    assert isinstance(result, dict)
    assert isinstance(superseded, list)
    assert isinstance(superseded[0], dict)
    assert (result["text"], result["by"]) == ("new", high.id.hex())
    assert (superseded[0]["text"], superseded[0]["by"]) == ("old", low.id.hex())
    assert str(superseded[0]["token"]) < str(result["token"])
    assert view["owner"] is None


def test_facts_say_what_they_are() -> None:
    spec = ANN.spec()
    claim = BOB.claim(spec)
    assert VIEWS.fact(spec, CREATED_MS)["at"] == "2023-11-14T22:13:20.123Z"
    told = VIEWS.fact(BOB.attempt(claim, error=b"no\xff"), None)
    assert told["kind"] == "attempt"
    assert told["author"] == BOB.id.hex()
    assert told["signature_ok"] is True
    assert told["at"] is None
    assert (told["outcome"], told["error"]) == ("failed", "no\ufffd")
    assert VIEWS.fact(BOB.progress(claim), None)["state"] == "started"
    assert VIEWS.fact(ANN.cancel(spec), None)["kind"] == "cancel"
