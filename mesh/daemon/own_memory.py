"""How much memory this process has in RAM; what getrusage says is its parent's too."""

import os

STATM = "/proc/self/statm"
STATM_BYTES_MAX = 256


class OwnMemory:
    """Reads it again and again through one descriptor, so also when no other is left."""

    def __init__(self) -> None:
        self._file = os.open(STATM, os.O_RDONLY)

    def resident_kb(self) -> int:
        """Return how much is in RAM now."""
        pages = int(os.pread(self._file, STATM_BYTES_MAX, 0).split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._file)
