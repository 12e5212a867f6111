"""Is this pair of scenes usable? Everything that can be known before a run, with reasons, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from codemae_geo.errors import InputError, Speak, as_keyword, render
from codemae_geo.inference.job import warn_of_fill
from codemae_geo.inference.request import SceneLike, SceneRequest, as_request
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import Overlap, crop, overlap, same_scene, target_grid
from codemae_geo.raster.dates import Taken, date_taken
from codemae_geo.raster.datum import scene_shift
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import crs_name, shifted, transform_points
from codemae_geo.raster.inspect import inspect
from codemae_geo.raster.mask import GeometryMask
from codemae_geo.raster.offset import estimate_offset
from codemae_geo.raster.read import AlignedReader, Pixels
from codemae_geo.raster.scene import Scene, expand_paths
from codemae_geo.sensors import Family, Mask
from codemae_geo.weights import ModelContract, read_contract, resolve
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL

Verdict = Literal["usable", "usable with care", "not usable"]
#: ``stop`` makes a pair unusable, ``care`` usable with care, ``note`` is for information
Severity = Literal["note", "care", "stop"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)

#: side of a patch, and patches along each side of the common ground
PATCH, PATCHES = 128, 5
#: share of the pre scene that the post scene should cover, and of the common ground that both should measure
ENOUGH = 0.5
#: pixels of one scene may be this many times the other's before much of the finer one is lost
MAX_RATIO = 4.0
#: an offset above this many pixels shows in the map
MAX_OFFSET_PX = 2.0


@dataclass
class PairReport:
    """What is known of a pair.

    Args:
        verdict: ``usable``, ``usable with care`` or ``not usable``: the worst of the reasons.
        reasons: ``code``, ``severity`` (note, care, stop) and ``message`` of each finding.
        scenes: ``pre`` and ``post``: files, crs, width, height, gsd_m, dtype, family, family_reason, unit, unit_reason,
            sensor, nodata_share (of the common ground; None where unknown), date, date_reason.
        overlap: area_m2, share_of_pre, share_of_post, analysable (share of the common ground that both measure).
        offset: see :class:`codemae_geo.raster.offset.OffsetEstimate`; None where nothing could be compared.
        model: name and the families it takes; None when none was found to fit.
    """

    verdict: Verdict = "usable"
    reasons: list[dict[str, str]] = field(default_factory=list)
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    overlap: dict[str, float] | None = None
    offset: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    #: how messages spell parameters
    speak: InitVar[Speak] = as_keyword

    def __post_init__(self, speak: Speak) -> None:
        self._speak = speak

    def add(self, severity: Severity, code: str, message: str) -> None:
        """Take a finding into the verdict."""
        self.reasons.append({"code": code, "severity": severity, "message": render(message, self._speak)})
        worst = max(_SEVERITIES.index(r["severity"]) for r in self.reasons)
        self.verdict = VERDICTS[worst]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"task": "checkpair", **asdict(self)}

    def add_error(self, code: str, error: InputError) -> None:
        """Take what keeps a run from being made into the verdict."""
        self.add("stop", code, error.text(self._speak).replace("\n", " "))


class _Findings(Reporter):
    """Takes warnings of the run's own checks over into a report."""

    def __init__(self, report: PairReport) -> None:
        super().__init__()
        self._report = report
        self.speak = report._speak

    def on_warning(self, code: str, message: str) -> None:
        self._report.add("care", code, message)


def check_pair(
    pre: SceneLike,
    post: SceneLike,
    *,
    post_sensor: Literal["optical", "sar"] | None = None,
    model: str | Path | None = None,
    reporter: Reporter | None = None,
) -> PairReport:
    """Check whether two scenes can be made into a damage map, reading headers and some patches.

    Args:
        pre: the scene before.
        post: the scene after.
        post_sensor: what the post scene is; None guesses it.
        model: the model that is to be used; None is the bundled one, as far as it fits.
        reporter: told stages.

    Returns:
        The findings. A pair that cannot be used is an answer, not an error.

    Raises:
        InputError: a file is missing or cannot be read.
        ModelError: the model cannot be read.
    """
    reporter = reporter or Reporter()
    report = PairReport(speak=reporter.speak)
    requests = {"pre": as_request(pre), "post": as_request(post)}
    with gdal_env():
        with reporter.stage("check"):
            families = {role: _look(role, r, report) for role, r in requests.items()}
            _check_dates(report)
            contract = _fit_model(report, families, post_sensor, model)
            scenes = _open(report, requests, {**families, "post": post_sensor or families["post"]})
        if len(scenes) == 2:
            _compare(report, scenes["pre"], scenes["post"], requests, contract, reporter)
    return report


