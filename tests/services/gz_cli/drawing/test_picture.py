"""Pictures of random graphs: well-formed, nothing over anything else, every arrow from edge to edge."""

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from gz_cli.drawing.picture import Box, draw

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def boxes(draw_from: st.DrawFn) -> list[Box]:
    names = draw_from(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True))
    made = []
    for at, name in enumerate(names):
        needs = tuple(draw_from(st.lists(st.sampled_from(names[:at]), unique=True, max_size=3))) if at else ()
        shape = draw_from(st.sampled_from(["box", "many", "choice", "nested"]))
        made.append(Box(name, (name, "echo/echo"), needs, shape))
    return draw_from(st.permutations(made))


@settings(max_examples=60)
@given(boxes())
def test_a_picture(graph: list[Box]) -> None:
    root = ElementTree.fromstring(draw("a <title> & more", graph))
    groups = root.findall(f"{SVG}g")
    assert len(groups) == len(graph)
    frames = {}
    for box, group in zip(graph, groups, strict=True):
        frames[box.id] = [float(_main(box, group).get(name, "")) for name in ("x", "y", "width", "height")]
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in frames.values())
    listed = list(frames.values())
    assert not any(_overlap(one, other) for at, one in enumerate(listed) for other in listed[:at])
    ends = {tuple(re.findall(r"-?[\d.]+", path.get("d", ""))) for path in root.findall(f"{SVG}path")}
    assert len(root.findall(f"{SVG}path")) == sum(len(set(box.needs)) for box in graph)
    tops = [[float(one[-2]), float(one[-1])] for one in ends]
    assert all(any(abs(x + w / 2 - at) < 0.2 and abs(y - top) < 0.2 for x, y, w, _ in listed) for at, top in tops)
    for box in graph:
        assert all(frames[need][1] < frames[box.id][1] for need in box.needs), "what comes first stands above"


def _main(box: Box, group: ElementTree.Element) -> ElementTree.Element:
    return group.findall(f"{SVG}rect")[2 if box.shape == "many" else 0]


def _overlap(one: list[float], other: list[float]) -> bool:
    (x, y, w, h), (x2, y2, w2, h2) = one, other
    return x < x2 + w2 - 0.2 and x2 < x + w - 0.2 and y < y2 + h2 - 0.2 and y2 < y + h - 0.2


def test_a_long_chain_needs_no_call_stack() -> None:
    chain = [Box(f"t{at}", (f"t{at}",), (f"t{at - 1}",) if at else ()) for at in range(3000)]
    assert draw("n", chain).count("<g ") == 3000
