"""Memory of this process, from its kernel."""

import resource

from mesh.daemon.own_memory import OwnMemory


def test_memory_grows_with_what_is_kept() -> None:
    memory = OwnMemory()
    before = memory.resident_kb()
    kept = bytes(range(256)) * 4 * 65_536  # more than an allocator keeps at hand
    assert memory.resident_kb() >= before + len(kept) // 1024 // 2
    memory.close()


def test_it_is_told_when_no_descriptor_is_left() -> None:
    """A question for the status killed a node that had none."""
    memory = OwnMemory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert memory.resident_kb() > 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        memory.close()
