"""A small writer of line plots in SVG, on logarithmic axes: no dependency, one file as output."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

PANEL_WIDTH, PANEL_HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 48
LEGEND_HEIGHT = 34
COLOURS = ("#0b6e99", "#d9730d", "#ad1a72", "#4d6461")
TARGET_COLOUR = "#c0392b"
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: lines by name, and the target that they should stay below."""

    title: str
    lines: Mapping[str, Sequence[Point]]
    target: float | None = None
    ticks_x: Sequence[float] = ()
    gap: float | None = None
    """Values of x on either side of this were had in different ways: no line joins them."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values onto a stretch of the page, by their logarithm."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a value."""
        span = math.log(self.high) - math.log(self.low)
        share = (math.log(max(value, self.low)) - math.log(self.low)) / span
        return self.begin + share * (self.end - self.begin)


def nice_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten that enclose a range."""
    steps = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for factor in (1, 2, 5)
    ]
    first = max(index for index, step in enumerate(steps) if step <= low)
    last = min(index for index, step in enumerate(steps) if step >= high)
    return steps[first : max(last, first + 1) + 1]


def _text(x: float, y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _panel(panel: Panel, left: float, top: float) -> Iterator[str]:
    values = [y for line in panel.lines.values() for _, y in line if y > 0]
    values += [] if panel.target is None else [panel.target * 1.05]
    ticks_y = nice_ticks(min(values, default=1.0), max(values, default=1.0))
    xs = panel.ticks_x
    x = Scale(min(xs) / 1.3, max(xs) * 1.3, left + LEFT, left + PANEL_WIDTH - RIGHT)
    y = Scale(ticks_y[0], ticks_y[-1], top + PANEL_HEIGHT - BOTTOM, top + TOP)
    yield _text(left + LEFT, top + 22, panel.title, "start", ' font-weight="bold"')
    for tick in ticks_y:
        yield _line(x.begin, y.at(tick), x.end, y.at(tick), 'stroke="#ddd"')
        yield _text(x.begin - 6, y.at(tick) + 4, f"{tick:,.10g}", "end")
    for tick in xs:
        yield _line(x.at(tick), y.begin, x.at(tick), y.begin + 5, 'stroke="#555"')
        yield _text(x.at(tick), y.begin + 19, f"{tick:,.10g}")
    yield _line(x.begin, y.begin, x.end, y.begin, 'stroke="#555"')
    yield _text((x.begin + x.end) / 2, y.begin + 37, "nodes")
    if panel.gap is not None:
        at = x.at(panel.gap)
        yield _line(at, y.begin, at, y.end, 'stroke="#999" stroke-dasharray="2 4"')
    if panel.target is not None:
        at = y.at(panel.target)
        style = f'stroke="{TARGET_COLOUR}" stroke-dasharray="6 4"'
        yield _line(x.begin, at, x.end, at, style)
        words = f"target {panel.target:g}"
        yield _text(x.end - 2, at - 5, words, "end", f' fill="{TARGET_COLOUR}"')
    for colour, line in zip(COLOURS, panel.lines.values(), strict=False):
        points = [(x.at(n), y.at(value)) for n, value in line if value > 0]
        gap = math.inf if panel.gap is None else x.at(panel.gap)
        for part in ([p for p in points if p[0] < gap], [p for p in points if p[0] >= gap]):
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in part)
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for px, py in points:
            yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>'


def _legend(names: Sequence[str], width: float, note: str) -> Iterator[str]:
    at = float(LEFT)
    for colour, name in zip(COLOURS, names, strict=False):
        yield _line(at, 18, at + 26, 18, f'stroke="{colour}" stroke-width="2"')
        yield f'<circle cx="{at + 13:.1f}" cy="18" r="3.5" fill="{colour}"/>'
        yield _text(at + 32, 22, name, "start")
        at += 60 + 7.2 * len(name)
    yield _text(width - RIGHT, 22, note, "end", ' fill="#555"')


def draw(panels: Sequence[Panel], note: str, columns: int = 2) -> str:
    """Return an SVG document with all panels, which share one legend."""
    rows = -(-len(panels) // columns)
    width, height = columns * PANEL_WIDTH, LEGEND_HEIGHT + rows * PANEL_HEIGHT
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f'  width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_legend(names, width, note),
    ]
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        parts += _panel(panel, column * PANEL_WIDTH, LEGEND_HEIGHT + row * PANEL_HEIGHT)
    return "\n".join([*parts, "</svg>", ""])
