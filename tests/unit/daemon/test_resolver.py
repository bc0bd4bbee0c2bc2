"""Seed texts and what they stand for."""

import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.core.inputs import SeedsResolved
from mesh.core.instants import Instant
from mesh.daemon.inbox import Inbox
from mesh.daemon.resolver import (
    ADDRESSES_MAX,
    LOOK_UP_S,
    REQUESTS_MAX,
    FileSeed,
    HostSeed,
    Resolver,
    Scope,
    parse_seed,
)


class Names(trio.abc.HostnameResolver):
    """A name server with a few names, one of which never answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def getaddrinfo(self, host: bytes | None, *arguments: object) -> Any:  # noqa: ANN401  Trio's is long
        port, family, kind, *_ = arguments
        assert host is not None
        name = host.decode()
        self.asked.append(name)
        if name == "silent":
            await trio.sleep_forever()
        known = {"three": ["10.0.0.3", "10.0.0.1", "10.0.0.2"], "one": ["10.0.0.1"]}
        if name not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(family, kind, 0, "", (each, port)) for each in known[name]]

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
async def names() -> Names:
    made = Names()
    trio.socket.set_custom_hostname_resolver(made)
    return made


def resolver_of(family: int = socket.AF_INET) -> tuple[Resolver, Inbox]:
    inbox = Inbox(lambda: Instant(trio.current_time()))
    return Resolver(family, inbox), inbox


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("host:7700", HostSeed("host", 7700, Scope.FIRST)),
        (" a-b.example.org:1 ", HostSeed("a-b.example.org", 1, Scope.FIRST)),
        ("10.1.2.3:65535", HostSeed("10.1.2.3", 65535, Scope.FIRST)),
        ("[::1]:80", HostSeed("::1", 80, Scope.FIRST)),
        ("[fe80::1%eth0]:80", HostSeed("fe80::1%eth0", 80, Scope.FIRST)),
        ("dns+mesh.svc:7700", HostSeed("mesh.svc", 7700, Scope.ALL)),
        ("file:/etc/mesh/seeds", FileSeed(Path("/etc/mesh/seeds"))),
        ("file:seeds", FileSeed(Path("seeds"))),
    ],
)
def test_seed_texts(text: str, seed: object) -> None:
    assert parse_seed(text) == seed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":80",
        "host:0",
        "host:65536",
        "host:-1",
        "host:7x",
        "::1:80",
        "[::1]",
        "[::g]:80",
        "[10.0.0.1]:80",
        "1.2.3:80",
        "256.1.1.1:80",
        "a b:80",
        "-a:80",
        "a..b:80",
        "srv+name:80",
        "exec=rm:80",
        "file:",
        "dns+",
        "dns+:80",
        "x" * 64 + ":80",
    ],
)
def test_texts_that_can_never_work_are_refused_at_once(text: str) -> None:
    with pytest.raises(LocalError) as refused:
        parse_seed(text)
    assert refused.value.name == "bad_seed"
    assert "host:port" in refused.value.hint


async def test_numeric_seeds_ask_nobody(names: Names) -> None:
    resolver, _ = resolver_of()
    assert await resolver.resolve(("127.0.0.1:5", "10.0.0.9:6")) == (
        Address("127.0.0.1", 5),
        Address("10.0.0.9", 6),
    )
    assert names.asked == []


async def test_a_name_means_one_address_or_all_of_them(names: Names) -> None:
    resolver, _ = resolver_of()
    assert await resolver.resolve(("three:5",)) == (Address("10.0.0.3", 5),)
    assert await resolver.resolve(("dns+three:5", "one:5", "nobody:5")) == (
        Address("10.0.0.3", 5),
        Address("10.0.0.1", 5),
        Address("10.0.0.2", 5),
    )
    assert resolver.counters["seeds_not_found"] == 1
    assert "nobody" in names.asked


async def test_a_silent_name_server_holds_nobody_up_for_long(
    names: Names, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock, names
    resolver, _ = resolver_of()
    began = trio.current_time()
    assert await resolver.resolve(("silent:1", "one:2")) == (Address("10.0.0.1", 2),)
    assert trio.current_time() - began == pytest.approx(LOOK_UP_S)


async def test_a_file_of_seeds_is_read_each_time(tmp_path: Path) -> None:
    resolver, _ = resolver_of()
    path = tmp_path / "seeds"
    assert await resolver.resolve((f"file:{path}",)) == ()
    assert resolver.counters["seed_files_unreadable"] == 1
    path.write_text(f"# seeds\n\n10.0.0.1:7700  # first\nnonsense\nfile:{path}\n10.0.0.2:7700\n")
    found = await resolver.resolve((f"file:{path}", "10.0.0.1:7700"))
    assert found == (Address("10.0.0.1", 7700), Address("10.0.0.2", 7700))
    assert resolver.counters["seeds_malformed"] == 2


async def test_the_number_of_addresses_is_bounded(tmp_path: Path) -> None:
    resolver, _ = resolver_of()
    for name in ("a", "b"):
        lines = [f"127.0.{number}.{ord(name)}:7700" for number in range(200)]
        (tmp_path / name).write_text("\n".join(lines))
    found = await resolver.resolve((f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}"))
    assert len(found) == ADDRESSES_MAX


async def test_a_socket_for_both_families_gets_plain_ipv4_addresses() -> None:
    resolver, _ = resolver_of(socket.AF_INET6)
    found = await resolver.resolve(("127.0.0.1:7", "[::1]:8"))
    assert found == (Address("127.0.0.1", 7), Address("::1", 8))


async def test_a_socket_for_ipv4_finds_no_ipv6() -> None:
    resolver, _ = resolver_of()
    assert await resolver.resolve(("[::1]:8",)) == ()


async def test_every_request_is_answered_even_beyond_the_bound(names: Names) -> None:
    del names
    resolver, inbox = resolver_of()
    for _ in range(REQUESTS_MAX + 1):
        resolver.request(("one:1",))
    assert inbox.take(9) == [SeedsResolved(())], "one too many: answered at once"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(resolver.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert inbox.take(9) == [SeedsResolved((Address("10.0.0.1", 1),))] * REQUESTS_MAX
