"""A new mesh proves itself from its id alone."""

from dataclasses import replace

import pytest

from mesh.core.errors import LocalError
from mesh.core.params import PROFILES
from mesh.core.trust.founding import MeshPlan, found
from mesh.core.trust.records import TRUST_CONTEXTS, mesh_id_of
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import Verifier, decode_signed_fact_untrusted
from tests.unit.core.trust.stage import SUITE, WALL, key_of, plan, public_key_of


def test_the_records_of_a_new_mesh_prove_themselves_from_its_id() -> None:
    founded = found(SUITE, key_of("root"), key_of("a"), plan())
    assert founded.mesh == mesh_id_of(founded.genesis.signed.payload)
    verifier, trust = Verifier(SUITE, founded.mesh), Trust(founded.mesh)
    for record in founded.records:
        signed = decode_signed_fact_untrusted(record.signed.encode(), founded.mesh)
        assert trust.accept(verifier.open_untrusted(signed, TRUST_CONTEXTS))
    assert trust.is_admin(public_key_of("a"))
    assert trust.link_allowed(public_key_of("a"), WALL)
    assert founded.genesis.fact.root_key == public_key_of("root")
    assert founded.certificate.fact.expires_s == 0


@pytest.mark.parametrize(
    "other",
    [
        replace(plan(), name="other"),
        replace(plan(), profile="wan"),
        replace(plan(), open=True),
        replace(plan(), created_s=1),
        replace(plan(), nonce=b"o" * 16),
        replace(plan(), next_root_hash=b"h" * 32),
    ],
    ids=MeshPlan.__match_args__,
)
def test_everything_the_founder_decides_is_in_the_id(other: MeshPlan) -> None:
    keys = key_of("root"), key_of("a")
    assert found(SUITE, *keys, other).mesh != found(SUITE, *keys, plan()).mesh
    assert found(SUITE, *keys, plan()).mesh == found(SUITE, *keys, plan()).mesh


def test_the_name_is_normalised_where_it_enters() -> None:
    founded = found(SUITE, key_of("root"), key_of("a"), plan(name="e\N{COMBINING ACUTE ACCENT}"))
    assert founded.genesis.fact.name == "\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_a_name_or_profile_that_cannot_be_is_refused() -> None:
    with pytest.raises(LocalError) as refused:
        found(SUITE, key_of("root"), key_of("a"), plan(name=""))
    assert refused.value.name == "bad_name"
    with pytest.raises(LocalError) as refused:
        found(SUITE, key_of("root"), key_of("a"), replace(plan(), profile="fastest"))
    assert refused.value.name == "bad_profile"
    assert all(profile in refused.value.hint for profile in PROFILES)
