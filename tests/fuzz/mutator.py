"""Seeded mutations of a corpus: what runs where there is no fuzzer that sees coverage."""

import random
from collections.abc import Iterator, Sequence

INPUT_BYTES_MAX = 4096
INTERESTING = (0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 191, 192, 223, 224, 254, 255)
MARKERS = (b"\xc0", b"\xc3", b"\xc4\x00", b"\xc5\xff\xff", b"\xcf" + b"\xff" * 8, b"\xdc\xff\xff")


class Mutator:
    """An endless supply of inputs for one target."""

    def __init__(self, corpus: Sequence[bytes], seed: int) -> None:
        self.rng = random.Random(seed)
        self.corpus = list(corpus) or [b""]

    def inputs(self) -> Iterator[bytes]:
        """Yield the corpus as it is, then mutations of it, and now and then pure noise."""
        yield from self.corpus
        while True:
            if self.rng.random() < 0.05:
                yield self.rng.randbytes(self.rng.randrange(1, 1400))
                continue
            data = bytearray(self.rng.choice(self.corpus))
            for _ in range(1 << self.rng.randrange(5)):
                self._change(data)
            yield bytes(data[:INPUT_BYTES_MAX])

    def _change(self, data: bytearray) -> None:
        rng = self.rng
        at = rng.randrange(len(data) + 1)
        size = 1 << rng.randrange(6)
        match rng.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.choice(INTERESTING)
            case 2 if at < len(data):
                data[at] = (data[at] + rng.choice((1, -1))) % 256
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = rng.randbytes(size)
            case 5:
                data[at:at] = data[at : at + size]
            case 6:
                other = rng.choice(self.corpus)
                start = rng.randrange(len(other) + 1)
                data[at : at + size] = other[start : start + size]
            case 7:
                data[at : at + 1] = rng.choice(MARKERS)
            case _:
                data[at : at + size] = rng.randbytes(min(size, len(data) - at))
