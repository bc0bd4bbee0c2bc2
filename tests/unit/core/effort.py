"""How much a rule does, in lines of its code: a count, where a time would tell of the machine."""

import sys
from types import FrameType
from typing import Any, Self


class Effort:
    """Counts the lines of code under one path that are run inside it."""

    def __init__(self, path: str) -> None:
        self.lines = 0
        self._path = path

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401  as sys has it
        if not frame.f_code.co_filename.startswith(self._path):
            return None
        self.lines += event == "line"
        return self._trace

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)
