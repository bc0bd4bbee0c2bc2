"""Keys on paper: what is written can be read, and a slip is named."""

import random

import pytest

from mesh.core.crypto.spelling import ALPHABET, GROUPS, read_key, spell_key
from mesh.core.errors import LocalError

KEY = bytes(range(32))
TEXT = spell_key(KEY)


def test_a_key_comes_back_however_it_was_typed() -> None:
    assert len(TEXT.split("-")) == GROUPS
    for typed in (TEXT, TEXT.lower(), TEXT.replace("-", " "), f" {TEXT}\n", TEXT.replace("O", "0")):
        assert read_key(typed) == KEY


def test_any_key() -> None:
    rng = random.Random(1)
    for _ in range(200):
        key = rng.randbytes(32)
        assert read_key(spell_key(key)) == key


def test_a_slip_is_named_by_its_group() -> None:
    rng = random.Random(2)
    tries = caught = 0
    for at, letter in enumerate(TEXT):
        if letter == "-":
            continue
        wrong = rng.choice([other for other in ALPHABET if other != letter])
        tries += 1
        try:
            assert read_key(TEXT[:at] + wrong + TEXT[at + 1 :]) != KEY
        except LocalError as error:
            caught += error.message.find(f"group {at // 6 + 1} ") > 0
    # One slip in 32 makes another key that looks right; no mesh has promised that one.
    assert caught >= tries - 4


def test_swapped_and_missing_groups() -> None:
    groups = TEXT.split("-")
    groups[2], groups[3] = groups[3], groups[2]
    for wrong in ("-".join(groups), TEXT[:-6], TEXT + "-AAAAA", "", "?" * 65):
        with pytest.raises(LocalError):
            read_key(wrong)
