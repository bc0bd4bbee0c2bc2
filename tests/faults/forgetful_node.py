"""`mesh` with room for few finished tasks: what shows after a day shows after a minute."""

import sys

from mesh.__main__ import main
from mesh.core.params import Params

FINISHED_MAX = 300


if __name__ == "__main__":
    # The numbers are no options; those of every profile share this instance.
    object.__setattr__(Params().claims, "finished_max", FINISHED_MAX)
    sys.exit(main())
