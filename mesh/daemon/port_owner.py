"""Who holds a port, as far as /proc tells this user."""

from pathlib import Path

PROC = Path("/proc")
INODE_COLUMN = 9
LOCAL_COLUMN = 1


def port_owner(protocol: str, port: int) -> str:
    """Return `process 123 (name)` for whoever is bound to a port; empty if it can not be seen."""
    for inode in _inodes(protocol, port):
        link = f"socket:[{inode}]"
        for process in PROC.glob("[0-9]*"):
            if _holds(process, link):
                return f"process {process.name} ({_name(process)})"
    return ""


def _inodes(protocol: str, port: int) -> list[str]:
    found = []
    for table in (protocol, f"{protocol}6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        rows = [line.split() for line in lines]
        found += [
            row[INODE_COLUMN] for row in rows if int(row[LOCAL_COLUMN].split(":")[1], 16) == port
        ]
    return found


def _holds(process: Path, link: str) -> bool:
    # Processes of other users, and those that end meanwhile, can not be looked into.
    try:
        for descriptor in (process / "fd").iterdir():
            if str(descriptor.readlink()) == link:
                return True
    except OSError:
        return False
    return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
