"""The figures that membership is to reach, one after the other: python -m tests.bench figures.

Real nodes in virtual time, profile `lan`, a hundred of them unless said otherwise. Each part is a
function that returns figures; `--only` names some of them.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mesh.core.gossip.items import Form, Item
from mesh.core.gossip.messages import ToldFacts
from mesh.core.gossip.vocabulary import Family
from mesh.core.membership.facts import Accusation, Verdict
from mesh.core.membership.messages import Accuse
from mesh.core.node.participant import Participant
from mesh.sim import sizing
from mesh.sim.checker import watch
from mesh.sim.host import Host
from mesh.sim.sizing import Setting
from tests.bench import reports
from tests.bench.soak import HOUR_S, Listener, Soak, SoakPlan

Row = dict[str, Any]
VERDICT_EVERY_S = 5.0
ACCUSERS_SHOWN = 9
FROZEN_S = 12.0


def _formed(nodes: int, loss: float = 0.0, seed: int = 1) -> sizing._Sample:
    sample = sizing._Sample(Setting(nodes, loss, seed))
    sample.start_all()
    sample.wait(sample.is_full, sizing.FORMING_S)
    sample.world.run(sizing.CALM_S)
    return sample


def _listen(sample: sizing._Sample) -> Listener:
    names = {sample.ids[name].hex(): name for name in sample.names}
    listener = Listener(sample.world, names)
    watch(sample.world, [listener])
    return listener


def _member(host: Host) -> Participant:
    participant = sizing.node_of(host).participant
    assert participant is not None
    return participant


def detection(nodes: int, share: float) -> Row:
    """A crash: until the first node suspects it, and until 99 of 100 know."""
    return _detection(Setting(nodes), share)


def fast(nodes: int, share: float) -> Row:
    """The same with the profile for whoever cannot wait."""
    return _detection(Setting(nodes, profile="fast"), share)


def _detection(setting: Setting, share: float) -> Row:
    found = sizing.measure_detection(setting, max(3, int(30 * share)))
    return {
        "suspected_p50_s": found.suspected_s(0.5),
        "known_p50_s": found.known_s(0.5),
        "known_p99_s": found.known_s(0.99),
        "crashes": len(found.crashes),
        "innocents": found.innocents,
    }


def false_verdicts(nodes: int, share: float) -> Row:
    """Nobody fails: who is called down all the same, per node-hour, at several losses."""
    row: Row = {}
    for name, loss, bursts in (
        *((f"loss_{percent}", percent / 100, False) for percent in (10, 20, 30)),
        ("bursts_10", 0.10, True),
    ):
        seconds = HOUR_S / 2 * share
        plan = SoakPlan(nodes, seconds, loss, bursts=bursts, crash_every_s=2 * seconds)
        body = Soak(plan).run(None)
        hours = body["node_hours"]
        row[f"{name}_down_per_node_h"] = len(body["wronged"]) / hours
        row[f"{name}_dead"] = body["false_dead"]
        row[f"{name}_bytes_s"] = body["bytes_s"]
        row["node_h_each"] = hours
    return row


def liars(nodes: int, share: float) -> Row:
    """A fifth of all, drawn at random, accuse and sentence one honest node after the other."""
    sample = _formed(nodes)
    world = sample.world
    rng = random.Random("liars")
    crowd = [world.hosts[name] for name in rng.sample(sample.names, nodes // 5)]
    wicked = [host.name for host in crowd]
    honest = [name for name in sample.names if name not in wicked]
    listener = _listen(sample)
    rounds = max(10, int(120 * share))
    for _ in range(rounds):
        _sentence(sample, crowd, rng.choice(honest))
        world.run(VERDICT_EVERY_S)
    world.run(60.0)
    wronged = [name for name in listener.wronged if name in honest]
    return {
        "liars": len(crowd),
        "victims": rounds,
        "honest_down": len(wronged),
        "honest_down_views": listener.false_down,
        "honest_dead_views": listener.false_dead,
    }


def _sentence(sample: sizing._Sample, crowd: Sequence[Host], victim: str) -> None:
    """Let all liars accuse a node to everybody, and one of them publish a verdict of theirs."""
    world = sample.world
    subject = sample.ids[victim]
    presence = _member(crowd[0]).membership.presence(subject)
    if presence is None:
        return
    accusation = Accusation(subject, presence.fact.boot, presence.fact.incarnation)
    proofs = []
    for host in crowd:
        member = _member(host)
        [signed] = member.author.sign([accusation])
        proofs.append((bytes(member.author.public_key), signed.signed.signature))
        for name in sample.names:
            if name != host.name:
                member.outbox.send(sample.ids[name], Accuse(signed.signed.encode()))
    shown = tuple(proofs[:ACCUSERS_SHOWN])
    verdict = Verdict(
        subject, accusation.boot, accusation.incarnation, 2 * len(shown) - 1, False, shown
    )
    speaker = _member(crowd[0])
    [spoken] = speaker.author.sign([verdict])
    entry = Item(Form.SINGLE, spoken.signed.encode()).encode()
    for name in sample.names:
        if name != crowd[0].name:
            post = speaker.gossip._post
            post.send_entries(sample.ids[name], ToldFacts, bytes((Family.MEMBERS,)), [entry])
    for host in crowd:
        now = host.clock.read(world.now_s)
        world.perform(host, sizing.node_of(host)._finish(now))


def freezes(nodes: int, share: float) -> Row:
    """A tenth of all stop for twelve seconds, at once: who else is called down?"""
    sample = _formed(nodes)
    world = sample.world
    listener = _listen(sample)
    rng = random.Random("freezes")
    times = max(4, int(40 * share))
    innocents = 0
    for _ in range(times):
        frozen = rng.sample(sample.names, nodes // 10)
        listener.wronged.clear()
        for name in frozen:
            world.pause(name, FROZEN_S)
        world.run(60.0)
        innocents += sum(name not in frozen for name in listener.wronged)
        sample.wait(sample.is_full, sizing.FORMING_S)
    return {"freezes": times, "innocents": innocents, "dead_views": listener.false_dead}


def copies(nodes: int, share: float) -> Row:
    """One node changes what it says of itself: how often does each other one receive it?"""
    sample = _formed(nodes)
    world = sample.world
    rounds = max(5, int(20 * share))

    def duplicates() -> int:
        hosts = world.hosts.values()
        return sum(_member(host).gossip.counters().get("duplicates", 0) for host in hosts)

    world.run(30.0)
    before = duplicates()
    for number in range(rounds):
        host = world.hosts[world.rng.choice(sample.names)]
        now = host.clock.read(world.now_s)
        _member(host).membership.set_kinds(now, (f"kind-{number}",))
        world.perform(host, sizing.node_of(host).handle_timeout(now))
        world.arm(host)
        world.run(10.0)
    more = duplicates() - before
    return {"updates": rounds, "copies_per_node": 1 + more / rounds / (nodes - 1)}


def joins(nodes: int, share: float) -> Row:  # noqa: ARG001  every part has one signature
    """All others join at once with one ticket, through the first."""
    found = sizing.measure_mass_join(Setting(nodes))
    return {"joined_99_s": found.most_s, "joined_all_s": found.all_s}


def heals(nodes: int, share: float) -> Row:
    """Two halves meet again (in full after ten minutes): until they hear, until all is equal."""
    sample = _formed(nodes)
    world = sample.world
    cut = nodes // 2
    one, other = sample.names[:cut], sample.names[cut:]
    world.partition(one, other)
    world.run(max(120.0, 600.0 * share))
    world.repair()
    began_s = world.now_s
    theirs = dict.fromkeys(sample.ids[name] for name in other)

    def met() -> bool:
        return any(node in theirs for name in one for node in sizing.alive_at(world.hosts[name]))

    def equal() -> bool:
        digests = [_member(host).gossip.digest(Family.MEMBERS) for host in world.hosts.values()]
        return sample.is_full() and len(dict.fromkeys(digests)) == 1

    sample.wait(met, sizing.FORMING_S)
    met_s = world.now_s - began_s
    sample.wait(equal, sizing.FORMING_S)
    return {"contact_s": met_s, "equal_s": world.now_s - began_s}


def idle(nodes: int, share: float) -> Row:
    """Nothing happens: what does a node cost, the simulator's own work included?"""
    sample = _formed(nodes)
    seconds = max(20.0, 120.0 * share)
    before, began_s = sample.sent(), time.process_time()
    sample.world.run(seconds)
    took_s = time.process_time() - began_s
    packets, sent, _ = (b - a for a, b in zip(before, sample.sent(), strict=True))
    return {
        "packets_s": packets / seconds / nodes,
        "bytes_s": sent / seconds / nodes,
        "wire_bytes_s": (sent + sizing.UDP_HEADER_BYTES * packets) / seconds / nodes,
        "cpu_ms_s": took_s / seconds / nodes * 1e3,
    }


