"""Values on the command line."""

import argparse
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mesh.cli.values import ago, count, duration_s, given_bytes, in_base64, pair
from mesh.control.client import Refused


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("15m", 900),
        ("1h", 3600),
        ("7d", 604800),
    ],
)
def test_length_of_time_has_a_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "h1", "1hm", "nan", "inf", "1e999"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="length of time"):
        duration_s(text)


def test_pair_is_cut_at_the_first_sign() -> None:
    assert pair("zone=a=b") == ("zone", "a=b")
    assert pair("zone=") == ("zone", "")
    for wrong in ("zone", "=a", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            pair(wrong)


def test_count_begins_at_one() -> None:
    assert count("1") == 1
    for wrong in ("0", "-1", "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            count(wrong)


def test_bytes_come_as_text_from_a_file_or_from_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "payload"
    path.write_bytes(b"\x00\xff")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin\n")))
    assert given_bytes("ä") == "ä".encode()
    assert given_bytes("\udcff") == b"\xff"
    assert given_bytes(f"@{path}") == b"\x00\xff"
    assert given_bytes("-") == b"from stdin\n"
    assert in_base64(b"\x00\xff") == "AP8="
    with pytest.raises(Refused) as refused:
        given_bytes(f"@{tmp_path}/none")
    assert refused.value.name == "usage"


@pytest.mark.parametrize(
    ("past_s", "text"),
    [(-5, "0 s ago"), (12, "12 s ago"), (119, "2 m ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_moment_is_told_relative_to_now(past_s: float, text: str) -> None:
    moment = datetime.now(UTC) - timedelta(seconds=past_s)
    assert ago(moment.isoformat().replace("+00:00", "Z")) == text
    assert ago(None) is None
