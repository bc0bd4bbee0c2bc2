"""A word per key that lives twice: the newest, the same everywhere, over with a newer boot."""

from itertools import permutations

import pytest

from mesh.core.errors import Refusal, RemoteError
from mesh.core.identity import Boot
from mesh.core.membership.facts import Presence, Twin
from mesh.core.wire.envelope import Verified
from tests.unit.core.membership.bench import BOOT, NEXT_BOOT, Bench, presence_of

LAST_BOOT = Boot(NEXT_BOOT + (1 << 28))
OLD_BOOT = Boot(BOOT - (1 << 28))


def twin_of(bench: Bench, name: str, boot: Boot, rival: Boot) -> Verified[Twin]:
    return bench.peers[name].sign([Twin(boot, rival)])[0]


def flags(bench: Bench, name: str) -> tuple[str, ...]:
    views = bench.membership.members(bench.now)
    return next(view.flags for view in views if view.id == bench.id(name))


def test_the_newest_word_counts_whatever_came_first() -> None:
    words = ((OLD_BOOT, BOOT), (BOOT, NEXT_BOOT), (NEXT_BOOT, OLD_BOOT))
    kept = []
    for order in permutations(words):
        bench = Bench("a", "b")
        for boot, rival in order:
            bench.take(twin_of(bench, "a", boot, rival))
        assert flags(bench, "a") == ("cloned",)
        assert flags(bench, "b") == ()
        kept.append([v.id for v in bench.gossip.held.values() if isinstance(v.fact, Twin)])
    assert all(ids == kept[0] for ids in kept)
    assert len(kept[0]) == 1


@pytest.mark.parametrize("word_first", [True, False])
def test_a_newer_boot_than_both_ends_the_matter(word_first: bool) -> None:
    bench = Bench("a", "b")
    word = twin_of(bench, "a", BOOT, NEXT_BOOT)
    newer: Verified[Presence] = presence_of(bench.peers["a"], LAST_BOOT, 0)
    taken = [bench.take(fact) for fact in ((word, newer) if word_first else (newer, word))]
    assert taken == ([True, True] if word_first else [True, False])
    assert flags(bench, "a") == ()
    assert not bench.gossip.holds_id(word.id)


def test_a_word_may_come_before_its_author_is_known() -> None:
    bench = Bench("b")
    author = Bench("a").peers["a"]
    word = author.sign([Twin(BOOT, NEXT_BOOT)])[0]
    assert bench.take(word)
    assert bench.take(presence_of(author, NEXT_BOOT, 0))
    assert bench.gossip.holds_id(word.id)
    bench.membership.remove(bench.now, author.id)
    assert not bench.gossip.holds_id(word.id)


def test_words_that_can_not_be_and_words_beyond_the_cap() -> None:
    bench = Bench("a", "b", members_max=3)
    with pytest.raises(RemoteError) as refused:
        bench.take(twin_of(bench, "a", BOOT, BOOT))
    assert refused.value.refusal is Refusal.BROKEN_RULE
    for name in ("k", "l", "m"):
        bench.take(Bench(name).peers[name].sign([Twin(BOOT, NEXT_BOOT)])[0])
    with pytest.raises(RemoteError) as refused:
        bench.take(twin_of(bench, "a", BOOT, NEXT_BOOT))
    assert refused.value.refusal is Refusal.OVER_CAP


def test_who_is_outdone_by_its_own_key_knows_by_what() -> None:
    bench = Bench("a")
    own = bench.membership.own_presence
    assert own is not None
    rival = presence_of(bench.author, Boot(own.fact.boot + 1), 0)
    assert bench.take(rival)
    assert bench.membership.rival_boot == own.fact.boot + 1
    assert bench.membership.rival_presence == rival
    word = bench.author.sign([Twin(own.fact.boot, rival.fact.boot)])[0]
    assert bench.take(word)
    assert bench.membership.own_twin == word