PARTS: dict[str, Callable[[int, float], Row]] = {
    part.__name__: part
    for part in (detection, fast, false_verdicts, liars, freezes, copies, joins, heals, idle)
}
TARGETS = (
    ("crash -> suspect, p50", "<= 1 s", "detection", "suspected_p50_s", "s"),
    ("crash known to 99 %, p50", "<= 3.5 s", "detection", "known_p50_s", "s"),
    ("crash known to 99 %, p99", "<= 5 s", "detection", "known_p99_s", "s"),
    ("profile fast: crash known to 99 %, p50", "<= 1.5 s", "fast", "known_p50_s", "s"),
    ("profile fast: crash known to 99 %, p99", "reported", "fast", "known_p99_s", "s"),
    ("nodes wrongly down per node-hour, 10 % loss", "<= 0.01", "false_verdicts",
     "loss_10_down_per_node_h", ""),
    ("the same, 20 % loss", "<= 0.01", "false_verdicts", "loss_20_down_per_node_h", ""),
    ("the same, 30 % loss", "<= 0.05", "false_verdicts", "loss_30_down_per_node_h", ""),
    ("the same, 10 % loss and bursts", "reported", "false_verdicts", "bursts_10_down_per_node_h",
     ""),
    ("wrongly dead views, 30 % loss", "0", "false_verdicts", "loss_30_dead", ""),
    ("bytes/s per node, 20 % loss", "<= 500", "false_verdicts", "loss_20_bytes_s", ""),
    ("bytes/s per node, 30 % loss", "<= 600", "false_verdicts", "loss_30_bytes_s", ""),
    ("a fifth are liars: honest nodes dead", "0", "liars", "honest_dead_views", ""),
    ("a fifth are liars: honest nodes down for a while", "reported", "liars", "honest_down", ""),
    ("a tenth freeze 12 s: innocents down", "0", "freezes", "innocents", ""),
    ("copies of one update per node", "<= 4", "copies", "copies_per_node", ""),
    ("joins at once, 99 % see all", "<= 2 s", "joins", "joined_99_s", "s"),
    ("joins at once, all see all", "<= 5 s", "joins", "joined_all_s", "s"),
    ("heal after a cut into halves, contact", "<= 2 s", "heals", "contact_s", "s"),
    ("heal after a cut into halves, equal digests", "<= 6 s", "heals", "equal_s", "s"),
    ("idle bytes/s per node, payload", "<= 200", "idle", "bytes_s", ""),
    ("idle bytes/s per node, with headers", "<= 320", "idle", "wire_bytes_s", ""),
    ("idle CPU per node (simulator included)", "<= 1 ms/s", "idle", "cpu_ms_s", "ms/s"),
)  # fmt: skip
"""What a row is called, its target, and where its figure stands."""


