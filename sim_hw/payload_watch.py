"""What a run sees of the payload on board: accuracy of its products, its account of a life, how far it is.

The one place of a run that knows which app flies. Of other apps than the inference manager it sees nothing.
"""

# Accuracy is measured on board, as the product is made, and not from what comes down: it speaks of the screening, not
# of the link. It needs the truth of the tile, which only the simulated camera knows and hands out once.
#
# The report shows a few tiles of the whole run. They are chosen by number, each n-th one, with n from how many tiles
# the run will about screen; a list of all pictures would not fit in memory, and the first ones alone would all be of
# one hour.

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flight.core.nanoseconds import NS
from flight.mission import Mission
from flight.node import Node
from payloads.accounting import ProductInfo, Statistics
from payloads.manager import InferenceManager
from payloads.pools import check_models
from payloads.product.answers import SCREENING
from sim_hw.machine.simulated_devices import SimImager
from sim_hw.report.charts import Gate
from sim_hw.report.report import Tile as ReportTile
from sim_hw.report.report import quicklook_png
from sim_hw.world.scenes import Tile

_CLOUD = 1
_REPORT_TILES = 24


@dataclass(frozen=True, slots=True)
class PayloadAccount:
    """The account of one life, None if no app keeps one. `infer_s` is the wall time of each screened tile."""

    statistics: Statistics | None = None
    infer_s: tuple[float, ...] = ()


@dataclass(slots=True)
class Screening:
    """Accuracy of every screened tile against its truth, and a sample of tiles for the report."""

    accuracy: dict[str, float] = field(default_factory=dict)
    tiles: list[ReportTile] = field(default_factory=list)


class PayloadWatch:
    """Over all lives of one spacecraft's node; `screening` is what it has seen so far.

    Of its sample for the report, tiles are those of each `every`-th number.
    """

    def __init__(self, mission: Mission, imager: SimImager, end_ns: int) -> None:
        self.screening = Screening()
        self._imager = imager
        # About how many tiles the run will screen, to spread the report's sample over it: the Sun shines on 0.6 of an
        # orbit, and a picture is taken each period then.
        app = mission.app(InferenceManager)
        period_s = 10.0 if app is None else app.config.capture_period_s
        self.every = max(1, round(0.6 * end_ns / NS / period_s) // _REPORT_TILES)

    def on_boot(self, node: Node) -> None:
        """Look at the products of the boot that begins."""
        if (manager := node.app(InferenceManager)) is not None:
            manager.on_product = self._screened

    def _screened(self, info: ProductInfo, octets: bytes) -> None:
        """Compare a mask with the truth, if the tile has one, and keep some for the report."""
        tile = self._imager.tile(info.tile)
        if tile is None or info.answer != SCREENING:
            return
        mask = np.frombuffer(octets, np.uint8).reshape(tile.refl.shape[1:])
        accuracy = cloud_accuracy(mask, tile)
        if accuracy is not None:
            self.screening.accuracy[tile.name] = accuracy
        if info.tile % self.every == 0 and len(self.screening.tiles) < _REPORT_TILES:
            cloud_frac = float(np.mean(mask == _CLOUD))
            picture, spent = quicklook_png(tile.refl), f"{info.energy_j:.0f} J"
            shown = ReportTile(f"tile {info.tile}", mask, cloud_frac, accuracy, picture, spent, info.tile)
            self.screening.tiles.append(shown)


def check_payload(mission: Mission) -> None:
    """Raise OrbitnodeError if the mission's payload could not begin: no model, no run."""
    if (app := mission.app(InferenceManager)) is not None:
        check_models(app.config)


def charge_gates(mission: Mission) -> list[Gate]:
    """Return between which charges jobs stop and start again, by rule; none if the mission has no such app."""
    app = mission.app(InferenceManager)
    gates = []
    first = 0  # priority that the rule covers first
    for rule in () if app is None else app.config.energy:
        whose = f"priority {first}" if rule.priority == first else f"priorities {first} to {rule.priority}"
        text = f"{whose}: stop {100 * rule.stop_soc_frac:g}, resume {100 * rule.resume_soc_frac:g} %"
        gates.append(Gate(rule.stop_soc_frac, rule.resume_soc_frac, text))
        first = rule.priority + 1
    return gates


def temperature_gates(mission: Mission) -> list[Gate]:
    """Return between which temperatures of the board jobs start again and stop; none if the mission has no such app."""
    app = mission.app(InferenceManager)
    if app is None:
        return []
    resume_c, stop_c = app.config.heat_resume_c, app.config.heat_stop_c
    return [Gate(resume_c, stop_c, f"jobs: stop {stop_c:g}, resume {resume_c:g} °C")]


def payload_account(node: Node) -> PayloadAccount:
    """Return what the payload of a node has counted since its boot."""
    manager = node.app(InferenceManager)
    if manager is None:
        return PayloadAccount()
    return PayloadAccount(manager.statistics(), tuple(manager.counters.infer_s))


def payload_progress(node: Node | None) -> str:
    """Return how many tiles were screened of those captured since the boot, "-" while there is nothing to count."""
    manager = None if node is None else node.app(InferenceManager)
    return "-" if manager is None else f"{manager.counters.screened}/{manager.counters.captured}"


def cloud_accuracy(mask: NDArray[np.uint8], tile: Tile) -> float | None:
    """Return the share of pixels on which mask and truth agree about cloud or no cloud, None without a truth."""
    if tile.truth is None:
        return None
    return float(np.mean((mask == _CLOUD) == (tile.truth == _CLOUD)))
