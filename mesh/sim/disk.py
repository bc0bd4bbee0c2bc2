"""The disk of one machine: keeps what was committed, loses what was not, fails when told to.

One writer: while one batch is being written, whatever is committed waits and shares the next one.
A crash loses the batches under way, except that an unlucky one may have reached the platter
although nobody was told. Batches are whole or absent, as a journal makes them, unless the disk
`tears`: then the first rows of one are there and the rest is not. (That is worse than what SQLite
promises; the checksum of each row makes a row whole or absent in any case.)
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.core.effects import Commit, Row
from mesh.core.inputs import CommitDone, CommitFailed
from mesh.sim.blob_disk import BlobDisk
from mesh.sim.network import Draw

Rows = Mapping[str, Mapping[bytes, bytes]]
"""The durable log as a node is given it at its start: kind, key, newest value."""
Written = Callable[[Sequence[Row]], None]
"""Is told which rows have just become durable, or, without a value, have gone from the disk."""


@dataclass(slots=True, eq=False)
class SimDisk:
    """What is durable, what is being written, and what is wrong with it."""

    rng: random.Random
    draw: Draw
    fail: float = 0.0
    """Probability that a commit meets an I/O error."""
    full: bool = False
    written_unsaid: float = 0.5
    """Probability that a commit under way at a crash is found on the disk afterwards."""
    rows: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    tears: bool = False
    """Whether a crash now leaves a part of the commit under way on the disk."""
    under_way: list[Commit] = field(default_factory=list)
    commits: int = 0
    written: Written | None = None
    blobs: BlobDisk = field(init=False)
    _current_end_s: float = 0.0
    _next_end_s: float = 0.0

    def __post_init__(self) -> None:
        self.blobs = BlobDisk(self.rng)

    def begin(self, now_s: float, commit: Commit) -> float:
        """Take a commit; returns the world's second at which it is over."""
        self.under_way.append(commit)
        if now_s >= self._current_end_s:
            self._current_end_s = self._next_end_s
        if now_s >= self._current_end_s:
            self._current_end_s = self._next_end_s = now_s + self.draw()
            return self._current_end_s
        if self._next_end_s <= self._current_end_s:
            self._next_end_s = self._current_end_s + self.draw()
        return self._next_end_s

    def finish(self, commit: Commit) -> CommitDone | CommitFailed:
        """End a commit: durable from now on, or not at all."""
        assert self.under_way[0] is commit, "commits end in their order"
        del self.under_way[0]
        if self.full:
            return CommitFailed(commit.number, "no space left on device")
        if self.fail and self.rng.random() < self.fail:
            return CommitFailed(commit.number, "input/output error")
        self._write(commit.rows)
        return CommitDone(commit.number)

    def crash(self) -> None:
        """Stop in the middle: what was under way is lost, or is there without anybody knowing."""
        self.blobs.crash()
        for commit in self.under_way:
            # Batches reach the disk in order, so the first lost one takes the rest with it.
            if self.full or self.rng.random() >= self.written_unsaid:
                if self.tears and not self.full:
                    self._write(commit.rows[: self.rng.randrange(len(commit.rows))])
                break
            self._write(commit.rows)
        self.under_way.clear()
        self._current_end_s = self._next_end_s = 0.0

    def flush(self) -> None:
        """End in an orderly way: what is under way is written."""
        while self.under_way:
            self.finish(self.under_way[0])

    def destroy(self) -> None:
        """Lose everything."""
        self.under_way.clear()
        self.rows.clear()
        self.blobs.destroy()

    def replace(self, rows: Rows) -> None:
        """Hold something else: a copy of another disk, or a backup that is put back."""
        self.rows.clear()
        self._write(tuple(Row(kind, key, rows[kind][key]) for kind in rows for key in rows[kind]))

    def mend(self) -> None:
        """Be a good disk again: space left, no errors."""
        self.full = False
        self.fail = 0.0

    def restored(self) -> Rows:
        """Return a copy of what is durable."""
        return {kind: dict(values) for kind, values in self.rows.items()}

    def _write(self, rows: tuple[Row, ...]) -> None:
        self.commits += 1
        for row in rows:
            table = self.rows.setdefault(row.kind, {})
            # A rewritten row moves to the end: a log is replayed in the order of its writes.
            table.pop(row.key, None)
            if row.value is not None:
                table[row.key] = row.value
        if self.written is not None:
            self.written(rows)