def figures_table(found: dict[str, Row]) -> str:
    """Return the table of everything that was measured."""
    rows = [
        (name, target, reports.number(found[part][key], unit))
        for name, target, part, key, unit in TARGETS
        if part in found
    ]
    return reports.table(("figure", "target", "measured"), rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `figures`."""
    parser.add_argument("--nodes", type=int, default=100, help="how many (100)")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual length (1.0)")
    every = ",".join(PARTS)
    parser.add_argument(
        "--only", default=every, type=reports.some_of(PARTS), help="parts, with commas between them"
    )
    parser.add_argument("--out", type=Path, help="add each part as a line of JSON here")
    parser.add_argument(
        "--from", dest="source", type=Path, help="measure nothing: show what was written with --out"
    )
    parser.add_argument("--write", type=Path, help="put the table into this document")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table."""
    if options.source is not None:
        rows = reports.load(options.source)
        return _show({str(row["part"]): row for row in rows}, options.write)
    found: dict[str, Row] = {}
    for name in options.only:
        began_s = time.process_time()
        found[name] = PARTS[name](options.nodes, options.share)
        cpu_s = round(time.process_time() - began_s, 1)
        line = json.dumps(reports.rounded({"part": name, "cpu_s": cpu_s, **found[name]}))
        sys.stderr.write(line + "\n")
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(line + "\n")
    return _show(found, options.write)


def _show(found: dict[str, Row], document: Path | None) -> int:
    text = figures_table(found)
    print(text)
    if document is not None:
        reports.put_between(document, "figures", text)
    return 0
