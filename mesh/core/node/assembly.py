"""How a participant is put together, and how it gets back what it knew before."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from mesh.core.blobs.blobs import Blobs
from mesh.core.claims.desk import Desk, DeskParts
from mesh.core.claims.facts import TaskFact
from mesh.core.claims.forgotten import FORGET_CONTEXTS
from mesh.core.claims.table import Table
from mesh.core.crypto.suite import LinkKey
from mesh.core.errors import RemoteError
from mesh.core.evidence import evidence_of
from mesh.core.gossip.gossip import Family, Gossip, GossipParts
from mesh.core.gossip.journal import ROW_KIND, decode_row_untrusted
from mesh.core.identity import Boot
from mesh.core.instants import Now
from mesh.core.links.links import Links
from mesh.core.links.session import LinkEnd
from mesh.core.membership.facts import Presence
from mesh.core.membership.membership import Membership, MembershipParts, OwnPresence
from mesh.core.membership.twins import newest_boot
from mesh.core.node.bulk import Bulk
from mesh.core.node.participant import Participant
from mesh.core.node.removals import SHEET_ROW, Removals
from mesh.core.node.setup import NodeSetup, Rows
from mesh.core.node.transport import Transport
from mesh.core.outbox import Outbox
from mesh.core.params import Params, params_for
from mesh.core.trust.records import TRUST_CONTEXTS, Genesis, mesh_id_of
from mesh.core.trust.sheets import SheetExchange
from mesh.core.trust.trust import Trust
from mesh.core.wire.codec import unpack_untrusted
from mesh.core.wire.envelope import (
    SIGNED_FACT_LAYOUT,
    SignedFact,
    Verified,
    Verifier,
    author_of,
    decode_signed_fact_untrusted,
)

SILENT_QUIET_TIMES = 2.0
"""A peer silent for this many quiet times of an edge is greeted again."""


def decode_genesis_untrusted(data: bytes) -> SignedFact:
    """Return a genesis under the mesh id that it founds itself; raises RemoteError."""
    payload = unpack_untrusted(data, SIGNED_FACT_LAYOUT)[-1]
    return decode_signed_fact_untrusted(data, mesh_id_of(payload))


def params_of(setup: NodeSetup, genesis: Genesis) -> Params:
    """Return the numbers of the mesh's profile, which every node must share.

    What a node keeps, and for how long, is its own affair.
    """
    if setup.params.profile == genesis.profile:
        return setup.params
    return replace(params_for(genesis.profile), claims=setup.params.claims)


def assemble(
    setup: NodeSetup,
    boot: Boot,
    genesis: SignedFact,
    outbox: Outbox,
    stream_ids: "count[int]",
) -> Participant:
    """Return the parts of a member, wired together but not started; raises RemoteError."""
    mesh = mesh_id_of(genesis.payload)
    suite, rng = setup.suite, setup.rng
    verifier = Verifier(suite, mesh)
    author = author_of(suite, setup.key, verifier)
    verified = verifier.open_untrusted(genesis, TRUST_CONTEXTS)
    params = params_of(setup, verified.fact)
    trust = Trust(mesh)
    trust.accept(verified)
    table = Table(mesh, params.claims, trust.is_admin_id)
    participant = Participant(params, boot, outbox, verifier, author, trust, table, {})
    participant.gossip = gossip = Gossip(
        GossipParts(author, verifier, participant, params.gossip, rng, outbox)
    )
    link_key = LinkKey(rng.randbytes(32))
    own = OwnPresence(setup.name, setup.addresses, suite.link_public(link_key), setup.tags)
    participant.membership = membership = Membership(
        MembershipParts(author, gossip, params.membership, rng, outbox, boot, own)
    )
    links = Links(suite, mesh, LinkEnd(author.id, boot, own.link_key), link_key, params.links)

    def own_facts() -> Sequence[bytes]:
        presence = membership.presence(author.id)
        assert presence is not None
        twin = membership.own_twin
        # One that was outdone has nothing to show but that.
        outdone = twin is not None and newest_boot(twin) > presence.fact.boot
        proofs = [*trust.chain(author.public_key), twin if outdone and twin else presence]
        return [proof.signed.encode() for proof in proofs]

    silent_s = SILENT_QUIET_TIMES * params.membership.edge_quiet_s
    participant.transport = Transport(links, membership, params.links, own_facts, silent_s)
    participant.bulk = Bulk(links, params.links, rng, stream_ids)
    participant.blobs = Blobs(params.blobs, outbox, membership.alive)
    participant.desk = _desk(setup, participant)
    participant.removals = removals = Removals(
        author.public_key,
        trust,
        gossip,
        membership,
        table,
        participant.bulk,
        outbox,
        participant.desk.garbage.withdraw,
    )
    participant.sheets = SheetExchange(trust, outbox, rng, membership.alive, removals.take_sheets)
    return participant


def _desk(setup: NodeSetup, participant: Participant) -> Desk:
    params, trust = participant.params, participant.trust
    return Desk(
        DeskParts(
            author=participant.author,
            boot=participant.boot,
            table=participant.table,
            gossip=participant.gossip,
            liveness=participant,
            params=params.claims,
            orphan_grace_s=params.membership.orphan_grace_s,
            rng=setup.rng,
            outbox=participant.outbox,
            blobs=participant.blobs,
            is_admin=trust.is_admin_id,
            was_admin=trust.was_admin_id,
            majority=participant.majority,
        )
    )


def restore(participant: Participant, rows: Rows, now: Now) -> None:
    """Take back facts, tickets, handles and answers; what does not verify is left out, counted."""
    held = sorted(_decoded(participant, rows.get(ROW_KIND, {}).values()), key=_place)
    behind = bisect_left(held, len(_PLACES), key=_place)
    _restore_facts(participant, now, held[:behind])
    # Before the facts: who was an admin, and by what words, is final then.
    participant.trust.accept_sheets(rows.get(SHEET_ROW, {}).values())
    _restore_facts(participant, now, held[behind:])
    for record in participant.trust.records():
        participant.gossip.restore(Family.MEMBERS, record)
    participant.desk.restore(rows)
    participant.removals.apply(now)
    participant.removals.judge_to_the_end(now)
    participant.sheets.want(now.instant)


def _restore_facts(
    participant: Participant, now: Now, held: Iterable[tuple[Family, SignedFact]]
) -> None:
    for family, signed in held:
        try:
            _restore_fact(participant, now, family, signed)
        except RemoteError as error:
            participant.refuse(error)
            participant.transport.count("refused_on_load")


_PLACES = {context: place for place, context in enumerate(TRUST_CONTEXTS)}


def _place(entry: tuple[Family, SignedFact]) -> int:
    """Return where a fact from disk comes in: first records of trust, as they rest on each other.

    A record that a claim cites as evidence stands among the facts of tasks, behind them.
    """
    family, signed = entry
    is_record = family is Family.MEMBERS and signed.context in _PLACES
    return _PLACES[signed.context] if is_record else len(_PLACES)


def _decoded(
    participant: Participant, values: Iterable[bytes]
) -> Iterable[tuple[Family, SignedFact]]:
    for value in values:
        try:
            yield decode_row_untrusted(value, participant.verifier.mesh)
        except RemoteError:
            participant.transport.count("refused_on_load")


def _restore_fact(participant: Participant, now: Now, family: Family, signed: SignedFact) -> None:
    contexts = participant.contexts(family)
    verified: Verified[Any] = participant.verifier.open_untrusted(signed, contexts)
    fact = verified.fact
    if signed.context in _PLACES and family is Family.MEMBERS:
        participant.trust.accept(verified)
        return  # held by gossip once all of them are there
    if signed.context in FORGET_CONTEXTS:
        kept = participant.desk.garbage.restore(verified)
    elif isinstance(fact, TaskFact):
        participant.table.check(verified)
        participant.table.restore(verified)
        kept = True
    elif family is Family.TASKS:
        participant.table.add_evidence(evidence_of(verified))
        kept = True
    else:
        kept = participant.membership.accept(now, verified)
        if kept and isinstance(fact, Presence):
            participant.learn(now, verified)
    participant.gossip.restore(family, verified)
    if not kept:
        participant.gossip.drop(family, verified.id)
