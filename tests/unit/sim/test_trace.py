"""Fingerprints: the same seed gives the same one, in any process."""

import os
import pathlib
import subprocess
import sys

import pytest

from mesh.sim.trace import CHUNKS_MAX, Trace

ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = """
from mesh.core.params import Params
from mesh.sim.trial import Plan, Trial
from tests.unit.sim.scripted import toys
for seed in (3, 4):
    trial = Trial(Plan(seed, nodes=4, storm_s=20.0), Params(), toys())
    print(trial.run())
"""


def note_many(trace: Trace, count: int) -> str:
    for number in range(count):
        trace.note(number / 10, 1, 2, bytes([number % 256]))
    return trace.digest()


def test_every_part_of_an_event_counts() -> None:
    events = [
        (1.0, 1, 1, b"a"),
        (1.5, 1, 1, b"a"),
        (1.0, 2, 1, b"a"),
        (1.0, 1, 2, b"a"),
        (1.0, 1, 1, b"b"),
    ]
    digests = []
    for event in events:
        trace = Trace()
        trace.note(*event)
        digests.append(trace.digest())
    assert len(set(digests)) == len(events)


def test_looking_does_not_change_it() -> None:
    one, other = Trace(), Trace()
    note_many(one, 10)
    note_many(one, CHUNKS_MAX)
    for number in range(10):
        other.note(number / 10, 1, 2, bytes([number]))
    assert one.digest() == note_many(other, CHUNKS_MAX)
    assert one.events == CHUNKS_MAX + 10


@pytest.fixture(scope="module")
def output() -> str:
    return run_with("1")


def run_with(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_same_seed_same_trace_in_every_process(output: str) -> None:
    assert run_with("2") == output
    first, second = output.splitlines()
    assert "broken=None" in first
    assert first.split("trace=")[1] != second.split("trace=")[1]
