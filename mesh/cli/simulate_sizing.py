"""`mesh sim --sizing`: what meshes of several sizes cost, and how quick they are."""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

from mesh.cli import exit_codes
from mesh.cli.crew import WorkFailed, cores, work_through
from mesh.cli.output import NOTHING, Output, escape, say
from mesh.cli.simulate import profile_of
from mesh.control.client import Refused
from mesh.sim import claim_time, sizing
from mesh.sim.sizing import Late, Setting

SIZES = (3, 10, 30, 100)
LOSSES = (0.0,)
DELAYS = (None,)
"""The usual one of a simulated network."""
CRASHES = 5
CLAIMS = 20
HEADERS = (
    *("NODES", "LOSS", "DELAY", "DOWN KNOWN", "WORST", "WRONG", "PACKETS/S", "BYTES/S", "ON WIRE"),
    *("CLAIM", "P99", "ALL JOINED"),
)
Body = dict[str, Any]


def detection(setting: Setting) -> Body:
    """Return how long a crash takes to be known to 99 of 100 nodes."""
    found = sizing.measure_detection(setting, CRASHES)
    return {
        "suspect_p50_s": found.suspected_s(0.5),
        "down_p50_s": found.known_s(0.5),
        "down_worst_s": found.known_s(1.0),
        "wrongly_down": found.innocents,
    }


def traffic(setting: Setting) -> Body:
    """Return what one node of an idle mesh sends per second."""
    found = sizing.measure_idle(setting)
    return {
        "packets_s": found.packets_s,
        "bytes_s": found.datagram_bytes_s,
        "wire_bytes_s": found.wire_bytes_s,
    }


def claims(setting: Setting) -> Body:
    """Return how long it takes from asking for a task to being allowed to begin."""
    found = claim_time.measure_claims(setting, CLAIMS)
    return {"claim_p50_s": found.within_s(0.5), "claim_p99_s": found.within_s(0.99)}


def joining(setting: Setting) -> Body:
    """Return how long it takes until everybody sees everybody when all join at once."""
    found = sizing.measure_mass_join(setting)
    return {"joined_99_s": found.most_s, "joined_all_s": found.all_s}


MEASURES: tuple[Callable[[Setting], Body], ...] = (detection, traffic, claims, joining)


def measure(setting: Setting) -> Body:
    """Return all figures of one mesh; those that could not be had are missing, and said why."""
    median_s, p99_s = setting.conditions().typical_s()
    body: Body = {
        "nodes": setting.nodes,
        "loss": setting.loss,
        "delay_p50_s": round(median_s, 6),
        "delay_p99_s": round(p99_s, 6),
        "seed": setting.seed,
        "profile": setting.profile,
        "missing": {},
    }
    for one in MEASURES:
        try:
            body |= {name: _rounded(value) for name, value in one(setting).items()}
        except Late as late:
            body["missing"][one.__name__] = str(late)
    return body


def _rounded(value: Any) -> Any:  # noqa: ANN401  JSON
    return round(value, 4) if isinstance(value, float) else value


def show_sizes(options: argparse.Namespace) -> int:
    """Measure meshes of several sizes, on networks of several losses and delays."""
    output = Output(options)
    sizes = options.nodes or SIZES
    if min(sizes) < 2:
        raise Refused("usage", "one node alone has nobody to notice it", "give --nodes from 2 up")
    seed = 1 if options.seed is None else options.seed
    settings = [
        Setting(size, loss, seed, profile_of(options), delay_s)
        for delay_s in options.delay or DELAYS
        for loss in options.loss or LOSSES
        for size in sizes
    ]
    # The largest first: with those last, all processors but one would wait in the end.
    order = sorted(settings, key=lambda setting: -setting.nodes)
    bodies: dict[Setting, Body] = {}
    work = work_through(measure, order, min(options.jobs or cores(), len(order)))
    try:
        with contextlib.closing(work):
            for setting, body in work:
                bodies[setting] = body
                if len(bodies) < len(settings):
                    say(f"{len(bodies)} of {len(settings)} meshes measured")
                for what, why in body["missing"].items():
                    nodes, loss, delay = shape(body)
                    say(escape(f"{nodes} nodes, loss {loss}, delay {delay}: {what}: {why}"))
    except WorkFailed as failed:
        say(f"mesh: {escape(str(failed))}")
        return exit_codes.FAILED
    measured = [bodies[setting] for setting in settings]
    if output.as_json:
        output.document({"sizing": measured})
    else:
        output.table(HEADERS, [row(body) for body in measured])
    return exit_codes.FAILED if any(body["missing"] for body in measured) else exit_codes.OK


def shape(body: Body) -> tuple[str, str, str]:
    """Return nodes, loss and delay of one mesh as people read them."""
    median_ms, p99_ms = body["delay_p50_s"] * 1e3, body["delay_p99_s"] * 1e3
    return f"{body['nodes']}", f"{body['loss'] * 100:g}%", f"{median_ms:.3g}/{p99_ms:.3g} ms"


def row(body: Body) -> tuple[str, ...]:
    """Return the figures of one mesh as people read them."""

    def shown(name: str, form: str, factor: float = 1.0) -> str:
        return form.format(body[name] * factor) if name in body else NOTHING

    return (
        *shape(body),
        shown("down_p50_s", "{:.1f} s"),
        shown("down_worst_s", "{:.1f} s"),
        shown("wrongly_down", "{:.0f}"),
        shown("packets_s", "{:.1f}"),
        shown("bytes_s", "{:.0f}"),
        shown("wire_bytes_s", "{:.0f}"),
        shown("claim_p50_s", "{:.0f} ms", 1e3),
        shown("claim_p99_s", "{:.0f} ms", 1e3),
        shown("joined_all_s", "{:.1f} s"),
    )
