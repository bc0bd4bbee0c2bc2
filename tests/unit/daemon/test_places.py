"""Where a node may listen: an open mesh on loopback alone, unless somebody insists."""

import grp
import os
from pathlib import Path

import pytest

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.daemon.options import UpOptions
from mesh.daemon.places import check_open, operators, shut_out


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::", "fd00::5"])
def test_an_open_mesh_is_for_this_machine_alone(host: str) -> None:
    with pytest.raises(LocalError) as refused:
        check_open(Address(host, 7946), insist=False)
    assert refused.value.name == "open_mesh_reachable"
    check_open(Address(host, 7946), insist=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1"])
def test_on_loopback_it_is_open_to_whoever_is_here(host: str) -> None:
    check_open(Address(host, 7946), insist=False)


def test_operators_are_a_group_of_this_machine() -> None:
    own = grp.getgrgid(os.getegid())
    assert operators(UpOptions(group=own.gr_name)) == own.gr_gid
    assert operators(UpOptions()) is None
    with pytest.raises(LocalError, match="no group") as refused:
        operators(UpOptions(group="nobody-has-it"))
    assert refused.value.name == "bad_group"


def test_a_group_is_told_that_it_cannot_reach_the_socket(tmp_path: Path) -> None:
    folder, group = tmp_path / "run", os.getegid()
    assert shut_out(folder, group) is None
    folder.mkdir(mode=0o700)
    said = shut_out(folder, group)
    assert said is not None
    assert "mode 0700" in said
    assert shut_out(folder, None) is None
    for mode in (0o750, 0o711):
        folder.chmod(mode)
        assert shut_out(folder, group) is None
