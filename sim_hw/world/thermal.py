"""Heat: a board on a radiator that looks at the Earth; two nodes, radiation to the fourth power.

    C_b T_b' = P_b + G (T_r - T_b)
    C_r T_r' = P_r + G (T_b - T_r) + Q_env - e A s T_r^4

Temperatures in kelvin inside and degrees Celsius outside, powers in watts. Callers may rely on this: any step is
stable, and the result of a step depends on nothing but the state and the arguments.
"""

# Method. Each substep linearises the radiation at the radiator's present temperature and takes the exact step of the
# linear pair (exponential Rosenbrock-Euler; Hochbruck and Ostermann, Acta Numerica 19 (2010), 2.4). The linear pair
# always decays, so no step can oscillate or grow, whatever heat goes in. An explicit step,
# Euler's or Runge and Kutta's, would have to stay short against the 130 s of the radiator (200 J/K over 1.54 W/K), or
# against less if the mission file makes it lighter.
#
# Accuracy. The term that is dropped, 6 e A s T^2 dT^2, is 2.6 mW with the defaults if the radiator changes by 1 K: an
# error of 0.13 mK over a substep of 10 s.
#
# Left out: the temperature within the board, heat that the battery and the array give off, the panels that do not look
# at the Earth, and the change of the Earth's own radiation along the orbit. A board's measured curve would replace the
# two capacities and the conductance; the equations stay.

from __future__ import annotations

import math
from dataclasses import dataclass

from flight.core.config import key
from hal.base import HalError

STEFAN_BOLTZMANN_W_M2_K4 = 5.670_374_419e-8  # exact by the 2019 SI, CODATA 2022
ZERO_C_K = 273.15
NODES = ("board", "radiator")
_SUBSTEP_S = 10.0  # see Accuracy above; the world moves by one second, so that only tests ask for more


@dataclass(frozen=True, slots=True)
class ThermalConfig:
    """Two nodes that together behave like a planning model of one node.

    That model has C = 900 J/K, G = 0.35 W/K and a sink of +12 C in Sun and -18 C in eclipse. Derivation: the capacities
    add to 900 J/K (1 kg of aluminium, 900 J/kg K). The conductance to space is two in series, 1/0.35 = 1/1.0 + 1/0.538,
    and 0.538 W/K = 4 e A s T^3 at 293 K asks for e A = 0.0944 m2: 0.107 m2 of white paint with e = 0.88 (Gilmore,
    Spacecraft Thermal Control Handbook, vol. 1, appendix A). The sinks are kept as radiation temperatures: -18 C = 255
    K is the Earth's own effective temperature (240 W/m2), +12 C adds 134 W/m2 absorbed from albedo and grazing Sun.
    Radiation being weaker in the cold, the board settles up to 5 K warmer in eclipse than the linear model says, and 6
    K cooler with 25 W in Sun.

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
        """Return the temperature of `board` or `radiator`; raises HalError for another name."""
        self._known(node)
        return (self._board_k if node == "board" else self._radiator_k) - ZERO_C_K

    def highest_c(self, node: str) -> float:
        """Return the highest temperature at the end of any step so far; raises HalError as `temperature_c`."""
        self._known(node)
        return self._highest_k[node] - ZERO_C_K

    def _known(self, node: str) -> None:
        if node not in NODES:
            raise HalError(f"unknown temperature sensor {node!r}, known: {', '.join(NODES)}")

    def environment_w(self, sun_frac: float) -> float:
        """Return the heat in watts that the radiator takes in from Earth and Sun."""
        return self._eclipse_w + (self._sun_w - self._eclipse_w) * sun_frac

    def advance(self, dt_s: float, sun_frac: float, board_w: float, radiator_w: float) -> None:
        """Let `dt_s` seconds pass with constant heat into each node. Stable for any `dt_s`.

        `sun_frac` is the share of the Sun's disc in sight, 0 .. 1.
        """
        assert dt_s >= 0.0, dt_s
        assert 0.0 <= sun_frac <= 1.0, sun_frac
        if dt_s == 0.0:
            return
        # Equal substeps: the last one would otherwise be of any length, and the sums would depend on how dt_s falls.
        steps = math.ceil(dt_s / _SUBSTEP_S)
        into_w = radiator_w + self.environment_w(sun_frac)
        for _ in range(steps):
            self._step(dt_s / steps, board_w, into_w)
        self._highest_k["board"] = max(self._highest_k["board"], self._board_k)
        self._highest_k["radiator"] = max(self._highest_k["radiator"], self._radiator_k)

    def _step(self, h_s: float, board_w: float, radiator_w: float) -> None:
        """Take one exponential Rosenbrock-Euler step: x += h phi1(h J) f(x)."""
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
    """Return h phi1(h z) = (e^(hz) - 1) / z."""
    # expm1 keeps the digits of a slow eigenvalue, for which e^(hz) is nearly 1.
    return math.expm1(eigenvalue * h_s) / eigenvalue if eigenvalue else h_s
