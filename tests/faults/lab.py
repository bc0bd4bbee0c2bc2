"""The network of a fault: one namespace per node, and the switch between them.

    with Lab(20) as lab:
        lab.cut([1, 2], [3])       # both ways
        lab.rule([4], [5], Link(loss=0.2))
        lab.clear()

Hosts are numbered from 1; host n has the address 10.50.0.n.
"""

import dataclasses
import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.namespace import Namespace
from tests.faults.switch import Link

ROOT = Path(__file__).parent.parent.parent
PREFIX = 16
SEED = 20
ANSWER_S = 10.0
CUT = Link(open=False)


def address_of(host: int) -> str:
    """Return the address of a host."""
    return f"10.50.{host // 250}.{host % 250}"


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A device at the switch, the addresses behind it, and its other end if it is on a cable."""

    number: int
    descriptor: int
    addresses: tuple[str, ...]
    cable: int | None = None


class Lab:
    """Namespaces and the switch; leaving it ends both."""

    def __init__(self, hosts: int) -> None:
        self.hosts = range(1, hosts + 1)
        self.spaces: dict[int, Namespace] = {}
        self.cards: list[Card] = []
        self._switch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            for host in self.hosts:
                space = self.spaces[host] = Namespace.make()
                address = address_of(host)
                self.cards.append(Card(host, space.card("t0", address, PREFIX), (address,)))
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Start the switch with all cards there are."""
        self._stop_switch()
        plan = {
            "devices": {card.number: card.descriptor for card in self.cards},
            "places": [
                (ipaddress.IPv4Address(address).packed.hex(), card.number)
                for card in self.cards
                for address in card.addresses
            ],
            "cables": [(card.number, card.cable) for card in self.cards if card.cable is not None],
            "seed": SEED,
        }
        self._switch = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.switch", json.dumps(plan)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[card.descriptor for card in self.cards],
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._switch is not None
        assert self._switch.stdout is not None
        line = self._switch.stdout.readline()
        if not line:
            raise OSError("the switch has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _order(self, **order: object) -> dict[str, Any]:
        assert self._switch is not None
        assert self._switch.stdin is not None
        self._switch.stdin.write(json.dumps(order).encode() + b"\n")
        self._switch.stdin.flush()
        return self._answer()

    def rule(self, sources: Sequence[int], targets: Sequence[int], link: Link) -> None:
        """From now on packets from these hosts to those meet this link."""
        as_json = dataclasses.asdict(link)
        self._order(order="rule", sources=list(sources), targets=list(targets), link=as_json)

    def everywhere(self, link: Link) -> None:
        """All packets meet this link."""
        numbers = [card.number for card in self.cards]
        self.rule(numbers, numbers, link)

    def cut(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Nothing passes between these hosts, in either direction."""
        one, two = list(some), list(others)
        self.rule(one, two, CUT)
        self.rule(two, one, CUT)

    def split(self, *sides: Sequence[int]) -> None:
        """Nothing passes between any two of these sides."""
        for number, side in enumerate(sides):
            for other in sides[number + 1 :]:
                self.cut(side, other)

    def clear(self) -> None:
        """Remove all rules."""
        self._order(order="clear")

    def look_for(self, needles: Iterable[bytes]) -> None:
        """Count from now on the packets in which one of these occurs."""
        self._order(order="look", needles=[needle.hex() for needle in needles])

    def counters(self) -> dict[str, int]:
        """Return what the switch has counted: packets, bytes, lost, found, overrun, nowhere."""
        return {"found": 0, "lost": 0, "overrun": 0} | self._order(order="count")

    def samples(self) -> list[str]:
        """Return the last datagrams of anybody, their UDP payloads in hex."""
        found: list[str] = self._order(order="samples")["samples"]
        return found

    def _stop_switch(self) -> None:
        if self._switch is None:
            return
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.close()
        try:
            self._switch.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            self._switch.kill()
            self._switch.wait()
        self._switch.stdout.close()
        self._switch = None

    def close(self) -> None:
        """End the switch and let the namespaces go."""
        self._stop_switch()
        for space in self.spaces.values():
            space.close()
        self.spaces.clear()
        self.cards.clear()