def _look(role: str, request: SceneRequest, report: PairReport) -> Family:
    """Note what the files of a scene seem to be; the family they seem to be of."""
    paths = [request.paths] if isinstance(request.paths, (str, Path)) else request.paths
    files = expand_paths(paths, role)
    taken = _span([date_taken(f) for f in files])
    facts = inspect(files[0], request.gcps)
    guess = facts.get("guess", {"family": "optical", "family_reason": "a STAC item", "unit": None, "unit_reason": ""})
    report.scenes[role] = {
        "files": files,
        "crs": facts.get("crs"),
        "width": facts.get("width"),
        "height": facts.get("height"),
        "gsd_m": facts.get("gsd_m"),
        "dtype": facts["bands"][0]["dtype"] if "bands" in facts else None,
        "bands": len(facts.get("bands", ())),
        **guess,
        "nodata_share": None,
        "date": taken.day,
        "date_reason": taken.reason,
    }
    return guess["family"]


def _span(dates: Sequence[Taken]) -> Taken:
    """The latest day of a scene's files."""
    known = [t for t in dates if t.day]
    return max(known, key=lambda t: str(t.day)) if known else dates[0]


def _check_dates(report: PairReport) -> None:
    before, after = report.scenes["pre"]["date"], report.scenes["post"]["date"]
    if before and after and after < before:
        report.add(
            "care", "dates", f"the post scene ({after}) is older than the pre scene ({before}): are they swapped?"
        )
    elif before and after and before == after:
        report.add("care", "dates", f"both scenes are of one day ({before}): is the event between them?")


def _fit_model(
    report: PairReport, families: dict[str, Family], post_sensor: Family | None, model: str | Path | None
) -> ModelContract | None:
    """The contract of the model to use, if it fits the sensors; otherwise a finding says what does not."""
    contract = read_contract(resolve(model or DEFAULT_DAMAGE_MODEL))
    if contract.task != "damage":
        report.add("stop", "model", f"the model {contract.name} is for {contract.task}, not for damage")
        return None
    takes: dict[str, Family] = {spec.name: spec.family for spec in contract.inputs}
    wanted: dict[str, Family] = {"pre": families["pre"], "post": post_sensor or families["post"]}
    if post_sensor is not None and families["post"] != post_sensor:
        scene = report.scenes["post"]
        why = f"{scene['family']} ({scene['family_reason']})"
        report.add("care", "sensor", f"the post scene is said to be {post_sensor} and looks {why}")
    report.model = {"name": contract.name, **takes}
    for role, family in wanted.items():
        if family == takes[role]:
            continue
        reason = report.scenes[role]["family_reason"]
        said = f"the {role} scene is {family} ({'as said' if role == 'post' and post_sensor else reason})"
        if role == "post" and model is None:
            report.add("care", "model", f"{said}: the bundled model takes {takes[role]}: name one that takes it")
            report.model = None
            return None
        report.add("stop", "sensor", f"{said}, and the model {contract.name} takes {takes[role]}")
    return contract


def _open(report: PairReport, requests: dict[str, SceneRequest], families: dict[str, Family]) -> dict[str, Scene]:
    """The scenes as a run would open them; what keeps it from that is a finding."""
    scenes = {}
    for role, request in requests.items():
        try:
            scenes[role] = scene = request.open_as(role, families[role])
        except InputError as error:
            report.add_error("scene", error)
            continue
        rows, cols = scene.geobox.shape.yx
        report.scenes[role] |= {"crs": crs_name(scene.crs), "width": cols, "height": rows, "gsd_m": scene.gsd}
        report.scenes[role] |= {"unit": scene.unit, "unit_reason": scene.unit_reason}
        report.scenes[role] |= {"gcps": scene.gcps} if scene.gcps else {}
        for code, message in scene.warnings:
            report.add("care", code, message)
    return scenes


def _compare(
    report: PairReport,
    pre: Scene,
    post: Scene,
    requests: dict[str, SceneRequest],
    contract: ModelContract | None,
    reporter: Reporter,
) -> None:
    try:
        same_scene(pre, post)
        common = overlap(pre, post)
    except InputError as error:
        code = "overlap" if "overlap" in error.message else "same"
        report.add("stop", code, f"{error.message} found: {error.found}")
        return
    report.overlap = {
        "area_m2": common.area_m2,
        "share_of_pre": common.fraction_of_pre,
        "share_of_post": common.fraction_of_post,
        "analysable": 1.0,
    }
    if common.fraction_of_pre < ENOUGH:
        report.add(
            "care", "overlap", f"the post scene covers {100 * common.fraction_of_pre:.2g} % of the pre scene's extent"
        )
    _check_resolution(report, pre, post, contract)
    _, doubt = scene_shift(tuple(f.geobox for f in post.files), pre.geobox)
    if doubt:
        report.add("care", "datum", doubt)
    for scene in (pre, post):
        _check_fill(report, scene, requests[scene.role])
    grid = crop(target_grid(pre, post), common.geometry, common.crs, "the common ground")
    with reporter.stage("nodata"):
        _check_pixels(report, pre, post, grid, common)
    if report.overlap["analysable"] > 0:
        with reporter.stage("offset"):
            _check_offset(report, pre, post, grid)


