"""A finished class raster onto building footprints: the table of a damage run, without the run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from codemae_geo import __version__
from codemae_geo.errors import OutputError
from codemae_geo.progress import Reporter
from codemae_geo.raster.classified import Classes, read_classes
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.source import unreadable
from codemae_geo.vector.buildings import aggregate_buildings, warn_if_elsewhere
from codemae_geo.vector.footprints import read_footprints

#: tags of a class raster that the table made of it inherits
INHERITED = ("MODEL", "MODEL_SHA256", "MODEL_LICENCE", "INPUTS")


@dataclass(frozen=True)
class TableResult:
    """A finished table.

    Args:
        path: the GeoPackage.
        summary: counts, and what they were made from.
    """

    path: Path
    summary: dict[str, Any]


def map_buildings(
    raster: str | Path,
    footprints: str | Path,
    out: str | Path,
    *,
    confidence: str | Path | None = None,
    classes: Classes | None = None,
    footprints_crs: str | None = None,
    min_share: float = 0.1,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> TableResult:
    """Give every footprint the class, shares, confidence and status that a class raster holds for it.

    The table is the one that :func:`codemae_geo.map_damage` writes with the same footprints, see
    :func:`codemae_geo.vector.buildings.aggregate_buildings` for its columns and rules.

    Args:
        raster: class raster, in any CRS.
        footprints: building polygons in any CRS.
        out: GeoPackage to write; its layer is ``buildings``.
        confidence: confidence raster on the same grid.
        classes: what the values mean, where the raster does not say, see
            :func:`codemae_geo.raster.classified.read_classes`.
        footprints_crs: CRS of a footprint file that has none.
        min_share: share of the analysed area that the classes other than background must reach together.
        overwrite: replace an existing file.
        reporter: told stages and warnings.

    Raises:
        InputError: a file that cannot be read or used, rasters on different grids, values without a name.
        OutputError: the file exists, is an input, or the disk is full.
    """
    reporter = reporter or Reporter()
    raster, out = Path(raster), Path(out)
    sure = None if confidence is None else Path(confidence)
    with gdal_env():
        with reporter.stage("check"):
            _protect(out, raster, sure, Path(str(footprints).split("|")[0]))
            table = read_classes(raster, classes)
            inherited = _read_tags(raster, sure)
            with rasterio.open(raster) as source:
                around = GeoBox((source.height, source.width), source.transform, source.crs) if source.crs else None
            frame = read_footprints(footprints, src_crs=footprints_crs, around=around)
        tags = {
            **inherited,
            "SOFTWARE": f"codemae-geo {__version__}",
            "RASTER": raster.name,
            "FOOTPRINTS": Path(str(footprints).split("|")[0]).name,
            "PARAMETERS": json.dumps({"min_share": min_share}),
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with reporter.stage("buildings", len(frame)):
            found = aggregate_buildings(
                frame, raster, sure, table, out=out, min_share=min_share, tags=tags, overwrite=overwrite
            )
    warn_if_elsewhere(found, reporter)
    summary = {
        "task": "buildings",
        "created": tags["DATE"],
        "raster": str(raster),
        "confidence": None if sure is None else str(sure),
        "footprints": str(footprints),
        "model": inherited.get("MODEL"),
        "min_share": min_share,
        "classes": table.as_list(),
        "buildings": asdict(found),
        "warnings": reporter.warnings,
    }
    return TableResult(out.absolute(), summary)


def _protect(out: Path, *inputs: Path | None) -> None:
    if out.suffix.lower() != ".gpkg":
        raise OutputError(f"the output {out} does not end in .gpkg", expected="a name that ends in .gpkg")
    for path in filter(None, inputs):
        if path.exists() and path.resolve() == out.resolve():
            raise OutputError(f"the output {out} is one of the inputs", hint="write to another file")


def _read_tags(raster: Path, confidence: Path | None) -> dict[str, str]:
    """Tags to inherit; checks on the way that the confidence raster can be opened."""
    for path in (confidence, raster):
        if path is None:
            continue
        try:
            with rasterio.open(path) as source:
                tags = source.tags()
        except RasterioError as error:
            raise unreadable(str(path), error) from error
    return {name: tags[name] for name in INHERITED if name in tags}
