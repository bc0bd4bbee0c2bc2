"""What is on the shelf, by its indexes and by looking through everything: the same."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.blobs.shelf import Shelf
from mesh.core.errors import LocalError
from mesh.core.identity import BlobId, TaskId
from mesh.core.instants import NEVER, Instant, later
from mesh.core.params import BlobParams

PARAMS = BlobParams(blob_bytes_max=1024, quota_bytes=4096, blobs_max=6, unused_keep_s=10.0)
BLOBS = [BlobId(bytes([number]) * 32) for number in range(8)]
TASKS = [TaskId(bytes([number]) * 16) for number in range(3)]
blobs, tasks = st.sampled_from(BLOBS), st.sampled_from(TASKS)
steps = st.one_of(
    st.tuples(st.just("reserve"), blobs, st.sampled_from([1, 700, 1024, 1025])),
    st.tuples(st.just("grow"), blobs, st.integers(0, 1024)),
    st.tuples(st.just("use"), tasks, blobs),
    st.tuples(st.just("disuse"), tasks, blobs),
    st.tuples(st.just("release"), tasks),
    st.tuples(st.just("touch"), blobs),
    st.tuples(st.just("drop"), blobs),
    st.tuples(st.just("sleep"), st.floats(0.5, 8.0)),
)


@dataclass
class Naive:
    """All that is known, looked through for every answer."""

    sizes: dict[BlobId, tuple[int | None, int]] = field(default_factory=dict)
    needs: set[tuple[TaskId, BlobId]] = field(default_factory=set)
    since: dict[BlobId, Instant] = field(default_factory=dict)

    @property
    def room(self) -> int:
        return sum(max(size or 0, have) for size, have in self.sizes.values())

    def is_needed(self, blob: BlobId) -> bool:
        return any(needed == blob for _, needed in self.needs)

    def ends(self) -> dict[BlobId, Instant]:
        return {
            blob: later(self.since[blob], PARAMS.unused_keep_s)
            for blob in self.sizes
            if not self.is_needed(blob)
        }


class Both:
    """A shelf and what it is compared with."""

    def __init__(self) -> None:
        self.shelf, self.naive, self.now = Shelf(PARAMS), Naive(), Instant(5.0)
        self.shelf.restore(self.now, {BLOBS[0]: (9, False), BLOBS[1]: (40, True)})
        self.naive.sizes = {BLOBS[0]: (None, 9), BLOBS[1]: (40, 40)}
        self.naive.since = dict.fromkeys(BLOBS[:2], self.now)

    def reserve(self, blob: BlobId, size: int) -> None:
        naive = self.naive
        known = naive.sizes.get(blob)
        before = 0 if known is None else max(known[0] or 0, known[1])
        fits = (
            size <= PARAMS.blob_bytes_max
            and (known is None or known[0] in {None, size})
            and naive.room - before + size <= PARAMS.quota_bytes
            and (known is not None or len(naive.sizes) < PARAMS.blobs_max)
        )
        try:
            self.shelf.reserve(self.now, blob, size)
        except LocalError:
            assert not fits
            return
        assert fits
        naive.sizes[blob] = (size, 0 if known is None else known[1])
        if known is None:
            naive.since[blob] = self.now

    def grow(self, blob: BlobId, have: int) -> None:
        if blob in self.naive.sizes:
            self.shelf.grow(self.shelf.volumes[blob], have)
            self.naive.sizes[blob] = (self.naive.sizes[blob][0], have)

    def use(self, task: TaskId, blob: BlobId) -> None:
        self.shelf.use(task, blob)
        self.naive.needs.add((task, blob))

    def disuse(self, task: TaskId, blob: BlobId) -> None:
        self.shelf.disuse(self.now, task, blob)
        if (task, blob) in self.naive.needs:
            self.naive.needs.remove((task, blob))
            self.naive.since[blob] = self.now

    def release(self, task: TaskId) -> None:
        self.shelf.release(self.now, task)
        for blob in BLOBS:
            if (task, blob) in self.naive.needs:
                self.naive.needs.remove((task, blob))
                self.naive.since[blob] = self.now

    def touch(self, blob: BlobId) -> None:
        self.shelf.touch(self.now, blob)
        if blob in self.naive.sizes and not self.naive.is_needed(blob):
            self.naive.since[blob] = self.now

    def drop(self, blob: BlobId) -> None:
        if blob in self.naive.sizes:
            self.shelf.drop(blob)
            del self.naive.sizes[blob]

    def sleep(self, seconds: float) -> None:
        self.now = later(self.now, seconds)

    def check(self) -> None:
        shelf, naive = self.shelf, self.naive
        assert list(shelf.volumes) == list(naive.sizes)
        assert shelf.room == naive.room
        for blob in BLOBS:
            assert set(shelf.tasks(blob)) == {task for task, named in naive.needs if named == blob}
        ends = naive.ends()
        assert shelf.next_idle() == min(ends.values(), default=NEVER)
        due = {blob for blob, end in ends.items() if end <= self.now}
        assert set(shelf.idle(self.now, len(BLOBS))) == due
        assert len(shelf.idle(self.now, 1)) == min(1, len(due))


@given(st.lists(steps, max_size=40))
def test_the_indexes_say_what_looking_through_everything_says(
    given_steps: list[tuple[object, ...]],
) -> None:
    both = Both()
    for name, *arguments in given_steps:
        getattr(both, str(name))(*arguments)
        both.check()
