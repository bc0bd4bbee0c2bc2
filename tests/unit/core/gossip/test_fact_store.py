"""The store: a set with fingerprints, an order, and a memory."""

from mesh.core.gossip.fact_store import FactStore
from mesh.core.identity import FactId
from tests.unit.core.gossip.network import MESH, Station, params_with

NOTES = Station(1, params_with()).notes(*[b"%d" % i for i in range(60)])


def filled(count: int = 60) -> FactStore:
    store = FactStore(MESH, 64)
    for note in NOTES[:count]:
        assert store.hold(note)
    return store


def test_holding_twice_changes_nothing() -> None:
    store = filled()
    fingerprint = store.tree.fingerprint
    assert not store.hold(NOTES[0])
    assert (len(store), store.tree.fingerprint) == (60, fingerprint)


def test_what_is_released_is_gone_and_remembered() -> None:
    store = filled(2)
    assert store.release(NOTES[0].id)
    assert not store.release(NOTES[0].id)
    assert NOTES[0].id not in store
    assert store.knows(NOTES[0].id)
    assert store.knows_cut(NOTES[0].id[:8])
    assert store.knows_cut(NOTES[1].id[:8])
    assert store.tree.fingerprint == store.tree.range("").fingerprint
    assert store.ids() == (NOTES[1].id,)


def test_a_twin_in_the_first_bytes_is_not_taken_for_known() -> None:
    store = filled(1)
    store.remember(NOTES[1].id)
    twin = FactId(NOTES[1].id[:8] + bytes(24))
    assert store.knows_cut(twin[:8])
    assert not store.knows(twin)
    assert not store.knows_cut(twin)


def test_ids_are_found_by_their_beginning_or_in_full() -> None:
    store = filled()
    id_ = NOTES[7].id
    assert store.find(id_[:8]) == store.find(id_) == [id_]
    assert store.find(bytes(8)) == store.find(bytes(32)) == []


def test_many_ids_come_in_the_order_in_which_they_came_to_be_held() -> None:
    store = filled()
    ids = [note.id for note in NOTES]
    assert store.in_order([*sorted(ids), bytes(32)]) == ids
    assert store.in_order([ids[3], bytes(32), ids[1]]) == [ids[3], ids[1]]
