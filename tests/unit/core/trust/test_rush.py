"""A hundred machines at once on one ticket: exactly as many certificates as it has uses."""

import random

from mesh.core.errors import LocalError
from mesh.core.trust.joining import Joined
from tests.unit.core.trust.stage import Stage
from tests.unit.core.trust.two_ends import Issuer, joiner_of, wish_of

RUSH = 100
USES = 3


def test_a_hundred_exchanges_in_step_give_as_many_certificates_as_the_ticket_has_uses() -> None:
    for seed in range(2):
        issuer, rng = Issuer(Stage()), random.Random(seed)
        ticket = issuer.ticket(uses=USES)
        pairs = [
            (joiner_of(f"n{number}", wish_of(f"n{number}", ticket)), issuer.admitter())
            for number in range(RUSH)
        ]
        answers = [(one, other, other.feed(one.start().send)) for one, other in pairs]
        rng.shuffle(answers)
        requests = [(one, other, one.feed(answer.send)) for one, other, answer in answers]
        rng.shuffle(requests)
        joined: list[Joined] = []
        refused: list[str] = []
        for one, other, request in requests:
            grant = other.feed(request.send)
            try:
                step = one.feed(grant.send + grant.after_commit)
            except LocalError as error:
                refused.append(error.name)
                continue
            assert step.joined is not None
            joined.append(step.joined)
        assert len(joined) == USES
        assert refused == ["ticket_used"] * (RUSH - USES)
        certified = [key for key in issuer.trust.named_keys() if issuer.trust.is_member(key)]
        assert len(certified) == 1 + USES, "the founder and as many more"
