"""Where a node may listen: an open mesh on loopback alone, unless somebody insists."""

import pytest

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.daemon.places import check_open


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::", "fd00::5"])
def test_an_open_mesh_is_for_this_machine_alone(host: str) -> None:
    with pytest.raises(LocalError) as refused:
        check_open(Address(host, 7946), insist=False)
    assert refused.value.name == "open_mesh_reachable"
    check_open(Address(host, 7946), insist=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1"])
def test_on_loopback_it_is_open_to_whoever_is_here(host: str) -> None:
    check_open(Address(host, 7946), insist=False)