def _check_resolution(report: PairReport, pre: Scene, post: Scene, contract: ModelContract | None) -> None:
    finer, coarser = sorted((pre, post), key=lambda s: s.gsd)
    if coarser.gsd > MAX_RATIO * finer.gsd:
        report.add(
            "care",
            "resolution",
            f"the {coarser.role} scene ({coarser.gsd:.3g} m) is {coarser.gsd / finer.gsd:.1f} times coarser than the "
            f"{finer.role} scene ({finer.gsd:.3g} m)",
        )
    if contract is None:
        return
    for scene, spec in zip((pre, post), contract.inputs, strict=True):
        if spec.gsd and not spec.gsd[0] * 0.8 <= scene.gsd <= spec.gsd[1] * 1.25:
            report.add(
                "care",
                "gsd",
                f"the {scene.role} scene has {scene.gsd:.3g} m per pixel; {contract.name} was trained on "
                f"{spec.gsd[0]:g} to {spec.gsd[1]:g} m",
            )


def _check_fill(report: PairReport, scene: Scene, request: SceneRequest) -> None:
    """Pixels that seem to be nodata without being declared, by the run's own rule."""
    if request.nodata is None and not any(f.mask and f.mask != ("nan",) for f in scene.files):
        warn_of_fill(scene.role, *scene.sample(512), _Findings(report))


def _check_pixels(report: PairReport, pre: Scene, post: Scene, grid: GeoBox, common: Overlap) -> None:
    """How much of the common ground both scenes measure, from patches all over it."""
    assert report.overlap is not None
    parts = _places(grid)
    ground = np.stack([_inside(common, part) for part in parts])
    a, b = [[_read(scene, part) for part in parts] for scene in (pre, post)]
    if not ground.any():
        return
    valid = {scene.role: np.stack([p.valid for p in read])[ground] for scene, read in ((pre, a), (post, b))}
    for role, there in valid.items():
        share = 1 - float(there.mean())
        report.scenes[role]["nodata_share"] = round(share, 4)
        if share > 1 - ENOUGH:
            report.add("care", "nodata", f"{share:.0%} of the {role} scene's part of the common ground are nodata")
    both = float((valid["pre"] & valid["post"]).mean())
    report.overlap["analysable"] = round(both, 4)
    if both == 0:
        report.add("stop", "nodata", "nowhere on the common ground do both scenes have a measurement")
    elif all(np.array_equal(x.data, y.data) for x, y in zip(a, b, strict=True)):
        report.add("stop", "same", "the two scenes hold the same pixels: one scene is given as both dates")


def _inside(common: Overlap, part: GeoBox) -> Mask:
    """Which pixels of ``part`` lie on the common ground."""
    dense = shapely.segmentize(common.geometry, common.geometry.length / 128)
    projected = shapely.transform(
        dense, lambda xy: np.column_stack(transform_points(xy[:, 0], xy[:, 1], common.crs, part.crs))
    )
    return GeometryMask([projected], part)(0, part.shape.y)


def _places(grid: GeoBox) -> list[GeoBox]:
    """Patches spread over a grid."""
    rows, cols = grid.shape.yx
    height, width = min(PATCH, rows), min(PATCH, cols)
    return [
        shifted(grid, row, row + height, col, col + width)
        for row in _starts(rows, height)
        for col in _starts(cols, width)
    ]


def _read(scene: Scene, part: GeoBox) -> Pixels:
    with AlignedReader(scene, part) as reader:
        return reader.read_rows(0, part.shape.y)


def _starts(size: int, patch: int) -> list[int]:
    """First pixels of patches spread over a side, without repeating one."""
    count = min(PATCHES, max(1, size // patch))
    return [int(i) for i in np.linspace(0, size - patch, count)]


def _check_offset(report: PairReport, pre: Scene, post: Scene, grid: GeoBox) -> None:
    with AlignedReader(pre, grid) as before, AlignedReader(post, grid) as after:
        offset = estimate_offset(before, after, grid)
    report.offset = offset.as_dict()
    shift = f"{offset.dx_m:+.1f} m east, {offset.dy_m:+.1f} m north"
    if offset.quality == "good" and max(abs(offset.dx_px), abs(offset.dy_px)) > MAX_OFFSET_PX:
        report.add(
            "care", "offset", f"the post scene seems shifted by {shift}; a run reports that and does not correct it"
        )
    elif offset.quality != "good":
        report.add("note", "offset", "whether the scenes are shifted against each other cannot be measured reliably")
    else:
        report.add("note", "offset", f"the scenes fit each other within {MAX_OFFSET_PX:g} pixels ({shift})")


__all__ = ["PairReport", "check_pair"]
