"""Start the `mesh` command."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    from mesh.cli.main import run  # noqa: PLC0415  the command decides what to import

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
