"""A moment of fuzzing in every test run: the committed corpus, and seeded mutations of it."""

import contextlib
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from mesh.core.wire.frame import Message
from tests.fuzz.__main__ import guided, mutate, timed
from tests.fuzz.corpus import FOUND, ROOT, corpus_of, generated
from tests.fuzz.feed import Feed, Known
from tests.fuzz.kinds import MESSAGES
from tests.fuzz.mutator import INPUT_BYTES_MAX, Mutator
from tests.fuzz.targets import TARGETS

SECONDS = 0.6
FILE_BYTES_MAX = 2048


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_a_moment(target: str) -> None:
    corpus = corpus_of(target)
    inputs = Mutator(corpus, seed=0).inputs()
    for _ in corpus:
        timed(TARGETS[target], next(inputs))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        data = next(inputs)
        try:
            timed(TARGETS[target], data)
        except Exception:
            print(f"{target}: {data.hex()}")
            raise


@pytest.mark.parametrize("run", [mutate, guided])
def test_unknown_targets_are_answered_by_those_there_are(
    run: Callable[[str, float, int], object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The name is looked up before atheris, which need not be installed, has anything to do.
    atheris = SimpleNamespace(instrument_imports=lambda **_: contextlib.nullcontext())
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    with pytest.raises(SystemExit) as ended:
        run("nosuch", 0.1, 1)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == f"no target is called 'nosuch': there are `all`, {', '.join(TARGETS)}\n"


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    assert {path.name for path in ROOT.iterdir()} == TARGETS.keys()
    files = list(ROOT.glob("*/*"))
    assert all(path.stat().st_size < FILE_BYTES_MAX for path in files)


def test_the_corpus_is_what_the_script_writes() -> None:
    written = {(target, name) for target, name, _ in generated()}
    committed = {
        (path.parent.name, path.name)
        for path in ROOT.glob("*/*")
        if not path.name.startswith(FOUND)
    }
    # Not byte for byte: an old input is still an input.
    assert committed == written, "run python -m tests.fuzz.corpus"


def test_the_valid_inputs_are_accepted() -> None:
    # A corpus that is refused at the first byte tests nothing.
    for target, name, data in generated():
        if target == "message":
            kind = MESSAGES[data[0]]
            assert isinstance(kind.decode_untrusted(data[1:]), Message), name


def test_mutations_are_the_same_for_the_same_seed() -> None:
    first, again = (Mutator([b"corpus" * 9, b"other"], seed=5).inputs() for _ in range(2))
    drawn = [next(first) for _ in range(300)]
    assert drawn == [next(again) for _ in range(300)]
    assert len(dict.fromkeys(drawn)) > 250
    assert max(map(len, drawn)) <= INPUT_BYTES_MAX


def test_a_feed_never_ends_and_fits_every_layout() -> None:
    for kind in MESSAGES:
        if kind.LAYOUT:
            for data in (b"", b"\xff" * 900, bytes(range(256)) * 4):
                values = Feed(data).values(kind.LAYOUT, Known())
                assert kind.decode_untrusted(kind(*values).encode()) == kind(*values)
