"""Datasets of colour images with a depth image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codemae_datasets.public._base import Item, PublicDataset, Sample, Transform, one_of, read_image, to_classes
from codemae_datasets.public.hha import Array, encode_hha

Depth = Literal["hha", "metres", "both", "none"]


class DepthDataset(PublicDataset):
    """A public dataset of colour images with depth. ``mask`` counts the classes from 0, unlabelled pixels are 255.

    Args:
        depth: ``hha`` adds ``hha`` float32 [3, H, W], 0 to 255 (disparity, height, angle, see
            :func:`~codemae_datasets.public.hha.encode_hha`), from a file where :meth:`save_hha` has left
            one, or else computed, which takes a third of a second for 640 x 480 pixels; ``metres`` adds ``depth``
            float32 [1, H, W], 0 where there is none; ``both``; or ``none``.

    Other arguments and errors: :class:`PublicDataset`.
    """

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        depth: Depth = "hha",
    ) -> None:
        self.depth = one_of("depth", depth, get_args(Depth), self)
        super().__init__(root, split, bands, transforms, download, checksum)

    def _read(self, item: Item) -> tuple[Tensor, Array, Array]:
        """Colour image float32 [3, H, W], depth [H, W] in metres, label numbers int64 [H, W] with 0 for none."""
        raise NotImplementedError

    def _intrinsics(self, item: Item) -> Array:
        """[3, 3] of the depth image, pixel centres at whole numbers from 0."""
        raise NotImplementedError

    def _hha_path(self, item: Item) -> Path:
        """Where the HHA image of an item lies, if there is one."""
        raise NotImplementedError

    def _load(self, item: Item) -> Sample:
        image, depth, labels = self._read(item)
        sample = {"image": image[[self.all_bands.index(band) for band in self.bands]]}
        if self.depth in ("metres", "both"):
            sample["depth"] = torch.from_numpy(depth.astype(np.float32))[None]
        if self.depth in ("hha", "both"):
            path = self._hha_path(item)
            sample["hha"] = read_image(path) if path.is_file() else torch.from_numpy(self._hha(item, depth)).float()
        codes = {0: 255} | {code: code - 1 for code in range(1, len(self.classes) + 1)}
        sample["mask"] = torch.from_numpy(to_classes(labels, codes, item.files["mask"]))
        return sample

    def _hha(self, item: Item, depth: Array) -> Array:
        return encode_hha(depth, self._intrinsics(item))

    def save_hha(self) -> int:
        """Write the HHA image of every item that has none, as PNG (red disparity, green height, blue angle).

        Returns:
            how many were written.
        """
        written = 0
        for item in self.items:
            path = self._hha_path(item)
            if path.is_file():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".part")
            Image.fromarray(self._hha(item, self._read(item)[1]).transpose(1, 2, 0)).save(partial, format="PNG")
            partial.replace(path)
            written += 1
        return written
