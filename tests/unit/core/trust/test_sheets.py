"""Asking for sheets: by need, of one peer after the other, and never more than is wanted."""

import random
from dataclasses import dataclass, field

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import NodeId
from mesh.core.instants import NEVER, Instant
from mesh.core.outbox import Outbox
from mesh.core.trust.sheets import (
    ASKED_MAX,
    FIRST_S,
    GIVEN_BYTES_S,
    PATIENCE,
    RETRY_DOUBLINGS_MAX,
    RETRY_S,
    SheetAsk,
    SheetExchange,
    SheetGive,
)
from mesh.core.trust.standing import SHEET_BYTES_MAX, SHEET_IDS_MAX, sheet_digest
from mesh.core.trust.trust import Trust
from mesh.core.wire.frame import BODY_BYTES_MAX
from tests.unit.core.trust.stage import Stage
from tests.unit.core.trust.test_removal import some_ids

PEER, OTHER = NodeId(b"p" * 16), NodeId(b"o" * 16)
SHEETS = 130


@dataclass
class Side:
    """One node's exchange, and what it has said to whom."""

    trust: Trust
    alive: tuple[NodeId, ...] = (PEER,)
    outbox: Outbox = field(default_factory=Outbox)

    def __post_init__(self) -> None:
        self.exchange = SheetExchange(
            self.trust,
            self.outbox,
            random.Random(1),
            lambda: self.alive,
            lambda sheets: bool(self.trust.accept_sheets(sheets)),
        )

    def said(self) -> list[tuple[NodeId, int, bytes]]:
        """Return what was said since, and forget it."""
        found = [
            (peer, kind, body)
            for messages in (self.outbox.messages, self.outbox.bulk)
            for peer, entries in messages.items()
            for kind, body in entries
        ]
        self.outbox.messages.clear()
        self.outbox.bulk.clear()
        return found

    def asked(self) -> list[bytes]:
        """Let the time pass until it asks, and return for what."""
        self.exchange.handle_timeout(self.exchange.next_deadline())
        [(_, kind, body)] = self.said()
        assert kind == SheetAsk.KIND
        return list(SheetAsk.decode_untrusted(body).digests)


def sides(count: int = SHEETS) -> tuple[Side, Side]:
    """Return a node that lacks every sheet of a removed node, and one that has them."""
    stage = Stage()
    pages = stage.pages("a", some_ids(count * SHEET_IDS_MAX))
    records = [stage.certificate("b"), *pages, stage.revocation("b", pages=pages)]
    lacking = Trust(stage.mesh)
    lacking.restore((*stage.founded.records, *records))
    return Side(lacking), Side(stage.trust(records))


