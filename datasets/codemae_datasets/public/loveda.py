"""LoveDA: land cover of three Chinese cities, urban and rural scenes.

Wang et al., "LoveDA: A Remote Sensing Land-Cover Dataset for Domain Adaptive Semantic Segmentation", NeurIPS 2021
Datasets and Benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from codemae_datasets.public._base import Archive, Card, Item, PublicDataset, Transform, some_of

_URL = "https://zenodo.org/records/5706578/files"


class LoveDA(PublicDataset):
    """LoveDA. The file's 1 to 7 become the classes 0 to 6, its 0 (no data) becomes 255; ``test`` has no masks.

    Args:
        scene: ``urban``, ``rural`` or both.

    Other arguments and errors: :class:`PublicDataset`.
    """

    card: ClassVar[Card] = Card(
        name="loveda",
        title="LoveDA",
        home="https://zenodo.org/records/5706578",
        licence="CC BY-NC-SA 4.0",
        citation="Wang et al., NeurIPS 2021 Datasets and Benchmarks, arXiv:2110.08733",
        size="5,987 images of 1024 x 1024 pixels",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.3, 0.3),
        splits={"train": 2_522, "val": 1_669, "test": 1_796},
        layout="{Train,Val,Test}/{Urban,Rural}/{images_png,masks_png}/<n>.png",
        source="torchgeo's LoveDA",
        task="land cover, 7 classes",
        classes=("background", "building", "road", "water", "barren", "forest", "agriculture"),
        archives=(
            Archive("Train.zip", url=f"{_URL}/Train.zip?download=1", checksum="md5:de2b196043ed9b4af1690b3f9a7d558f"),
            Archive("Val.zip", url=f"{_URL}/Val.zip?download=1", checksum="md5:84cae2577468ff0b5386758bb386d31d"),
            Archive("Test.zip", url=f"{_URL}/Test.zip?download=1", checksum="md5:a489be0090465e01fb067795d24e6b47"),
        ),
    )
    mask_codes: ClassVar[dict[int, int]] = {0: 255} | {code: code - 1 for code in range(1, 8)}

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        scene: Sequence[str] = ("urban", "rural"),
    ) -> None:
        self.scene = some_of("scene", scene, ("urban", "rural"), self)
        super().__init__(root, split, bands, transforms, download, checksum)

    def _index(self) -> list[Item]:
        items = []
        for scene in self.scene:
            folder = self.root / self.split.capitalize() / scene.capitalize()
            for path in self._folder(folder / "images_png", (".png",)):
                files = {"image": path}
                if self.split != "test":
                    files["mask"] = folder / "masks_png" / path.name
                items.append(Item(f"{scene}/{path.stem}", files))
        return items
