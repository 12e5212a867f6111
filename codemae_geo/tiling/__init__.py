"""The pure core of sliding windows: where they lie, how they blend, how finished rows leave. Numpy only.

Convention: pixels are counted from 0 at the top left; a window covers rows ``row .. row + height`` (end excluded) and
columns ``col .. col + width``. Arrays are ``[channel, row, column]``.
"""

from codemae_geo.tiling.accumulate import RollingAccumulator
from codemae_geo.tiling.plan import BLENDS, Blend, TilePlan, axis_cores, axis_starts, axis_weights, plan_tiles

__all__ = [
    "BLENDS",
    "Blend",
    "RollingAccumulator",
    "TilePlan",
    "axis_cores",
    "axis_starts",
    "axis_weights",
    "plan_tiles",
]
