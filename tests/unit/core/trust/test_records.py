"""Trust records as bytes."""

import pytest

from mesh.core.errors import RemoteError
from mesh.core.trust.records import TRUST_CONTEXTS, Admin, Certificate, Genesis, mesh_id_of
from mesh.core.wire.envelope import Fact
from tests.unit.core.trust.stage import Stage, public_key_of

KEY = public_key_of("a")
GENESIS = Stage().founded.genesis.fact


@pytest.mark.parametrize("fact", [GENESIS, Admin(KEY), Certificate(KEY, 1, 2)], ids=type)
def test_a_record_survives_its_bytes(fact: Fact) -> None:
    assert TRUST_CONTEXTS[fact.CONTEXT].decode_untrusted(fact.encode()) == fact


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33])
def test_a_key_has_32_bytes(key: bytes) -> None:
    with pytest.raises(RemoteError):
        Admin.decode_untrusted(b"\x91\xc4" + bytes((len(key),)) + key)


def test_the_mesh_id_covers_every_bit_of_the_genesis() -> None:
    payload = GENESIS.encode()
    ids = {mesh_id_of(payload)}
    for at in range(len(payload)):
        ids.add(mesh_id_of(payload[:at] + bytes((payload[at] ^ 1,)) + payload[at + 1 :]))
    assert len(ids) == len(payload) + 1
    assert all(len(id_) == 32 for id_ in ids)
    assert Genesis.decode_untrusted(payload) == GENESIS
