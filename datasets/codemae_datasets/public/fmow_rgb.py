"""fMoW-RGB: places of 62 functions, seen several times, with a box around each.

Christie et al., "Functional Map of the World", CVPR 2018. Cross-Scale MAE is trained on it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from codemae_datasets.public._base import Card, Item, PublicDataset, Sample, Transform
from codemae_datasets.public.boxes import box_tensors
from codemae_geo.errors import InputError


class FMoWRGB(PublicDataset):
    """fMoW-RGB. By default ``image`` is cut to the place's box and ``label`` is its class, int64 [].

    Args:
        crop: cut to the box; False gives the whole image with ``bbox_xyxy`` [N, 4] and ``label`` [N].
        context: margin around the box, as a share of its longer side.
        multispectral: also the images made from multispectral ones (``_msrgb.jpg``).

    Other arguments and errors: :class:`PublicDataset`.
    """

    card: ClassVar[Card] = Card(
        name="fmow_rgb",
        title="fMoW-RGB",
        home="https://github.com/fMoW/dataset",
        licence="Functional Map of the World Challenge Public License",
        citation="Christie et al., CVPR 2018, arXiv:1711.07846",
        size="about 200 GB, images of very different sizes",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=None,
        splits={"train": 363_571, "val": 53_041},
        layout="{train,val}/<category>/<category>_<place>/<category>_<place>_<visit>_rgb.jpg with a .json beside it",
        source="README of fMoW/dataset (s3://spacenet-dataset/Hosted-Datasets/fmow/fmow-rgb); torchgeo's FMoW (0.11)",
        task="one of 62 categories, with a box",
        classes=(
            "airport",
            "airport_hangar",
            "airport_terminal",
            "amusement_park",
            "aquaculture",
            "archaeological_site",
            "barn",
            "border_checkpoint",
            "burial_site",
            "car_dealership",
            "construction_site",
            "crop_field",
            "dam",
            "debris_or_rubble",
            "educational_institution",
            "electric_substation",
            "factory_or_powerplant",
            "fire_station",
            "flooded_road",
            "fountain",
            "gas_station",
            "golf_course",
            "ground_transportation_station",
            "helipad",
            "hospital",
            "impoverished_settlement",
            "interchange",
            "lake_or_pond",
            "lighthouse",
            "military_facility",
            "multi-unit_residential",
            "nuclear_powerplant",
            "office_building",
            "oil_or_gas_facility",
            "park",
            "parking_lot_or_garage",
            "place_of_worship",
            "police_station",
            "port",
            "prison",
            "race_track",
            "railway_bridge",
            "recreational_facility",
            "road_bridge",
            "runway",
            "shipyard",
            "shopping_mall",
            "single-unit_residential",
            "smokestack",
            "solar_farm",
            "space_facility",
            "stadium",
            "storage_tank",
            "surface_mine",
            "swimming_pool",
            "toll_booth",
            "tower",
            "tunnel_opening",
            "waste_disposal",
            "water_treatment_facility",
            "wind_farm",
            "zoo",
        ),
    )

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        crop: bool = True,
        context: float = 0.25,
        multispectral: bool = False,
    ) -> None:
        self.crop = crop
        self.context = context
        self.multispectral = multispectral
        super().__init__(root, split, bands, transforms, download, checksum)

    def _index(self) -> list[Item]:
        folder = self._need(self.root / self.split)
        ends = ("_rgb.jpg", "_msrgb.jpg") if self.multispectral else ("_rgb.jpg",)
        return [
            Item(path.stem, {"image": path, "boxes": path.with_suffix(".json")}, label)
            for label, name in enumerate(self.classes)
            for path in sorted((folder / name).glob("*/*.jpg"))
            if path.name.endswith(ends)
        ]

    def _load(self, item: Item) -> Sample:
        image = self._channels(item.files["image"], self.all_bands, self.bands)
        boxes, names = _read_boxes(item.files["boxes"])
        if not self.crop:
            tensor, label = box_tensors(boxes, names, self.classes, item.files["boxes"])
            return {"image": image, "bbox_xyxy": tensor, "label": label}
        left, top, right, bottom = boxes[0]
        margin = self.context * max(right - left, bottom - top)
        rows = slice(max(0, int(top - margin)), max(1, int(bottom + margin + 0.5)))
        columns = slice(max(0, int(left - margin)), max(1, int(right + margin + 0.5)))
        cut = image[:, rows, columns].contiguous()
        if not cut.numel():
            raise InputError(
                f"the box in {item.files['boxes']} lies outside its image",
                found=f"{boxes[0]} in {image.shape[2]} x {image.shape[1]} pixels",
                hint="fetch both again",
            )
        return {"image": cut, "label": torch.tensor(item.label)}


def _read_boxes(path: Path) -> tuple[list[list[float]], list[str]]:
    """(x0, y0, x1, y1) and category of each box of a ``.json``."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))["bounding_boxes"]
        boxes = [[x, y, x + width, y + height] for x, y, width, height in (note["box"] for note in notes)]
        names = [note["category"] for note in notes]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the annotation {path} cannot be read", found=f"{type(error).__name__}: {error}", hint="fetch it again"
        ) from error
    if not boxes:
        raise InputError(f"the annotation {path} holds no box", hint="fetch it again")
    return boxes, names
