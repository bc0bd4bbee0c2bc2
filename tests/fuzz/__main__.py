"""Fuzzing for as long as you like: `python -m tests.fuzz --target node --minutes 10`.

With atheris installed (`pip install atheris`) it sees coverage; otherwise seeded mutations of the
committed corpus run. Either way a finding is written beside the corpus as `found-...`.
"""

import argparse
import hashlib
import importlib
import importlib.util
import pathlib
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

SLOW_S = 1.0
"""No input may cost more processor time than this."""
MEMORY_GROWTH_BYTES = 256 * 1024 * 1024
"""A whole run may not hold more than this beyond what it held at the beginning."""


def memory_bytes() -> int:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(function: Callable[[bytes], None], data: bytes) -> None:
    """Run one input; raises whatever it finds, slowness included."""
    begin = time.process_time()
    function(data)
    spent = time.process_time() - begin
    assert spent < SLOW_S, f"{spent:.1f} s for {len(data)} bytes"


def keep(target: str, data: bytes) -> pathlib.Path:
    """Write a finding beside the corpus; returns where."""
    corpus = importlib.import_module("tests.fuzz.corpus")
    folder: pathlib.Path = corpus.ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(data, digest_size=4).hexdigest()
    path = folder / f"{corpus.FOUND}{digest}"
    path.write_bytes(data)
    return path


def function_of(target: str) -> Callable[[bytes], None]:
    """Return the function of a target; ends the process where there is none of that name."""
    known: dict[str, Callable[[bytes], None]]
    known = importlib.import_module("tests.fuzz.targets").TARGETS
    if target not in known:
        print(
            f"no target is called {target!r}: there are `all`, {', '.join(known)}", file=sys.stderr
        )
        raise SystemExit(2)
    return known[target]


def mutate(target: str, seconds: float, seed: int) -> int:
    """Run the built-in mutator; returns 1 when it found something."""
    corpus = importlib.import_module("tests.fuzz.corpus")
    mutator = importlib.import_module("tests.fuzz.mutator")
    function = function_of(target)
    inputs = mutator.Mutator(corpus.corpus_of(target), seed).inputs()
    begin, count, held = time.monotonic(), 0, memory_bytes()
    while time.monotonic() - begin < seconds:
        data = next(inputs)
        count += 1
        try:
            timed(function, data)
        except Exception:  # noqa: BLE001  whatever it is, it was found
            traceback.print_exc()
            print(f"{target}: kept as {keep(target, data)}, after {count} inputs")
            return 1
    rate = count / max(0.001, time.monotonic() - begin)
    grown = memory_bytes() - held
    print(f"{target}: {count} inputs, {rate:.0f}/s, {grown >> 20} MiB more memory, seed {seed}")
    assert grown < MEMORY_GROWTH_BYTES, "memory grows with the inputs"
    return 0


def guided(target: str, seconds: float, seed: int) -> None:
    """Run atheris; it ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["mesh"]):
        function = function_of(target)
    corpus = importlib.import_module("tests.fuzz.corpus")
    with tempfile.TemporaryDirectory(prefix="mesh-fuzz-") as learned:
        arguments = [
            sys.argv[0],
            f"-max_total_time={max(1, int(seconds))}",
            f"-artifact_prefix={corpus.ROOT / target / corpus.FOUND}",
            f"-seed={seed}",
            "-max_len=4096",
            f"-timeout={max(1, int(20 * SLOW_S))}",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            learned,
            str(corpus.ROOT / target),
        ]
        atheris.Setup(arguments, function)
        atheris.Fuzz()


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", required=True, help="`all`, or one function of targets.py")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="not with atheris, though installed")
    options = parser.parse_args()
    seconds = 60 * options.minutes
    one = options.target != "all"
    if one and not options.plain and importlib.util.find_spec("atheris") is not None:
        guided(options.target, seconds, options.seed)
        return 0
    names = [options.target] if one else importlib.import_module("tests.fuzz.targets").TARGETS
    return max(mutate(name, seconds, options.seed) for name in names)


if __name__ == "__main__":
    sys.exit(main())
