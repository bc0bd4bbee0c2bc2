"""What can be a name."""

import pytest

from mesh.core.errors import LocalError
from mesh.core.trust.names import NAME_BYTES_MAX, check_name


@pytest.mark.parametrize("name", ["a", "n" * NAME_BYTES_MAX, "Büro 2", "\u200d"])
def test_a_name_is_any_printable_text(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "n" * (NAME_BYTES_MAX + 1), "ü" * 33, "a\n", "\x1b[2J", "\x7f", "\x9b", "\udcff"]
)
def test_a_name_has_bounds_and_no_control_characters(name: str) -> None:
    with pytest.raises(LocalError) as refused:
        check_name(name)
    assert refused.value.name == "bad_name"
    assert refused.value.hint
