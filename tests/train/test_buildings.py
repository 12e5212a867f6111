"""The detector of buildings: what its script makes of labels."""

from __future__ import annotations

import buildings
import numpy as np


def test_houses_that_touch_by_a_bridge_are_told_apart() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 10:30] = mask[10:30, 45:70] = True
    mask[18:22, 30:45] = True  # a drive between them
    mask[50:54, 5:70] = True  # a fence
    boxes = buildings.separate(mask)
    assert sorted(map(tuple, boxes.astype(int).tolist())) == [(10, 10, 30, 30), (45, 10, 70, 30)]
