"""The measured curves as pictures for the documentation: docs/curves/*.json to *.svg (`make curves` does both)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "curves"
OURS, PEER, THEORY, OTHER = "#0b6e99", "#d1495b", "#6b7280", "#2e8b57"

# The same data give the same file, octet for octet.
mpl.rcParams |= {
    "svg.hashsalt": "orbitnode", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.grid": True, "grid.color": "#e5e7eb", "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def save(figure: Figure, name: str) -> None:
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    print(f"{path}: {path.stat().st_size:,} octets")


def lost_codewords(axes: Axes, name: str, code: dict[str, Any]) -> None:
    """Codeword error rate over the channel's bit error rate."""
    errors, symbols = (code["n"] - code["k"]) // 2, code["n"]

    def theory(ber: float) -> float:
        wrong = -math.expm1(8 * math.log1p(-ber))
        terms = (
            math.comb(symbols, j) * wrong**j * (1 - wrong) ** (symbols - j) for j in range(errors + 1, symbols + 1)
        )
        return math.fsum(terms)

    points = sorted(code["waterfall"], key=lambda point: float(point["ber"]))
    rates = [point["ber"] for point in points]
    low, high = rates[0], rates[-1]
    fine = [low * (high / low) ** (i / 99) for i in range(100)]
    axes.plot(fine, [theory(ber) for ber in fine], color=THEORY, label=f"theory: more than {errors} wrong of {symbols}")
    axes.plot(rates, [point["rate"] for point in points], "o", color=OURS, markersize=8, fillstyle="none", label="ours")
    libfec = [point["libfec_lost"] / point["codewords"] for point in points]
    axes.plot(rates, libfec, "x", color=PEER, label="libfec, the same words")
    axes.set(
        xscale="log", yscale="log", xlabel="bit error rate of the channel", ylabel="codeword error rate",
        title=f"({symbols},{code['k']}), {name}",
    )  # fmt: skip
    axes.legend(loc="lower right")


def reed_solomon() -> None:
    curves = read("reed_solomon")["curves"]
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    for axes, (name, code) in zip(panels, curves.items(), strict=True):
        lost_codewords(axes, name, code)
    save(figure, "reed_solomon")


def viterbi() -> None:
    points = read("viterbi")["points"]
    ebn0_db = [point["ebn0_db"] for point in points]
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    for axes, key, title in (
        (panels[0], "bit_error_rate", "bit error rate"),
        (panels[1], "frame_error_rate", "error rate of blocks of 1,024 bits"),
    ):
        bound = [min(1.0, point["union_bound"][key]) for point in points]
        axes.plot(ebn0_db, bound, color=THEORY, label="union bound")
        for way, mark, colour, size, label in (
            ("streaming", "s", OTHER, 9, "ours, streaming"),
            ("block", "o", OURS, 6, "ours, by blocks"),
            ("libfec", "x", PEER, 6, "libfec, the same noise"),
        ):
            rates = [point[way][key] for point in points]
            axes.plot(ebn0_db, rates, mark, color=colour, markersize=size, fillstyle="none", label=label)
        if key == "bit_error_rate":
            uncoded = [0.5 * math.erfc(math.sqrt(10 ** (db / 10))) for db in ebn0_db]
            axes.plot(ebn0_db, uncoded, "--", color=THEORY, label="no code")
        axes.set(yscale="log", xlabel="Eb/N0, dB", ylabel=title)
        axes.legend(loc="lower left")
    save(figure, "viterbi")


def main() -> None:
    reed_solomon()
    viterbi()


if __name__ == "__main__":
    main()
