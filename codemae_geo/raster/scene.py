"""A scene: all rasters of one date, known by their headers."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from codemae_geo.demo import SCENES
from codemae_geo.errors import InputError, param
from codemae_geo.raster.env import is_remote
from codemae_geo.raster.evidence import agreed
from codemae_geo.raster.fill import without_fill
from codemae_geo.raster.gcps import GcpMethod
from codemae_geo.raster.geo import (
    LATTICE_TOLERANCE,
    apply,
    center_lonlat,
    cover,
    crs_name,
    edge_pixels,
    ground_sample_distance,
    outline,
    shifted,
    transform_points,
    turned,
)
from codemae_geo.raster.source import SourceFile, read_header, sample_files
from codemae_geo.raster.stac import is_stac_item, open_item
from codemae_geo.sensors import UNITS, Array, Family, Mask, Unit, detect_unit

#: file name endings that are taken from a folder
RASTER_SUFFIXES = (
    ".tif",
    ".tiff",
    ".vrt",
    ".jp2",
    ".j2k",
    ".img",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".ntf",
    ".dat",
    ".bil",
)


@dataclass(frozen=True)
class Scene:
    """One date: one raster or a mosaic of many; where they overlap, the first valid pixel in their order wins.

    A plain value that holds headers only; :class:`codemae_geo.raster.read.AlignedReader` reads the pixels.

    Args:
        files: headers, in the order given.
        role: ``pre`` or ``post``, or any word; names the scene in messages.
        family: ``optical`` (three bands) or ``sar`` (one band).
        unit: what the stored values are.
        unit_reason: why, one sentence for the log.
    """

    files: tuple[SourceFile, ...]
    role: str
    family: Family
    unit: Unit
    unit_reason: str

    @classmethod
    def open(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        role: str = "pre",
        family: Family = "optical",
        bands: Sequence[int] | None = None,
        src_crs: str | None = None,
        nodata: float | None = None,
        unit: Unit | Literal["auto"] = "auto",
        assets: Sequence[str] | None = None,
        gcps: GcpMethod = "tps",
    ) -> Scene:
        """Read the headers of one date.

        Args:
            paths: rasters, folders, patterns with ``*``, VRTs, URLs (``https://``, ``s3://``, ``/vsicurl/``), STAC
                items; ``demo:pre``, ``demo:post`` and ``demo:post-sar`` are those of :mod:`codemae_geo.demo`.
            role: ``pre`` or ``post``.
            family: ``optical`` or ``sar``.
            bands: indexes of the bands to use, from 1; three for optical, one for SAR.
            src_crs: CRS for files without one.
            nodata: value without a measurement; overrides the headers.
            unit: ``auto`` recognises it; floating point files and radar in integers are then sampled, all
                others judged by their type.
            assets: asset names of STAC items.
            gcps: how the ground control points of files without a geotransform are used: a thin-plate spline or a
                polynomial of order 1 to 3.

        Raises:
            InputError: a file is missing, unreadable, truncated, without CRS, or has the wrong bands; or the files of
                the date do not agree in type.
        """
        names = [paths] if isinstance(paths, (str, Path)) else paths
        files: list[SourceFile] = []
        for path in expand_paths(names, role):
            item = open_item(path, family, assets) if is_stac_item(path) else None
            file = read_header(
                item.path if item else path,
                name=item.name if item else path,
                family=family,
                bands=bands,
                src_crs=src_crs,
                nodata=nodata,
                gcps=gcps,
                catalogue=item.scaling if item else (),
            )
            if item and item.doubt and not file.scaling:
                file = replace(file, warnings=(*file.warnings, ("offset", item.doubt)))
            files.append(file)
        _check_agreement(files, role)
        if nodata is None:
            files = list(without_fill(files))
        if unit == "auto":
            said = agreed([f.said for f in files]) if family == "sar" else ()
            judged = np.dtype(files[0].dtype).kind == "f" or (family == "sar" and np.dtype(files[0].dtype) != "uint8")
            sample, valid = sample_files(files, 512) if judged else (None, None)
            try:
                found, reason = detect_unit(family, files[0].dtype, sample, valid, said)
            except InputError as error:
                told = {**error.raw, "found": f"{role} scene, {error.raw['found']}"}
                raise InputError(told.pop("message") or "", **told, option="unit") from error
        elif unit in UNITS[family]:
            found, reason = unit, "as asked"
        else:
            raise InputError(
                f"the unit {unit!r} does not exist for {family} scenes", found=unit, expected=", ".join(UNITS[family])
            )
        return cls(tuple(files), role, family, found, reason)

    @cached_property
    def geobox(self) -> GeoBox:
        """The grid of all files together: CRS, resolution and lattice of the first file, extended by whole pixels."""
        lon, _ = center_lonlat(self.files[0].geobox)
        return union_grid([turned(f.geobox, lon) for f in self.files])

    @property
    def crs(self) -> Any:
        """CRS of the first file."""
        return self.geobox.crs

    @cached_property
    def gsd(self) -> float:
        """Ground sample distance in metres, measured on the ellipsoid in the middle of the first file."""
        return ground_sample_distance(self.files[0].geobox)

    @property
    def band_count(self) -> int:
        """Number of bands that a read returns: three for optical, one for SAR."""
        return len(self.files[0].bands)

    @property
    def dtype(self) -> str:
        """Type of the values (of the first file)."""
        return self.files[0].dtype

    @property
    def names(self) -> list[str]:
        """What a person calls the files."""
        return [f.name for f in self.files]

    def footprint(self, crs: Any = None) -> Any:
        """Union of the extents of the files as shapely geometry in ``crs`` (the scene's own without one).

        Extents are those of the rasters; nodata inside them is not seen.
        """
        return shapely.union_all([outline(f.geobox, self.crs if crs is None else crs) for f in self.files])

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """(code, message) of what a user should know about the files, each once, with the files that it is about."""
        found: dict[tuple[str, str], list[str]] = {}
        for file in self.files:
            for warning in file.warnings:
                found.setdefault(warning, []).append(Path(file.name).name)
        return [
            (code, f"{self.role}: {text} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})")
            for (code, text), names in found.items()
        ]

    @property
    def gcps(self) -> dict[str, Any] | None:
        """How the worst of the files meets its ground control points, for JSON; None where no file has only such."""
        fits = [f.gcps for f in self.files if f.gcps]
        return asdict(max(fits, key=lambda fit: fit.doubt_px)) if fits else None

    def sample(self, size: int = 1024) -> tuple[Array, Mask]:
        """Patches at full resolution spread over all files, for statistics: see :func:`sample_files`."""
        return sample_files(self.files, size)

    def describe(self) -> str:
        """One line for the log."""
        rows, cols = self.geobox.shape.yx
        notes = {note for f in self.files for note in f.notes}
        parts = [
            f"{self.role}: {len(self.files)} file(s)", crs_name(self.crs), f"{cols} x {rows}", f"{self.gsd:.3g} m",
            f"{self.family} {self.dtype}", f"unit {self.unit} ({self.unit_reason})", *sorted(notes),
        ]  # fmt: skip
        return ", ".join(parts)


def union_grid(grids: Sequence[GeoBox]) -> GeoBox:
    """The smallest grid on the first grid's lattice that covers all grids.

    A corner that a grid of the same lattice gives is taken over bit by bit, since recomputing it from the first grid
    would move it by a rounding error.
    """
    first = grids[0]
    spans = []
    for grid in grids:
        x, y = apply(grid.affine, *edge_pixels(*grid.shape.yx, n=2 if grid.crs == first.crs else 33))
        span = cover(first, *transform_points(x, y, grid.crs, first.crs))
        if span is not None:
            spans.append(span)
    row0, row1 = min(s[0] for s in spans), max(s[1] for s in spans)
    col0, col1 = min(s[2] for s in spans), max(s[3] for s in spans)
    union = shifted(first, row0, row1, col0, col1)
    a = union.affine
    if a.b == a.d == 0:
        near = [g.affine for g in grids if g.crs == first.crs and g.affine.b == g.affine.d == 0]
        tol = LATTICE_TOLERANCE
        x0 = next((g.c for g in near if abs(g.c - a.c) <= tol * abs(a.a)), a.c)
        y0 = next((g.f for g in near if abs(g.f - a.f) <= tol * abs(a.e)), a.f)
        union = GeoBox(union.shape, type(a)(a.a, a.b, x0, a.d, a.e, y0), union.crs)
    return union


def is_scene_name(path: Path) -> bool:
    """Whether a file of a folder is taken for a raster: by its ending, if it is not hidden as ``._a.tif`` is."""
    return path.suffix.lower() in RASTER_SUFFIXES and not path.name.startswith(".")


def expand_paths(paths: Iterable[str | Path], role: str) -> list[str]:
    """Folders, patterns and names of the demo scene become the rasters they stand for, sorted; everything else stays.

    Raises:
        InputError: nothing was found.
    """
    found: list[str] = []
    for path in map(str, paths):
        if path.startswith("demo:"):
            found.append(_demo_scene(path))
        elif is_remote(path) or path.startswith(("/vsi", "<")):
            found.append(path)
        elif Path(path).is_dir():
            inside = sorted(str(p) for p in Path(path).iterdir() if is_scene_name(p))
            if not inside:
                raise InputError(
                    f"the folder {path} holds no raster", expected=f"files ending in {', '.join(RASTER_SUFFIXES)}"
                )
            found += inside
        elif any(c in path for c in "*?[") and not Path(path).exists():
            inside = sorted(p for p in glob.glob(path, recursive=True) if Path(p).is_file())  # noqa: PTH207 absolute patterns too
            if not inside:
                raise InputError(f"no file matches {path}", found="nothing", expected="at least one raster")
            found += inside
        else:
            found.append(path)
    if not found:
        raise InputError(
            f"the {role} scene names no file", expected="at least one raster", hint=f"give it with {param(role)}"
        )
    return list(dict.fromkeys(found))


def _demo_scene(name: str) -> str:
    if name not in SCENES:
        raise InputError(f"the demo has no scene {name}", expected=", ".join(SCENES))
    if not SCENES[name].exists():
        raise InputError(
            f"the scene {name} is not part of this installation",
            expected="a checkout of the repository, which has it in codemae_geo/data/joplin",
        )
    return str(SCENES[name])


def _check_agreement(files: Sequence[SourceFile], role: str) -> None:
    first = files[0]
    for file in files[1:]:
        for what, a, b in (
            ("types", first.dtype_family, file.dtype_family),
            ("band counts", len(first.bands), len(file.bands)),
        ):
            if a != b:
                raise InputError(
                    f"the files of the {role} scene have different {what}", found=f"{file.name}: {b}",
                    expected=f"{a}, as in {first.name}", hint="convert them to one type, or run the groups one by one",
                )  # fmt: skip
