"""Draw docs/house.svg: what flows where in orbitnode, with every room of the code in its place.

`BOXES` and `FLOWS` are the picture; `make docs` writes it. tests/unit/test_house_picture.py holds it against the code:
every room of the map in tests/unit/test_layout.py stands in a box, and every flow that is a call follows an import.
"""

# Why a program and not a drawing: rooms are added with nearly every larger change, and a drawing that nobody has to
# touch is wrong after the second of them. Coordinates are by hand all the same: the places carry meaning (orbit left,
# ground right, the air between them), and graph layout tools arrange a dozen boxes worse than a person does.
#
# The file is read on a white page, on a dark one and inside a README, so it brings its colours for both
# (prefers-color-scheme) and names no font that a reader may not have.

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "house.svg"
WIDTH, HEIGHT = 1264, 616
TITLE_PX, TEXT_PX, ROOMS_PX = 14, 12, 11
LINE_PX = 16
# Mean advance of a character over the size of its font: sans-serif text, and monospace for rooms. A little wide, so
# that text fits with whatever font a reader has.
ADVANCE, ADVANCE_BOLD, ADVANCE_MONO = 0.52, 0.62, 0.61


@dataclass(frozen=True)
class Box:
    """One part of the system: `text` says what it does, `rooms` where its code stands. Sizes in pixels."""

    name: str
    text: tuple[str, ...]
    rooms: tuple[str, ...]
    x: int
    y: int
    width: int
    height: int
    kind: str = "part"  # part, or frame around others


@dataclass(frozen=True)
class Flow:
    """An arrow along `points`, from the first to the last, in pixels.

    `calls` names two rooms of which the first imports the second, whichever way the arrow points; None if octets, light
    or heat flow there.
    """

    points: tuple[tuple[int, int], ...]
    label: tuple[str, ...] = ()
    at: tuple[int, int] = (0, 0)
    calls: tuple[str, str] | None = None
    anchor: str = "middle"


BOXES = (
    Box("In orbit: one Linux board", (), (), 16, 16, 788, 448, "frame"),
    Box("On the ground", (), (), 936, 16, 312, 448, "frame"),
    Box(
        "Drivers",
        ("power, heat, radio, camera:", "small Protocols, each", "behind a guard"),
        ("hal",),
        36, 56, 192, 104,
    ),
    Box(
        "Board's Linux",
        ("clock, timers, files,", "signals, watchdog: whatever", "reaches the machine"),
        ("flight.linux",),
        36, 200, 192, 104,
    ),
    Box(
        "Store",
        ("journal, vault, quota:", "what was acknowledged", "survives a power cut"),
        ("flight.store",),
        36, 340, 192, 104,
    ),
    Box(
        "Executive",
        ("one loop, earliest deadline first;", "every tick is accounted for"),
        ("flight.core", "flight.text"),
        268, 56, 244, 88,
    ),
    Box(
        "Services",
        ("commands once and in order,", "held commands, telemetry, events,", "files, power, heat, clock, recorder"),
        ("flight", "flight.services", "flight.contract"),
        268, 184, 244, 120,
    ),
    Box(
        "Space link",
        ("packets, PUS, frames, COP-1, CFDP:", "octets in, actions out;", "coding kernels in C"),
        ("flight.link", "flight.kernels"),
        268, 340, 244, 104,
    ),
    Box(
        "Payload manager",
        ("which tile and when: by charge,", "heat, deadline, value and room"),
        ("payloads", "flight.swarm"),
        544, 56, 240, 88,
    ),
    Box(
        "Workers",
        ("a process per app, behind guards:", "tile in, answer out, by a model", "or by code of one's own"),
        ("payloads.worker", "payloads.apps", "payloads.assets"),
        544, 184, 240, 120,
    ),
    Box(
        "Products",
        ("answers as small files that say", "what they hold, with a hash"),
        ("payloads.product",),
        544, 340, 240, 104,
    ),
    Box(
        "Operator",
        ("command line, procedures, API",),
        ("ground.server", "ground.cli", "ground.procedures", "ground.xtce", "ground.yamcs"),
        956, 56, 272, 104,
    ),
    Box(
        "Telemetry and commands",
        ("decoder, limits, archive; every", "command followed to its outcome"),
        ("ground", "ground.telemetry", "ground.commands"),
        956, 200, 272, 104,
    ),
    Box(
        "Link session",
        ("the mirror of the node's end;", "files put together"),
        ("ground.link", "ground.files", "ground.products"),
        956, 340, 272, 104,
    ),
    Box(
        "Simulator: stands where board, air and Sun are",
        (
            "The same flight code, the same octets. One seed gives one digest.",
            "Virtual time for whole orbits, real time on the bench.",
        ),
        ("sim_hw", "sim_hw.world", "sim_hw.machine", "sim_hw.bench", "sim_hw.soak", "sim_hw.report"),
        16, 512, 788, 88,
    ),
    Box(
        "Recorded data of any mission",
        ("detected, decoded, as tables; by XTCE,", "CSV or the dictionary of a node"),
        ("ground.recording",),
        936, 512, 312, 88,
    ),
)  # fmt: skip

