"""Bytes that every implementation has to produce, made once without this code."""

import json
import pathlib
import random
from typing import Any

import pytest

from mesh.core.crypto.keys import fingerprint, root_key_hash
from mesh.core.crypto.primitives import RealSuite
from mesh.core.crypto.spelling import read_key, spell_key
from mesh.core.crypto.suite import SigningKey
from mesh.core.identity import Address, FactId, MeshId, PublicKey, node_id
from mesh.core.instants import Instant, Now, WallTime
from mesh.core.trust.exchange import mesh_mark
from mesh.core.trust.founding import MeshPlan, found
from mesh.core.trust.records import TRUST_CONTEXTS, Admin, Certificate, mesh_id_of
from mesh.core.trust.standing import write_list
from mesh.core.trust.tickets import Ticket, TicketBook, parse_ticket, ticket_psk, ticket_text
from mesh.core.trust.trust import Trust
from mesh.core.wire.envelope import (
    Verifier,
    author_of,
    decode_batch_untrusted,
    decode_signed_fact_untrusted,
    encode_batch,
    leaf_hash,
    merkle_levels,
    merkle_path,
    merkle_root,
    pre_authentication,
)

VECTORS = pathlib.Path(__file__).parents[3] / "vectors"
TRUST: dict[str, Any] = json.loads((VECTORS / "trust.json").read_text())
ENVELOPE: dict[str, Any] = json.loads((VECTORS / "envelope.json").read_text())
SUITE = RealSuite()
MESH = MeshId(bytes.fromhex(ENVELOPE["mesh_id"]))
KEY = SigningKey(bytes.fromhex(ENVELOPE["key"]["private"]))
PUBLIC = PublicKey(bytes.fromhex(ENVELOPE["key"]["public"]))


def signing_key(name: str) -> SigningKey:
    return SigningKey(bytes.fromhex(TRUST["keys"][name]["private"]))


@pytest.mark.parametrize("name", TRUST["keys"])
def test_keys_node_ids_and_fingerprints(name: str) -> None:
    public = SUITE.public_key(signing_key(name))
    assert public.hex() == TRUST["keys"][name]["public"]
    assert node_id(public).hex() == TRUST["keys"][name]["node_id"]
    assert fingerprint(public) == TRUST["keys"][name]["fingerprint"]


def test_what_a_signature_covers() -> None:
    payload = bytes.fromhex(ENVELOPE["pae"]["payload"])
    message = pre_authentication(MESH, ENVELOPE["context"].encode(), PUBLIC, payload)
    assert message.hex() == ENVELOPE["pae"]["bytes"]
    assert SUITE.sign(KEY, message).hex() == ENVELOPE["pae"]["signature"]


def test_the_id_of_a_fact() -> None:
    payload = bytes.fromhex(ENVELOPE["leaf"]["payload"])
    assert leaf_hash(MESH, ENVELOPE["context"], PUBLIC, payload).hex() == ENVELOPE["leaf"]["id"]


@pytest.mark.parametrize("vector", ENVELOPE["merkle"], ids=lambda vector: vector["count"])
def test_roots_paths_and_both_forms_of_a_batch(vector: dict[str, Any]) -> None:
    author = author_of(SUITE, KEY, Verifier(SUITE, MESH))
    facts = [Admin.decode_untrusted(bytes.fromhex(payload)) for payload in vector["payloads"]]
    signed = [verified.signed for verified in author.sign(facts)]
    assert [fact.id.hex() for fact in signed] == vector["leaves"]
    levels = merkle_levels([fact.id for fact in signed])
    assert levels[-1][0].hex() == vector["root"]
    for i, path in enumerate(vector["paths"]):
        assert [step.hex() for step in merkle_path(levels, i)] == path
        root = merkle_root(signed[i].id, i, vector["count"], [bytes.fromhex(s) for s in path])
        assert root.hex() == vector["root"]
    assert {fact.signature.hex() for fact in signed} == {vector["signature"]}
    assert encode_batch(signed).hex() == vector["batch"]
    assert list(decode_batch_untrusted(bytes.fromhex(vector["batch"]), MESH)) == signed
    assert [fact.encode().hex() for fact in signed] == vector["facts"]


