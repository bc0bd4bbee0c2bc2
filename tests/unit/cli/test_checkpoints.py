"""The file in which a command keeps where it is."""

import os

from mesh.cli.checkpoints import checkpoint_of


def test_what_is_no_file_holds_nothing_and_nobody_up() -> None:
    made = checkpoint_of(b"")
    assert made.news() is None
    os.mkfifo(made.path)
    assert made.news() is None, "and it does not wait for somebody who writes to the pipe"
    made.path.unlink()
    made.path.mkdir()
    assert made.news() is None
    made.path.rmdir()
    made.path.write_bytes(b"46")
    assert made.news() == b"46"
    made.close()
    assert not made.path.exists()