FLOWS = (
    Flow(((228, 96), (268, 96)), calls=("flight.core", "hal")),
    Flow(((228, 236), (248, 236), (248, 124), (268, 124)), calls=("flight.linux", "flight.core")),
    Flow(((228, 392), (248, 392), (248, 270), (268, 270)), calls=("flight.services", "flight.store")),
    Flow(((390, 144), (390, 184)), ("runs their tasks",), (400, 168), ("flight.services", "flight.core"), "start"),
    Flow(((390, 304), (390, 340)), ("packets",), (400, 326), ("flight.services", "flight.link"), "start"),
    Flow(((544, 124), (528, 124), (528, 210), (512, 210)), calls=("payloads", "flight.contract")),
    Flow(((664, 144), (664, 184)), ("tiles",), (674, 168), ("payloads", "payloads.worker"), "start"),
    Flow(((664, 304), (664, 340)), ("answers",), (674, 326), ("payloads.worker", "payloads.product"), "start"),
    Flow(((544, 392), (528, 392), (528, 280), (512, 280)), ("files",), (532, 326), None, "start"),
    Flow(((804, 380), (936, 380)), ("results, telemetry", "in TM or AOS frames"), (870, 352)),
    Flow(((936, 420), (804, 420)), ("telecommands in", "TC frames, COP-1"), (870, 440)),
    Flow(((1092, 340), (1092, 304)), ("packets",), (1102, 326), None, "start"),
    Flow(((1092, 200), (1092, 160)), ("values, outcomes",), (1102, 184), None, "start"),
    Flow(((410, 512), (410, 464)), ("Sun, heat, orbit, air, disk, faults",), (420, 492), None, "start"),
    Flow(((1092, 464), (1092, 512)), ("recordings",), (1102, 492), None, "start"),
)


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _box(box: Box) -> list[str]:
    style = "frame" if box.kind == "frame" else "box"
    drawn = [f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" class="{style}"/>']
    y = box.y + (24 if box.kind == "frame" else 22)
    drawn.append(_text(box.x + 10, y, box.name, "title"))
    for line in box.text:
        y += LINE_PX
        drawn.append(_text(box.x + 10, y, line, "text"))
    drawn.extend(
        _text(box.x + 10, box.y + box.height - 10 - LINE_PX * back, line, "rooms")
        for back, line in enumerate(reversed(room_lines(box)))
    )
    return drawn


def room_lines(box: Box) -> list[str]:
    """Return the rooms of `box` as folders, in as many lines as its width needs."""
    lines: list[str] = []
    for room in box.rooms:
        folder = room.replace(".", "/")
        joined = f"{lines[-1]}, {folder}" if lines else folder
        if lines and len(joined) * ROOMS_PX * ADVANCE_MONO <= box.width - 20:
            lines[-1] = joined
        else:
            lines.append(folder)
    return lines


def _flow(flow: Flow) -> list[str]:
    points = " ".join(f"{x},{y}" for x, y in flow.points)
    drawn = [f'<polyline points="{points}" class="flow" marker-end="url(#head)"/>']
    x, y = flow.at
    drawn.extend(_text(x, y + LINE_PX * row, line, "label", flow.anchor) for row, line in enumerate(flow.label))
    return drawn


_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"
 aria-label="What flows where in orbitnode, and in which folder each part stands">
<style>
svg {{ --ink: #1c2733; --soft: #5a6b7b; --line: #8a9aa8; --paper: #ffffff; --panel: #eef3f7; --flow: #0b6fa4; }}
@media (prefers-color-scheme: dark) {{
svg {{ --ink: #e6edf3; --soft: #9fb0bf; --line: #5a6b7b; --paper: #161d24; --panel: #0e1318; --flow: #5cb8e6; }}
}}
text {{ font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: var(--ink); }}
.title {{ font-size: {TITLE_PX}px; font-weight: 600; }}
.text {{ font-size: {TEXT_PX}px; }}
.label {{ font-size: {TEXT_PX}px; fill: var(--flow); }}
.rooms {{ font-size: {ROOMS_PX}px; fill: var(--soft); font-family: ui-monospace, 'DejaVu Sans Mono', monospace; }}
.frame {{ fill: var(--panel); stroke: var(--line); }}
.box {{ fill: var(--paper); stroke: var(--line); }}
.flow {{ fill: none; stroke: var(--flow); stroke-width: 2; }}
.head {{ fill: var(--flow); }}
</style>
<defs><marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto" markerUnits="userSpaceOnUse">
<path d="M0,0 L9,4 L0,8 z" class="head"/></marker></defs>"""


def draw() -> str:
    """Return the whole picture as the text of an SVG file."""
    boxes = [line for box in BOXES for line in _box(box)]
    flows = [line for flow in FLOWS for line in _flow(flow)]
    return "\n".join([_HEAD, *boxes, *flows, "</svg>", ""])