def test_a_mesh_and_its_records() -> None:
    given = TRUST["genesis"]
    plan = MeshPlan(
        given["name"],
        given["profile"],
        given["open"],
        given["created_s"],
        bytes.fromhex(given["nonce"]),
        bytes.fromhex(given["next_root_hash"]),
    )
    assert root_key_hash(SUITE.public_key(signing_key("next_root"))) == plan.next_root_hash
    founded = found(SUITE, signing_key("root"), signing_key("node"), plan)
    assert founded.mesh.hex() == TRUST["mesh_id"]
    node = author_of(SUITE, signing_key("node"), Verifier(SUITE, founded.mesh))
    joiner = SUITE.public_key(signing_key("joiner"))
    created_s = plan.created_s
    admitted = node.sign([Certificate(joiner, created_s + 60, created_s + 3660)])
    trust, verifier = Trust(founded.mesh), Verifier(SUITE, founded.mesh)
    for record, vector in zip((*founded.records, *admitted), TRUST["records"], strict=True):
        assert record.signed.author.hex() == vector["author"]
        assert record.signed.context == vector["context"]
        assert record.signed.payload.hex() == vector["payload"]
        assert record.id.hex() == vector["id"]
        assert record.signed.signature.hex() == vector["signature"]
        assert record.signed.encode().hex() == vector["encoded"]
        signed = decode_signed_fact_untrusted(bytes.fromhex(vector["encoded"]), founded.mesh)
        assert trust.accept(verifier.open_untrusted(signed, TRUST_CONTEXTS))
    assert mesh_id_of(bytes.fromhex(TRUST["records"][0]["payload"])) == founded.mesh
    assert trust.is_member(joiner)


def test_taking_a_key_back_and_the_next_root() -> None:
    given = TRUST["removal"]
    mesh = MeshId(bytes.fromhex(TRUST["mesh_id"]))
    trust, verifier = Trust(mesh), Verifier(SUITE, mesh)
    for vector in (*TRUST["records"], *given["records"]):
        signed = decode_signed_fact_untrusted(bytes.fromhex(vector["encoded"]), mesh)
        assert signed.id.hex() == vector["id"]
        verified = verifier.open_untrusted(signed, TRUST_CONTEXTS)
        assert verified.fact.encode().hex() == vector["payload"]
        assert trust.accept(verified), vector["name"]
    sheets = [bytes.fromhex(sheet) for sheet in given["sheets"]]
    assert [sheet for _, sheet in trust.accept_sheets(sheets)] == sheets
    joiner = SUITE.public_key(signing_key("joiner"))
    listed = [FactId(bytes.fromhex(id_)) for id_ in given["standing"]]
    assert trust.revoked() == (joiner,)
    assert all(trust.counts(joiner, id_, is_new=True) for id_ in listed)
    assert not trust.counts(joiner, FactId(b"4" * 32), is_new=False)
    assert trust.root_key == SUITE.public_key(signing_key("next_root"))
    assert trust.ranks.next_root_hash.hex() == given["third_root_hash"]
    assert trust.is_admin(SUITE.public_key(signing_key("node"))), "listed by the rotation"
    pages, last = write_list(
        author_of(SUITE, signing_key("next_root"), verifier), [trust.admins()[0].id]
    )
    assert [page.signed.encode().hex() for page in pages] == [given["records"][4]["encoded"]]
    assert [sheet.hex() for sheet in last] == given["sheets"][2:]


def test_a_key_on_paper() -> None:
    key = bytes.fromhex(TRUST["spelling"]["key"])
    assert spell_key(key) == TRUST["spelling"]["text"]
    assert read_key(TRUST["spelling"]["text"]) == key


def test_a_ticket() -> None:
    given = TRUST["ticket"]
    mesh = MeshId(bytes.fromhex(TRUST["mesh_id"]))
    ticket = Ticket(
        mesh,
        tuple(PublicKey(bytes.fromhex(key)) for key in given["issuers"]),
        tuple(Address(host, port) for host, port in given["addresses"]),
        bytes.fromhex(given["secret"]),
        given["expires_s"],
    )
    assert ticket_text(ticket) == given["text"]
    assert parse_ticket(given["text"]) == ticket
    assert ticket.id.hex() == given["id"]
    assert ticket_psk(SUITE, mesh, ticket.secret).hex() == given["psk"]


def test_an_issued_ticket_is_the_ticket_of_its_secret() -> None:
    mesh, issuer = MeshId(bytes.fromhex(TRUST["mesh_id"])), SUITE.public_key(signing_key("node"))
    book = TicketBook(SUITE, mesh, issuer)
    now = Now(Instant(0.0), WallTime(0.0))
    ticket = book.issue(random.Random(1), now, 1, 60).ticket
    assert ticket.secret == random.Random(1).randbytes(16)
    assert book.psk(ticket.id) == ticket_psk(SUITE, mesh, ticket.secret)


def test_the_mark_of_a_mesh_in_a_hello() -> None:
    mesh = MeshId(bytes.fromhex(TRUST["mesh_id"]))
    random_bytes = bytes.fromhex(TRUST["mark"]["random"])
    assert mesh_mark(mesh, random_bytes).hex() == TRUST["mark"]["mark"]
