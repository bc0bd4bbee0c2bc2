"""Who may write: every fact that a node keeps has an author with a chain of records to the root."""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.core.effects import Row
from mesh.core.trust.records import Admin, Certificate, Rotation
from mesh.core.wire.envelope import SignedFact, decode_signed_fact_untrusted
from mesh.sim.checker import Checker, Violation
from mesh.sim.host import Host
from mesh.sim.stored import FACT_ROWS
from mesh.sim.world import Rank, World

RECORDS = {kind.CONTEXT: kind for kind in (Admin, Certificate, Rotation)}


@dataclass(slots=True, eq=False)
class ChainsValid(Checker):
    """S2: whoever wrote what a node keeps was admitted, by an admin whom the root had made one.

    Begins with the keys that the world started with, and follows the records in the rows of all
    nodes: a record counts here once any node keeps it, though it may be revoked later. Silent
    until the world knows its mesh id and its root. Signatures are another checker's business.
    """

    world: World

    def handle_rows(self, host: Host, rows: Sequence[Row]) -> None:
        """A node asked for these rows to be made durable."""
        mesh = self.world.mesh_id
        if mesh is None or not self.world.ranks:
            return
        facts = [
            decode_signed_fact_untrusted(row.value[1:], mesh)
            for row in rows
            if row.kind == FACT_ROWS and row.value is not None
        ]
        for signed in facts:
            if signed.context in RECORDS:
                self._add(signed)
        for signed in facts:
            if signed.author not in self.world.ranks:
                raise Violation("S2", f"{host.name} keeps {signed.context} by an outsider")

    def _add(self, signed: SignedFact) -> None:
        ranks, author = self.world.ranks, signed.author
        rank = ranks.get(author, Rank.NOBODY)
        match RECORDS[signed.context].decode_untrusted(signed.payload):
            case Rotation(former=former) if ranks.get(former) is Rank.ROOT:
                ranks[author] = Rank.ROOT
            case Admin(key=key) if rank is Rank.ROOT:
                ranks[key] = max(Rank.ADMIN, ranks.get(key, Rank.NOBODY))
            case Certificate(key=key) if rank >= Rank.ADMIN or (
                self.world.is_open and key == author
            ):
                ranks[key] = max(Rank.NODE, ranks.get(key, Rank.NOBODY))
            case _:
                pass