def test_all_that_is_wanted_comes_from_whoever_has_it() -> None:
    here, there = sides()
    here.exchange.want(Instant(1.0))
    assert here.exchange.next_deadline() == 1.0 + FIRST_S
    here.exchange.handle_timeout(Instant(2.0))
    now, rounds = Instant(2.0), 0
    while said := here.said():
        [(peer, kind, body)] = said
        assert (peer, kind) == (PEER, SheetAsk.KIND)
        there.exchange.handle_message(now, OTHER, kind, body)
        for _, answer, sheets in there.said():
            here.exchange.handle_message(now, PEER, answer, sheets)
        rounds += 1
    assert rounds == -(-SHEETS // ASKED_MAX)
    assert not here.trust.wanted_sheets()
    assert here.exchange.received == SHEETS
    assert here.exchange.next_deadline() == NEVER
    assert here.exchange.take_completed() == PEER
    assert here.exchange.take_completed() is None


def test_only_who_was_asked_last_is_asked_for_more() -> None:
    here, there = sides()
    here.exchange.want(Instant(0.0))
    here.exchange.handle_timeout(Instant(1.0))
    [(_, kind, body)] = here.said()
    there.exchange.handle_message(Instant(1.0), OTHER, kind, body)
    [(_, answer, sheets)] = there.said()
    here.alive = (OTHER,)
    here.exchange.handle_timeout(here.exchange.next_deadline())
    [(asked, _, _)] = here.said()
    assert asked == OTHER
    here.exchange.handle_message(Instant(3.0), PEER, answer, sheets)
    assert len(here.trust.wanted_sheets()) == SHEETS - ASKED_MAX, "it comes late, and is taken"
    assert here.said() == []
    assert here.exchange.take_completed() is None
    here.exchange.handle_message(Instant(3.0), OTHER, answer, sheets)
    assert here.said() == [], "nothing of it was wanted any more"


def test_nothing_is_asked_where_nothing_is_wanted_or_nobody_is_there() -> None:
    here, there = sides()
    there.exchange.want(Instant(1.0))
    assert there.exchange.next_deadline() == NEVER
    here.alive = ()
    here.exchange.want(Instant(1.0))
    here.exchange.handle_timeout(Instant(2.0))
    assert here.said() == []
    assert here.exchange.next_deadline() == 2.0 + RETRY_S
    here.trust.accept_sheets([there.trust.sheet(one) or b"" for one in here.trust.wanted_sheets()])
    here.exchange.handle_timeout(Instant(3.0))
    assert here.exchange.next_deadline() == NEVER


def test_what_stays_away_is_asked_for_in_turn_and_ever_less_often() -> None:
    here, _ = sides()
    here.exchange.want(Instant(0.0))
    wanted = list(here.trust.wanted_sheets())
    assert here.asked() == wanted[:ASKED_MAX]
    assert here.asked() == wanted[ASKED_MAX : 2 * ASKED_MAX], "the others come first"
    assert here.asked() == wanted[2 * ASKED_MAX :]
    assert here.asked() != wanted[2 * ASKED_MAX :]
    for _ in range(PATIENCE + RETRY_DOUBLINGS_MAX):
        here.asked()
    before = here.exchange.next_deadline()
    here.exchange.handle_timeout(before)
    assert here.exchange.next_deadline() - before == RETRY_S * (1 << RETRY_DOUBLINGS_MAX)


def test_a_few_sheets_go_in_a_datagram_and_many_over_a_stream() -> None:
    here, there = sides()
    [one, *more] = list(here.trust.wanted_sheets())[:ASKED_MAX]
    there.exchange.handle_message(Instant(0.0), PEER, SheetAsk.KIND, SheetAsk((one, one)).encode())
    [(kind, body)] = there.outbox.messages[PEER]
    assert kind == SheetGive.KIND
    [sheet] = SheetGive.decode_untrusted(body).sheets
    assert sheet_digest(sheet) == one, "once, though it was asked for twice"
    assert len(sheet) == SHEET_BYTES_MAX
    assert len(body) <= BODY_BYTES_MAX
    there.said()
    ask = SheetAsk((*more, bytes(16)))
    there.exchange.handle_message(Instant(0.0), PEER, SheetAsk.KIND, ask.encode())
    [(_, body)] = there.outbox.bulk[PEER]
    assert len(SheetGive.decode_untrusted(body).sheets) == len(more)
    there.said()
    unknown = SheetAsk((bytes(16),)).encode()
    there.exchange.handle_message(Instant(0.0), PEER, SheetAsk.KIND, unknown)
    assert there.said() == [], "who asks for nothing that is here is told nothing"


def test_nobody_gets_more_than_its_share() -> None:
    here, there = sides()
    ask = SheetAsk(tuple(here.trust.wanted_sheets())[:ASKED_MAX]).encode()
    given = 0
    for _ in range(100):
        there.exchange.handle_message(Instant(0.0), PEER, SheetAsk.KIND, ask)
        given += sum(len(body) for _, _, body in there.said())
    assert given < 4 * GIVEN_BYTES_S + 2 * ASKED_MAX * SHEET_BYTES_MAX
    there.exchange.handle_message(Instant(0.0), OTHER, SheetAsk.KIND, ask)
    assert there.said(), "the others get theirs"


def test_what_nobody_wants_is_not_kept() -> None:
    here, _ = sides(1)
    give = SheetGive((b"x" * 16,)).encode()
    here.exchange.handle_message(Instant(0.0), PEER, SheetGive.KIND, give)
    assert here.said() == []
    assert here.trust.sheet(sheet_digest(b"x" * 16)) is None
    with pytest.raises(RemoteError) as error:
        here.exchange.handle_message(Instant(0.0), PEER, 72, b"")
    assert error.value.refusal is Refusal.MALFORMED
