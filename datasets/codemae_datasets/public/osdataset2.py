"""OSdataset 2.0: GaoFen-3 spotlight images registered to Google Earth.

Xiang et al., "Automatic registration of optical and SAR images via improved phase congruency model", IEEE JSTARS 13,
2020, is the paper of the first version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from codemae_datasets.public._base import Card, Item, Modality, PairedDataset, Transform, one_of


class OSdataset2(PairedDataset):
    """The patch-level subset.

    Args:
        size: side of the patches, 512 or 256 pixels.

    Other arguments and errors: :class:`~codemae_datasets.public._base.PairedDataset`.
    """

    card: ClassVar[Card] = Card(
        name="osdataset2",
        title="OSdataset 2.0",
        home="https://github.com/xym2009/OSdataset",
        licence="CC BY-NC (stated for the first version); research only",
        citation="Xiang et al., IEEE JSTARS 13, 5847-5861, 2020",
        size="pairs of 512 x 512 and 256 x 256 pixels (first version: 2,673 and 10,692); 15,212 in OSPretrain-1M",
        modality="optical (Google Earth) + SAR (GaoFen-3)",
        bands="RGB or grey, and one SAR band, 8 bits",
        gsd_m=(1.0, 1.0),
        splits={"train": None, "val": None, "test": None},
        layout="Patch-level Subset/OSdataset/{512,256}/{train,val,test}/{opt,sar}<n>.png",
        source="folder and file names as read by public matching code for OSdataset 2.0",
    )
    ospretrain = "osdataset"

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        modality: Modality = "both",
        size: Literal[512, 256] = 512,
    ) -> None:
        self.size = int(one_of("patch size", str(size), ("512", "256"), self))
        super().__init__(root, split, bands, transforms, download, checksum, modality)

    def _index(self) -> list[Item]:
        below = Path("OSdataset", str(self.size), self.split)
        folder = self._first(self.root / "Patch-level Subset" / below, self.root / below)
        images = self._folder(folder)
        prefixes = {"image": "opt", "image_sar": "sar"}
        unused = {"optical": "image_sar", "sar": "image"}.get(self.modality)
        by_key = {
            key: {path.stem.removeprefix(prefix): path for path in images if path.stem.startswith(prefix)}
            for key, prefix in prefixes.items()
            if key != unused
        }
        return self._joined(by_key)
