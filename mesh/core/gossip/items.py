"""Facts as they travel: each alone, or whole batches, which need no Merkle paths."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from mesh.core.identity import MeshId
from mesh.core.wire.codec import refuse
from mesh.core.wire.envelope import (
    SignedFact,
    Verified,
    decode_batch_untrusted,
    decode_signed_fact_untrusted,
    encode_batch,
)

ITEM_HEADER_BYTES = 3
ITEM_BYTES_MIN = 96
"""An author and a signature: nothing shorter can be a fact."""
FACT_OVERHEAD_BYTES = 125
PATH_STEP_BYTES = 34
BATCH_OVERHEAD_BYTES = 106
BATCH_FACT_BYTES = 6


class Form(IntEnum):
    """How an item holds its facts."""

    SINGLE = 0
    BATCH = 1


FORMS = tuple(Form)


class Item(NamedTuple):
    """The bytes of one fact, or of one whole batch."""

    form: Form
    data: bytes

    def encode(self) -> bytes:
        """Return the bytes with form and length before them."""
        return bytes((self.form,)) + len(self.data).to_bytes(2, "big") + self.data


def decode_items_untrusted(data: bytes) -> list[Item]:
    """Return the items behind foreign bytes; raises RemoteError on a cut or an unknown form."""
    items = []
    at = 0
    while at < len(data):
        body = at + ITEM_HEADER_BYTES
        end = body + int.from_bytes(data[at + 1 : body], "big")
        if end > len(data) or end - body < ITEM_BYTES_MIN or data[at] > Form.BATCH:
            raise refuse("no fact has this form and length")
        items.append(Item(FORMS[data[at]], data[body:end]))
        at = end
    return items


def decode_item_untrusted(item: Item, mesh: MeshId) -> tuple[SignedFact, ...]:
    """Return the facts of an item, not yet verified; raises RemoteError."""
    if item.form is Form.SINGLE:
        return (decode_signed_fact_untrusted(item.data, mesh),)
    return decode_batch_untrusted(item.data, mesh)


def single_bytes(signed: SignedFact) -> int:
    """Return an upper bound for the bytes of a fact alone, item header included."""
    path = PATH_STEP_BYTES * len(signed.path)
    return FACT_OVERHEAD_BYTES + path + len(signed.context) + len(signed.payload)


def _batch_bytes(facts: Sequence[SignedFact]) -> int:
    """Return an upper bound for the bytes of a batch, item header included."""
    each = sum(len(fact.context) + len(fact.payload) for fact in facts)
    return BATCH_OVERHEAD_BYTES + each + BATCH_FACT_BYTES * len(facts)


def _runs(facts: Sequence[Verified[Any]]) -> Iterator[list[SignedFact]]:
    """Yield neighbours that stand under one signature."""
    run: list[SignedFact] = []
    for fact in facts:
        if run and fact.signed.signature != run[0].signature:
            yield run
            run = []
        run.append(fact.signed)
    if run:
        yield run


def make_items(facts: Sequence[Verified[Any]], batch_bytes_max: int) -> list[Item]:
    """Return items for facts: a batch as one where it is whole and fits, each alone otherwise."""
    items: list[Item] = []
    for run in _runs(facts):
        whole = len(run) == run[0].count and all(fact.index == i for i, fact in enumerate(run))
        if whole and _batch_bytes(run) <= batch_bytes_max:
            items.append(Item(Form.BATCH, encode_batch(run)))
        else:
            items += [Item(Form.SINGLE, signed.encode()) for signed in run]
    return items
