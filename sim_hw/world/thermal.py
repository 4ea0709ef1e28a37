"""Heat: a board on a radiator that looks at the Earth; two nodes, radiation to the fourth power.

    C_b T_b' = P_b + G (T_r - T_b)
    C_r T_r' = P_r + G (T_b - T_r) + Q_env - e A s T_r^4

Each substep linearises the radiation at the radiator's present temperature and takes the exact step of the
linear pair (exponential Rosenbrock-Euler; Hochbruck and Ostermann, Acta Numerica 19 (2010), 2.4). The
linear pair always decays, so any step is stable. Error of a substep: the dropped term 6 e A s T^2 dT^2
with the defaults is 2.6 mW for a change of 1 K in the radiator, 0.13 mK over 10 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flight.core.config import key
from hal.base import HalError

STEFAN_BOLTZMANN_W_M2_K4 = 5.670_374_419e-8  # exact by the 2019 SI, CODATA 2022
ZERO_C_K = 273.15
NODES = ("board", "radiator")
_SUBSTEP_S = 10.0


@dataclass(frozen=True, slots=True)
class ThermalConfig:
    """Two nodes that together behave like the planning model of one node: C = 900 J/K, G = 0.35 W/K, sink
    +12 C in Sun and -18 C in eclipse.

    Derivation: the capacities add to 900 J/K (1 kg of aluminium, 900 J/kg K). The conductance to space is
    two in series, 1/0.35 = 1/1.0 + 1/0.538, and 0.538 W/K = 4 e A s T^3 at 293 K asks for e A = 0.0944 m2:
    0.107 m2 of white paint with e = 0.88 (Gilmore, Spacecraft Thermal Control Handbook, vol. 1, appendix A).
    The sinks are kept as radiation temperatures: -18 C = 255 K is the Earth's own effective temperature
    (240 W/m2), +12 C adds 134 W/m2 absorbed from albedo and grazing Sun. Radiation being weaker in the cold, the
    board settles up to 5 K warmer in eclipse than the linear model says, and 6 K cooler with 25 W in Sun.
    The payload and the heater warm the board. A quarter of the base load is the node's own processor on the
    board, the rest is the host elsewhere. The radio's amplifier sits on the radiator and sends a quarter of
    its power into the antenna.
    """

    board_j_k: float = key(700.0, minimum=1.0, maximum=1e6, text="heat capacity of the board")
    radiator_j_k: float = key(200.0, minimum=1.0, maximum=1e6, text="heat capacity of the radiator")
    conductance_w_k: float = key(1.0, minimum=1e-3, maximum=1e3, text="between board and radiator")
    radiator_m2: float = key(0.107, minimum=1e-4, maximum=100.0, text="radiating area")
    emissivity: float = key(0.88, minimum=0.01, maximum=1.0, text="emissivity of the radiator")
    sink_sun_c: float = key(12.0, minimum=-270.0, maximum=150.0, text="radiation temperature around it in Sun")
    sink_eclipse_c: float = key(-18.0, minimum=-270.0, maximum=150.0, text="the same in eclipse")
    board_start_c: float = key(22.0, minimum=-100.0, maximum=150.0, text="board at the start")
    radiator_start_c: float = key(16.0, minimum=-100.0, maximum=150.0, text="radiator at the start")
    base_board_frac: float = key(0.25, minimum=0.0, maximum=1.0, text="share of the base load that warms the board")
    payload_board_frac: float = key(1.0, minimum=0.0, maximum=1.0, text="share of the payload's power on the board")
    radio_radiator_frac: float = key(0.75, minimum=0.0, maximum=1.0, text="share of the radio's power on the radiator")


class ThermalSystem:
    """The temperatures of board and radiator, moved on by `advance`."""

    def __init__(self, config: ThermalConfig) -> None:
        self.config = config
        self._board_k = config.board_start_c + ZERO_C_K
        self._radiator_k = config.radiator_start_c + ZERO_C_K
        self._radiating = config.emissivity * config.radiator_m2 * STEFAN_BOLTZMANN_W_M2_K4
        self._sun_w = self._radiating * (config.sink_sun_c + ZERO_C_K) ** 4
        self._eclipse_w = self._radiating * (config.sink_eclipse_c + ZERO_C_K) ** 4
        self._highest_k = {"board": self._board_k, "radiator": self._radiator_k}

    def temperature_c(self, node: str) -> float:
        """Temperature of `board` or `radiator`; another name raises HalError."""
        self._known(node)
        return (self._board_k if node == "board" else self._radiator_k) - ZERO_C_K

    def highest_c(self, node: str) -> float:
        """The highest temperature at the end of any step so far."""
        self._known(node)
        return self._highest_k[node] - ZERO_C_K

    def _known(self, node: str) -> None:
        if node not in NODES:
            raise HalError(f"unknown temperature sensor {node!r}, have {', '.join(NODES)}")

    def environment_w(self, sun_frac: float) -> float:
        """Heat the radiator takes in from Earth and Sun."""
        return self._eclipse_w + (self._sun_w - self._eclipse_w) * sun_frac

    def advance(self, dt_s: float, sun_frac: float, board_w: float, radiator_w: float) -> None:
        """Let `dt_s` seconds pass with constant heat into each node. Stable for any `dt_s`."""
        assert dt_s >= 0.0, dt_s
        assert 0.0 <= sun_frac <= 1.0, sun_frac
        if dt_s == 0.0:
            return
        steps = math.ceil(dt_s / _SUBSTEP_S)
        into_w = radiator_w + self.environment_w(sun_frac)
        for _ in range(steps):
            self._step(dt_s / steps, board_w, into_w)
        self._highest_k["board"] = max(self._highest_k["board"], self._board_k)
        self._highest_k["radiator"] = max(self._highest_k["radiator"], self._radiator_k)

    def _step(self, h_s: float, board_w: float, radiator_w: float) -> None:
        """One exponential Rosenbrock-Euler step: x += h phi1(h J) f(x)."""
        config, board, radiator = self.config, self._board_k, self._radiator_k
        g, cube = config.conductance_w_k, self._radiating * radiator**3
        flow_w = g * (radiator - board)
        rate_b = (board_w + flow_w) / config.board_j_k
        rate_r = (radiator_w - flow_w - cube * radiator) / config.radiator_j_k
        # The Jacobian; its off-diagonals are positive, so both eigenvalues are real, and negative.
        a, b = -g / config.board_j_k, g / config.board_j_k
        c, d = g / config.radiator_j_k, -(g + 4.0 * cube) / config.radiator_j_k
        middle, spread = (a + d) / 2.0, math.sqrt(((a - d) / 2.0) ** 2 + b * c)
        slow, fast = middle + spread, middle - spread
        at_slow, at_fast = _phi1_s(slow, h_s), _phi1_s(fast, h_s)
        # phi1 of a 2 x 2 matrix by its values on both eigenvalues (Sylvester's formula).
        slope = (at_slow - at_fast) / (slow - fast)
        level = at_slow - slope * slow
        self._board_k = board + (level + slope * a) * rate_b + slope * b * rate_r
        self._radiator_k = radiator + slope * c * rate_b + (level + slope * d) * rate_r


def _phi1_s(eigenvalue: float, h_s: float) -> float:
    """h phi1(h z) = (e^(hz) - 1) / z."""
    return math.expm1(eigenvalue * h_s) / eigenvalue if eigenvalue else h_s
