"""Work that shows when it ran: it writes the time into a file of its own, over and over.

It ignores SIGTERM and has a child in another session that does the same: whatever stops it has to
mean it. Arguments: a folder, and for how many seconds it works if nobody stops it.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BEAT_S = 0.02


def beat(folder: Path, seconds: float) -> None:
    """Append the time of the monotonic clock, which all processes of a machine share."""
    token, pid = os.environ["MESH_TASK_TOKEN"], os.getpid()
    end = time.monotonic() + seconds
    with (folder / f"{token}.{pid}").open("a") as file:
        while (now := time.monotonic()) < end:
            file.write(f"{now:.3f}\n")
            file.flush()
            time.sleep(BEAT_S)


def main() -> None:
    """Work, and have a child work."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder, seconds, *is_child = sys.argv[1:]
    if not is_child:
        subprocess.Popen([*sys.orig_argv, "child"], start_new_session=True)
    beat(Path(folder), float(seconds))


if __name__ == "__main__":
    main()
