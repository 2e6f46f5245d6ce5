"""A graph of tasks as SVG, by a layout of our own: layers from top to bottom, neighbours close to each other.

Every task is one layer below the last that it waits for. Within a layer the order is swept down and up a few times,
each task to the middle of those it is tied to, which leaves few crossings. An arrow that passes layers bends through
places that are kept free for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final, Literal

from msgspec import Struct

_CHARACTER = 7.2
_PADDING = 14.0
_LINE = 16.0
_GAP_X, _GAP_Y = 26.0, 46.0
_LEAST_WIDTH = 70.0
_MARGIN = 16.0
_SWEEPS = 8
_LONGEST_LINE = 44
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328;text-anchor:middle}"
    ".m{fill:#59636e;font-size:11px}.k{fill:#8250df;font-size:11px}"
    ".b{fill:#f6f8fa;stroke:#59636e}.many{fill:#fff;stroke:#59636e}.inner{fill:none;stroke:#59636e}"
    ".e{fill:none;stroke:#59636e;stroke-width:1.2}.s{stroke-dasharray:5 4}"
    "@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.m{fill:#9198a1}.b{fill:#161b22}"
    ".many{fill:#0d1117}}"
)


Shape = Literal["box", "many", "choice", "nested"]


class Box(Struct, frozen=True):
    """A task to draw. `lines`: its name, its method, and what is special. `shape`: box, many (several of it), choice,
    or nested (it holds a workflow)."""

    id: str
    lines: tuple[str, ...]
    needs: tuple[str, ...]
    shape: Shape = "box"
    dashed: bool = False
    dashed_needs: frozenset[str] = frozenset()
    """Of `needs`: those that it need not have, as those of a task that runs only on failure."""


class _Spot(Struct):
    """A box, or a place that an arrow passes (`box` None)."""

    box: Box | None
    layer: int
    width: float
    height: float
    order: float = 0.0
    x: float = 0.0
    y: float = 0.0


def draw(title: str, boxes: Sequence[Box]) -> str:
    """The whole SVG document. `boxes` has every dependency, and no cycle."""
    spots, chains = _layers(boxes)
    rows = _rows(spots)
    _sort(rows, spots, chains)
    width, height = _place(rows, spots)
    shapes = [_shape(spot) for spot in spots.values() if spot.box is not None]
    arrows = [_arrow(chain, spots, dashed=dashed) for chain, dashed in chains]
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        f"<title>{_text(title)}</title><style>{_STYLE}</style>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#59636e"/></marker></defs>',
    )
    return "\n".join([*head, *arrows, *shapes, "</svg>"])


Chain = list[str]
"""Keys of spots from one box to another, with the places between."""


def _layers(boxes: Sequence[Box]) -> tuple[dict[str, _Spot], list[tuple[Chain, bool]]]:
    by_id = {box.id: box for box in boxes}
    depths: dict[str, int] = {}
    for name in _in_order(by_id):
        depths[name] = max((depths[need] + 1 for need in by_id[name].needs), default=0)
    spots = {box.id: _Spot(box, depths[box.id], *_size(box)) for box in boxes}
    chains = []
    for box in boxes:
        for need in dict.fromkeys(box.needs):
            between = [f"{need}\0{box.id}\0{layer}" for layer in range(depths[need] + 1, depths[box.id])]
            spots |= {key: _Spot(None, depths[need] + 1 + at, 8.0, 0.0) for at, key in enumerate(between)}
            chains.append(([need, *between, box.id], need in box.dashed_needs))
    return spots, chains


def _in_order(boxes: Mapping[str, Box]) -> Iterator[str]:
    """Each after what it needs, without a call stack: a chain may be long."""
    waits = {name: len(set(box.needs)) for name, box in boxes.items()}
    after: dict[str, list[str]] = {name: [] for name in boxes}
    for name, box in boxes.items():
        for need in set(box.needs):
            after[need].append(name)
    ready = [name for name, count in waits.items() if count == 0]
    for name in ready:  # grows while it is read
        yield name
        for other in after[name]:
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)


def _size(box: Box) -> tuple[float, float]:
    longest = max(len(line) for line in _shown(box))
    return max(_LEAST_WIDTH, longest * _CHARACTER + 2 * _PADDING), len(box.lines) * _LINE + _PADDING


def _shown(box: Box) -> list[str]:
    return [line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…" for line in box.lines]


def _rows(spots: Mapping[str, _Spot]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max((spot.layer for spot in spots.values()), default=-1) + 1)]
    for key, spot in spots.items():
        spot.order = float(len(rows[spot.layer]))
        rows[spot.layer].append(key)
    return rows


def _sort(rows: list[list[str]], spots: dict[str, _Spot], chains: Sequence[tuple[Chain, bool]]) -> None:
    above: dict[str, list[str]] = {key: [] for key in spots}
    below: dict[str, list[str]] = {key: [] for key in spots}
    for chain, _ in chains:
        for one, other in pairwise(chain):
            below[one].append(other)
            above[other].append(one)
    for sweep in range(_SWEEPS):
        ties = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            middles = {key: _middle(key, ties[key], spots) for key in row}
            row.sort(key=middles.__getitem__)
            for order, key in enumerate(row):
                spots[key].order = float(order)
    _spread(rows, spots, above, below)


def _middle(key: str, tied: Sequence[str], spots: Mapping[str, _Spot]) -> float:
    return sum(spots[one].order for one in tied) / len(tied) if tied else spots[key].order


def _spread(
    rows: Sequence[Sequence[str]],
    spots: dict[str, _Spot],
    above: Mapping[str, Sequence[str]],
    below: Mapping[str, Sequence[str]],
) -> None:
    """Give every spot its x (the middle): as near to those it is tied to as its neighbours allow."""
    for row in rows:
        x = 0.0
        for key in row:
            spots[key].x = x + spots[key].width / 2
            x += spots[key].width + _GAP_X
    for sweep in range(_SWEEPS):
        ties = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _settle([spots[key] for key in row], _wishes([_wish(ties[key], spots) for key in row], row, spots))


def _wish(tied: Sequence[str], spots: Mapping[str, _Spot]) -> float | None:
    return sum(spots[one].x for one in tied) / len(tied) if tied else None


def _wishes(wished: Sequence[float | None], row: Sequence[str], spots: Mapping[str, _Spot]) -> list[float]:
    """Who is tied to nobody wants to be beside its neighbour."""
    if all(one is None for one in wished):
        return [spots[key].x for key in row]
    first = next(at for at, one in enumerate(wished) if one is not None)
    made = list(wished)
    for at in [*range(first - 1, -1, -1), *range(first + 1, len(row))]:
        beside = at + 1 if at < first else at - 1
        apart = (spots[row[at]].width + spots[row[beside]].width) / 2 + _GAP_X
        if made[at] is None:
            made[at] = (made[beside] or 0.0) + (-apart if at < beside else apart)
    return [one or 0.0 for one in made]


def _settle(row: Sequence[_Spot], wishes: Sequence[float]) -> None:
    """Nobody over another: from the left, then from the right, and the middle of both."""
    left, right = list(wishes), list(wishes)
    for at in range(1, len(row)):
        left[at] = max(left[at], left[at - 1] + (row[at - 1].width + row[at].width) / 2 + _GAP_X)
    for at in range(len(row) - 2, -1, -1):
        right[at] = min(right[at], right[at + 1] - (row[at + 1].width + row[at].width) / 2 - _GAP_X)
    for spot, one, other in zip(row, left, right, strict=True):
        spot.x = (one + other) / 2


def _place(rows: Sequence[Sequence[str]], spots: Mapping[str, _Spot]) -> tuple[float, float]:
    """Move everything into view, layer by layer; the size of the whole."""
    left = min((spot.x - spot.width / 2 for spot in spots.values()), default=0.0)
    y = _MARGIN
    for row in rows:
        height = max(spots[key].height for key in row)
        for key in row:
            spots[key].x += _MARGIN - left
            spots[key].y = y + height / 2
        y += height + _GAP_Y
    right = max((spot.x + spot.width / 2 for spot in spots.values()), default=0.0)
    return right + _MARGIN, (y - _GAP_Y if rows else y) + _MARGIN


def _shape(spot: _Spot) -> str:
    box = spot.box
    assert box is not None
    x, y, width, height = spot.x - spot.width / 2, spot.y - spot.height / 2, spot.width, spot.height
    round_off = height / 2 if box.shape == "choice" else 5
    dash = " s" if box.dashed else ""
    parts = [f'<g id="{_text(box.id)}">']
    if box.shape == "many":
        parts += [_rect(x + shift, y - shift, width, height, "many", round_off) for shift in (6, 3)]
    parts.append(_rect(x, y, width, height, f"b{dash}", round_off))
    if box.shape == "nested":
        parts.append(_rect(x + 3, y + 3, width - 6, height - 6, "inner", 3))
    top = spot.y - (len(box.lines) - 1) * _LINE / 2 + 4
    for number, line in enumerate(_shown(box)):
        kind = ("", ' class="m"')[number == 1] if number < 2 else ' class="k"'
        parts.append(f'<text x="{spot.x:.1f}" y="{top + number * _LINE:.1f}"{kind}>{_text(line)}</text>')
    return "".join([*parts, "</g>"])


def _rect(x: float, y: float, width: float, height: float, kind: str, round_off: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_off:g}"/>'
    )


def _arrow(chain: Chain, spots: Mapping[str, _Spot], *, dashed: bool) -> str:
    """From the lower edge of the first to the upper edge of the last, in soft bends through the places between."""
    first, last = spots[chain[0]], spots[chain[-1]]
    points = [(first.x, first.y + first.height / 2)]
    points += [(spots[key].x, spots[key].y) for key in chain[1:-1]]
    points.append((last.x, last.y - last.height / 2))
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + to_y) / 2
        path.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
    return f'<path class="e{" s" if dashed else ""}" marker-end="url(#a)" d="{"".join(path)}"/>'


def _text(text: str) -> str:
    """Also without the characters that XML cannot hold."""
    return escape("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text))
