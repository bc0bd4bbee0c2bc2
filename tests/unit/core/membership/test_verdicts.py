"""Verdicts: enough distinct accusers, each of whom really accused."""

import pytest

from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.suite import SigningKey
from mesh.core.errors import Refusal, RemoteError
from mesh.core.membership.facts import Verdict
from mesh.core.membership.verdicts import (
    ACCUSATIONS_MAX,
    accusers_of,
    check_accusations,
    check_verdict,
    is_stronger,
)
from mesh.core.wire.envelope import PAYLOAD_BYTES_MAX, Verifier, author_of
from tests.unit.core.membership.bench import forged, verdict_of
from tests.unit.core.membership.playground import MESH, make_author

SUBJECT = make_author("subject")
OBSERVERS = [make_author(f"o{number}") for number in range(9)]


@pytest.mark.parametrize(("accusers", "observers"), [(2, 2), (3, 5), (5, 8), (9, 17)])
def test_a_majority_is_enough(accusers: int, observers: int) -> None:
    check_verdict(verdict_of(OBSERVERS[:accusers], SUBJECT.id, observers=observers).fact)


@pytest.mark.parametrize(("accusers", "observers"), [(1, 2), (1, 3), (4, 8), (3, 6)])
def test_half_is_not(accusers: int, observers: int) -> None:
    minority = verdict_of(OBSERVERS[:accusers], SUBJECT.id, observers=observers)
    with pytest.raises(RemoteError) as refused:
        check_verdict(minority.fact)
    assert refused.value.refusal is Refusal.BROKEN_RULE
    alone = verdict_of(OBSERVERS[:accusers], SUBJECT.id, observers=observers, local=True)
    check_verdict(alone.fact)


@pytest.mark.parametrize("observers", [0, 1])
def test_one_accuser_is_never_a_majority_however_few_it_says_there_are(observers: int) -> None:
    with pytest.raises(RemoteError) as refused:
        check_verdict(verdict_of(OBSERVERS[:1], SUBJECT.id, observers=observers).fact)
    assert refused.value.refusal is Refusal.BROKEN_RULE


def test_nobody_counts_twice_and_the_subject_not_at_all() -> None:
    twice = verdict_of([OBSERVERS[0], OBSERVERS[0], OBSERVERS[1]], SUBJECT.id)
    itself = verdict_of([OBSERVERS[0], SUBJECT], SUBJECT.id)
    for wrong in (twice, itself):
        with pytest.raises(RemoteError) as refused:
            check_verdict(wrong.fact)
        assert refused.value.refusal is Refusal.BROKEN_RULE


@pytest.mark.parametrize("suite", ["hash", "real"])
def test_each_accusation_is_verified(suite: str) -> None:
    accusers, verifier = OBSERVERS[:3], make_author("reader").verifier
    if suite == "real":
        real = RealSuite()
        accusers = [
            author_of(real, SigningKey(bytes((i,)) * 32), Verifier(real, MESH)) for i in (1, 2, 3)
        ]
        verifier = Verifier(real, MESH)
    verdict = verdict_of(accusers, SUBJECT.id)
    check_accusations(verifier, verdict.fact)
    assert verifier.verifications == 3
    assert accusers_of(verdict.fact) == [accuser.id for accuser in accusers]
    with pytest.raises(RemoteError) as refused:
        check_accusations(verifier, forged(verdict).fact)
    assert refused.value.refusal is Refusal.BAD_SIGNATURE


def test_an_accusation_of_another_incarnation_does_not_count() -> None:
    one = verdict_of(OBSERVERS[:2], SUBJECT.id, 1).fact
    two = verdict_of(OBSERVERS[:2], SUBJECT.id, 2).fact
    mixed = Verdict(
        one.subject, one.boot, one.incarnation, 3, False, (one.accusations[0], two.accusations[1])
    )
    with pytest.raises(RemoteError):
        check_accusations(make_author("reader").verifier, mixed)


def test_the_largest_verdict_fits() -> None:
    verdict = verdict_of(OBSERVERS[:ACCUSATIONS_MAX], SUBJECT.id)
    data = verdict.fact.encode()
    assert len(data) <= PAYLOAD_BYTES_MAX
    assert Verdict.decode_untrusted(data) == verdict.fact


def test_of_two_verdicts_everybody_keeps_the_same() -> None:
    weak = verdict_of(OBSERVERS[:2], SUBJECT.id)
    strong = verdict_of(OBSERVERS[:3], SUBJECT.id)
    other = verdict_of(OBSERVERS[1:4], SUBJECT.id)
    assert is_stronger(strong, weak)
    assert not is_stronger(weak, strong)
    assert is_stronger(strong, other) != is_stronger(other, strong)
    assert not is_stronger(strong, strong)
