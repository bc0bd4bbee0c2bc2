"""Seeds: texts that stand for addresses, checked at start-up and looked up as often as needed.

host:port         the first address of a name, or a numeric address
[v6]:port         a numeric IPv6 address
dns+name:port     all addresses of a name
file:PATH         one of the above per line; `#` begins a comment
"""

import ipaddress
import re
import socket
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import trio

from mesh.core.errors import LocalError
from mesh.core.identity import Address
from mesh.core.inputs import SeedsResolved
from mesh.daemon.inbox import Inbox
from mesh.daemon.sockets import plain_address

LOOK_UP_S = 5.0
ADDRESSES_MAX = 256
FILE_BYTES_MAX = 65_536
FILE_SEEDS_MAX = 256
REQUESTS_MAX = 4
LOOK_UPS_AT_ONCE = 8

_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_HINT = "write host:port, [v6]:port, dns+name:port or file:PATH"


class Scope(Enum):
    """How much of a name a seed means."""

    FIRST = "first"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class HostSeed:
    """A name or a numeric address with a port."""

    host: str
    port: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class FileSeed:
    """A file of seeds, read anew each time."""

    path: Path


Seed = HostSeed | FileSeed


def parse_seed(text: str) -> Seed:
    """Return what a seed text means; raises LocalError for one that can never work."""
    text = text.strip()
    if text.startswith("file:"):
        path = text.removeprefix("file:")
        if not path or "\0" in path:
            raise _bad_seed(text, "names no file")
        return FileSeed(Path(path))
    return _parse_host(text)


def _parse_host(text: str) -> HostSeed:
    scope = Scope.ALL if text.startswith("dns+") else Scope.FIRST
    found = _HOST_AND_PORT.fullmatch(text.removeprefix("dns+"))
    if found is None:
        if text.count(":") > 1 and "[" not in text:
            raise _bad_seed(text, "an IPv6 address needs brackets, as in [::1]:7700")
        raise _bad_seed(text, "has no host and port")
    port = int(found["port"])
    if not 0 < port < 65_536:
        raise _bad_seed(text, "has a port outside 1..65535")
    if found["v6"] is not None:
        return HostSeed(_v6(text, found["v6"]), port, scope)
    name = found["name"]
    if _NAME.fullmatch(name) is None or len(name) > 253:
        raise _bad_seed(text, "has a host that is no name and no address")
    if name.replace(".", "").isdigit() and not _is_numeric(name):
        raise _bad_seed(text, "has a host that looks like an IPv4 address and is none")
    return HostSeed(name, port, scope)


def _v6(text: str, host: str) -> str:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise _bad_seed(text, f"[{host}] is no IPv6 address") from error
    return host


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _bad_seed(text: str, why: str) -> LocalError:
    return LocalError("bad_seed", f"seed {text!r} {why}", _HINT)


class Resolver:
    """Looks seeds up for one family of sockets, a few requests at a time."""

    def __init__(self, family: int, inbox: Inbox) -> None:
        self._family = family
        self._inbox = inbox
        self._send, self._receive = trio.open_memory_channel[tuple[str, ...]](REQUESTS_MAX)
        self.counters: Counter[str] = Counter()

    def request(self, seeds: tuple[str, ...]) -> None:
        """Look these up; `SeedsResolved` follows, at once and empty if too many wait already."""
        try:
            self._send.send_nowait(seeds)
        except trio.WouldBlock:
            self.counters["resolves_refused"] += 1
            self._inbox.notice(SeedsResolved(()))

    async def run(self) -> None:
        """Serve requests in their order until cancelled."""
        async for seeds in self._receive:
            self._inbox.notice(SeedsResolved(await self.resolve(seeds)))

    async def resolve(self, seeds: tuple[str, ...]) -> tuple[Address, ...]:
        """Return the addresses that the seeds stand for now, each once, in the seeds' order."""
        hosts: list[HostSeed] = []
        for text in seeds:
            hosts += await self._hosts(text)
        found: list[list[Address]] = [[] for _ in hosts]
        limit = trio.CapacityLimiter(LOOK_UPS_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for host, addresses in zip(hosts, found, strict=True):
                nursery.start_soon(self._look_up, host, addresses, limit)
        unique = dict.fromkeys(address for addresses in found for address in addresses)
        return tuple(unique)[:ADDRESSES_MAX]

    async def _hosts(self, text: str) -> list[HostSeed]:
        try:
            seed = parse_seed(text)
        except LocalError:
            # Texts from the command line were checked at the start; this one came another way.
            self.counters["seeds_malformed"] += 1
            return []
        if isinstance(seed, HostSeed):
            return [seed]
        try:
            content = await trio.to_thread.run_sync(_read_start, seed.path)
        except OSError:
            self.counters["seed_files_unreadable"] += 1
            return []
        return self._seeds_in(content)

    def _seeds_in(self, content: str) -> list[HostSeed]:
        lines = [line.partition("#")[0].strip() for line in content.splitlines()]
        seeds: list[HostSeed] = []
        for line in [line for line in lines if line][:FILE_SEEDS_MAX]:
            try:
                # A file names no other files.
                seeds.append(_parse_host(line))
            except LocalError:
                self.counters["seeds_malformed"] += 1
        return seeds

    async def _look_up(
        self, seed: HostSeed, addresses: list[Address], limit: trio.CapacityLimiter
    ) -> None:
        # A socket for both families takes IPv4 addresses in their mapped form.
        flags = 0
        if self._family == socket.AF_INET6:
            flags = socket.AI_V4MAPPED | socket.AI_ALL
        with trio.move_on_after(LOOK_UP_S) as scope:
            async with limit:
                try:
                    answers = await trio.socket.getaddrinfo(
                        seed.host, seed.port, self._family, socket.SOCK_DGRAM, 0, flags
                    )
                except OSError:
                    self.counters["seeds_not_found"] += 1
                    return
            hosts = [plain_address((str(answer[4][0]), seed.port)) for answer in answers]
            addresses += hosts if seed.scope is Scope.ALL else hosts[:1]
        if scope.cancelled_caught:
            self.counters["seeds_not_found"] += 1


def _read_start(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX).decode(errors="replace")
