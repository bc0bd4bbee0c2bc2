"""What others can make a node say: so many lines a second of each cause, and then how many more."""

import sys
from typing import TextIO

import pytest
import trio
import trio.testing

from mesh.daemon import talk as module
from mesh.daemon.talk import LINES_PER_S, SECOND_S, Cause, Talk, write


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def talk(clock: Clock) -> Talk:
    return Talk(clock)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_up_to_the_cap_everything_is_said(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(LINES_PER_S):
        talk.say(Cause.ALARM, f"line {number}")
    talk.sum_up()
    assert said(capsys) == [f"line {number}" for number in range(LINES_PER_S)]


def test_one_more_than_the_cap_is_counted_and_not_said(
    talk: Talk, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(LINES_PER_S + 1):
        talk.say(Cause.ALARM, f"line {number}")
    assert f"line {LINES_PER_S}" not in said(capsys)
    clock.now_s += SECOND_S
    talk.say(Cause.ALARM, "next")
    talk.sum_up()
    assert said(capsys) == ["... and 1 more alarms", "next"]


def test_one_cause_takes_no_line_from_another(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(10 * LINES_PER_S):
        talk.say(Cause.PENDING, "please")
    talk.say(Cause.ALARM, "fire")
    assert said(capsys) == ["please"] * LINES_PER_S + ["fire"]


def test_a_flood_makes_a_bounded_number_of_lines_and_is_counted_in_full(
    talk: Talk, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, per_s = 10, 1000
    for number in range(seconds * per_s):
        clock.now_s = 100.0 + number / per_s
        talk.say(Cause.JOINING, "knock")
    talk.sum_up()
    lines = said(capsys)
    assert lines.count("knock") == seconds * LINES_PER_S
    sums = [line for line in lines if line != "knock"]
    assert sums == [f"... and {per_s - LINES_PER_S} more notes on joining"] * seconds


async def test_what_was_held_back_is_told_though_nothing_follows(
    autojump_clock: trio.testing.MockClock, talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert autojump_clock is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.sum_up_for_ever)
        for _ in range(LINES_PER_S + 5):
            talk.say(Cause.ALARM, "fire")
        await trio.sleep(2 * SECOND_S)
        assert said(capsys)[LINES_PER_S:] == ["... and 5 more alarms"]
        for _ in range(LINES_PER_S + 7):
            talk.say(Cause.PENDING, "please")
        nursery.cancel_scope.cancel()
    assert said(capsys)[LINES_PER_S:] == [f"... and 7 more {Cause.PENDING.value}"], "at the end"


class Closed:
    def write(self, _: str) -> None:
        raise OSError("nobody is there")

    def flush(self) -> None:
        raise OSError("nobody is there")


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: TextIO = Closed()  # type: ignore[assignment]  # all that `print` calls
    monkeypatch.setattr(sys, "stderr", stream)
    module.say("hello")
    write("hello", stream)
    Talk().say(Cause.ALARM, "fire")
