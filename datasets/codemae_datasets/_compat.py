"""What differs between torchgeo 0.8 and 0.10, in one place."""

from __future__ import annotations

from typing import Any

from codemae_geo.errors import InputError

try:
    from torchgeo.datasets import DatasetNotFoundError, GeoDataset, IntersectionDataset, RasterDataset
except ImportError as error:  # torchgeo itself, or something that it imports without declaring it
    raise InputError(
        "GeoTIFF scenes need torchgeo, which cannot be imported.",
        found=str(error),
        hint="install the training extra: pip install 'codemae-geo[train]' requests",
    ) from error

__all__ = ["DatasetNotFoundError", "GeoDataset", "IntersectionDataset", "RasterDataset", "footprints", "geo_query"]


def footprints(dataset: GeoDataset) -> list[tuple[float, float, float, float]]:
    """(left, bottom, right, top) in CRS units of every entry of the dataset's index, in a fixed order."""
    return sorted(tuple(geometry.bounds) for geometry in dataset.index.geometry)


def geo_query(dataset: GeoDataset, left: float, bottom: float, right: float, top: float) -> Any:
    """What the dataset is indexed with to get that rectangle at all times."""
    time = dataset.bounds[2]
    return slice(left, right), slice(bottom, top), slice(time.start, time.stop)
