"""`codemae data ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json
from codemae_cli.show import size, table

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Datasets and collections: list, info, verify, stats, build, pack, index, pairs, find, merge.",
)

Workers = Annotated[int, typer.Option(min=1, help="Threads.")]
SkipUnreadable = Annotated[int, typer.Option(min=0, metavar="N", help="Leave out up to N scenes that cannot be read.")]


def _tell(result: dict[str, Any], lines: str, *, json_: bool, progress: str, quiet: bool, output: Path | None) -> None:
    """A result in the way that was asked for."""
    if progress == "json":
        emit("result", outputs={"output": str(output)} if output else {}, summary=result)
    if json_:
        print_json(result)
    elif progress != "json" and not quiet:
        typer.echo(lines)


@app.command("list", epilog="Example:\n\n\b\ncodemae data list\ncodemae data list --json")
@command
def list_(json_: o.Json = False) -> None:
    """List the public datasets that can be opened by name."""
    from codemae_datasets.public import listing

    datasets = listing()
    if json_:
        print_json({"datasets": datasets})
    else:
        rows = [(it["name"], it["title"], it["modality"], it["task"]) for it in datasets]
        typer.echo(table(rows, ("name", "dataset", "sensors", "labels")))


@app.command("info", epilog="Example:\n\n\b\ncodemae data info earthmiss")
@command
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `codemae data list`.")],
    json_: o.Json = False,
) -> None:
    """Show a dataset's card: source, licence, citation, bands, classes, splits, and which files go where."""
    from dataclasses import asdict

    from codemae_datasets.public import card

    it = card(name)
    if json_:
        print_json(asdict(it) | {"splits": dict(it.splits)})
        return
    gsd = "not stated" if it.gsd_m is None else " to ".join(f"{m:g}" for m in dict.fromkeys(it.gsd_m)) + " m"
    rows = [
        ("title", it.title),
        ("home", it.home),
        ("licence", it.licence),
        ("citation", it.citation),
        ("size", it.size),
        ("sensors", it.modality),
        ("bands", it.bands),
        ("pixel", gsd),
        ("labels", it.task),
        ("classes", ", ".join(it.classes) or "none"),
        ("splits", ", ".join(f"{k} ({v:,})" if v is not None else k for k, v in it.splits.items())),
        ("layout", it.layout),
        ("learnt from", it.source),
        *(
            (
                "file",
                f"{a.name} into ROOT/{a.into}"
                + (f", {a.url}" if a.url else "")
                + (f", {a.checksum or ''}").rstrip(", "),
            )
            for a in it.archives
        ),
    ]
    typer.echo(table([(k, str(v)) for k, v in rows]))


@app.command(
    "verify",
    epilog="Examples:\n\n\b\ncodemae data verify earthmiss /data/earthmiss\n"
    "codemae data verify ospretrain1m ospretrain --json\ncodemae data verify packed shards",
)
@command
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `codemae data list`, or packed.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The dataset's folder.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Open only that many samples of each split.")] = None,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Read a whole dataset: counts, sizes, checksums, value and label ranges, files that cannot be used.

    Exit code 1 if anything is wrong. Shards of `codemae data pack` are verified under the name packed.
    """
    from codemae_cli.show import verify_text

    reporter = make_reporter(progress, quiet)
    try:
        if name == "packed":
            from codemae_datasets.collection.pack import verify_pack

            manifest = verify_pack(root, reporter)
            shards = len(manifest["shards"])
            result: dict[str, Any] = {"name": name, "ok": True, "shards": shards, "datasets": manifest["datasets"]}
            lines = f"{root}: {shards} shards are whole"
        else:
            from codemae_datasets.public import dataset_class

            with reporter.stage("reading samples"):
                report = dataset_class(name).verify(root, limit, reporter.progress)
            result = _as_json(report)
            lines = verify_text(result)
    finally:
        close(reporter)
    _tell(result, lines, json_=json_, progress=progress, quiet=quiet and result["ok"], output=None)
    if not result["ok"]:
        raise typer.Exit(1)


def _as_json(report: Any) -> dict[str, Any]:
    return {
        "name": report.name,
        "root": str(report.root),
        "ok": report.ok,
        "splits": {
            name: {
                "samples": s.samples,
                "published": s.published,
                "bytes": s.bytes,
                "sizes": dict(s.sizes),
                "labels": {str(k): v for k, v in sorted(s.labels.items())},
                "ranges": {key: list(values) for key, values in s.ranges.items()},
                "problems": s.problems,
            }
            for name, s in report.splits.items()
        },
        "checksums": report.checksums,
        "missing": report.missing,
    }


@app.command(
    "stats",
    epilog="Examples:\n\n\b\ncodemae data stats scenes/optical\n"
    "codemae data stats os/EarthMiss/RGB os/EarthMiss/SAR --each --scale 255 --json",
)
@command
def stats(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Rasters, images, or folders of them.")],
    quantiles: Annotated[str, typer.Option(help="Numbers from 0 to 1.")] = "0.02,0.5,0.98",
    nodata: Annotated[float | None, typer.Option(help="Nodata value [default: the files' own].")] = None,
    scale: Annotated[float, typer.Option(help="Divide every number by this, e.g. 255.")] = 1.0,
    each: Annotated[bool, typer.Option("--each", help="Measure every PATH by itself.")] = False,
    workers: Workers = 1,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Measure mean, standard deviation and quantiles of every band over all valid pixels.

    Files are read block by block; nodata, transparent, masked and non-finite pixels do not count.
    """
    from codemae_datasets.collection.stats import measure_rasters

    from codemae_cli.parse import numbers

    wanted = numbers(quantiles, "quantiles", "0.02,0.5,0.98")
    reporter = make_reporter(progress, quiet)
    try:
        groups = {path: [path] for path in paths} if each else {", ".join(paths): list(paths)}
        found = {name: measure_rasters(group, wanted, nodata, workers, reporter) for name, group in groups.items()}
    finally:
        close(reporter)
    result: dict[str, Any] = {
        "scale": scale,
        "groups": [
            {"paths": groups[n], "bands": [_scaled(b.as_dict(), scale) for b in bands]} for n, bands in found.items()
        ],
    }
    header = ("band", "pixels", "invalid", "mean", "std", "min", *(f"{q:g}" for q in wanted), "max")
    texts = []
    for group in result["groups"]:
        rows = []
        for b in group["bands"]:
            values = (b["mean"], b["std"], b["min"], *(b["quantiles"].get(f"{q:g}") for q in wanted), b["max"])
            cells = ("" if v is None else f"{v:.6g}" for v in values)
            rows.append((b["name"], str(b["count"]), str(b["invalid"]), *cells))
        texts.append((f"{group['paths'][0]}\n" if each else "") + table(rows, header))
    _tell(result, "\n\n".join(texts), json_=json_, progress=progress, quiet=False, output=None)


def _scaled(band: dict[str, Any], scale: float) -> dict[str, Any]:
    """A band's numbers divided by ``scale``; None where there is no valid pixel."""
    moments = {k: band[k] / scale if band["count"] else None for k in ("mean", "std", "min", "max")}
    return band | moments | {"quantiles": {q: v / scale for q, v in band["quantiles"].items()}}


@app.command(
    "build",
    epilog="Examples:\n\n\b\ncodemae data build ospretrain --from /data -o ospretrain --workers 8\n"
    "codemae data build ospretrain --from /data --from msaw=/mnt/spacenet6 --sources msaw,earthmiss -o part",
)
@command
def build(
    collection: Annotated[Literal["ospretrain"], typer.Argument(help="What to build.")],  # noqa: ARG001 (one so far)
    roots: Annotated[
        list[str],
        typer.Option("--from", metavar="FOLDER", help="Holds FOLDER/<source>; or NAME=FOLDER for one source; repeat."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the collection.")],
    sources: Annotated[str | None, typer.Option(help="Names, separated by commas [default: all fifteen].")] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Also build the tests that pretraining must not see.")
    ] = False,
    patch: Annotated[int | None, typer.Option(min=1, help="Side of the patches [default: by source].")] = None,
    stretch: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE.rgb|sar=LOW,HIGH", help="Values that become 0 and 255; repeat."),
    ] = None,
    workers: Workers = 1,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Build OSPretrain-1M from the downloads of its sources: 8-bit patches in the published layout.

    Run it again after an interruption: it continues where it stopped, and ends with the same bytes.
    """
    from codemae_datasets.collection.build import build as make

    from codemae_cli.parse import numbers
    from codemae_geo.errors import InputError

    limits: dict[str, tuple[float, float]] = {}
    for text in stretch or ():
        name, equals, values = text.partition("=")
        ends = numbers(values, f"limits in {text!r}", "msaw.sar=0,40") if equals else ()
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise InputError(f"{text!r} is not a stretch", expected="SOURCE.rgb or SOURCE.sar, =, LOW,HIGH")
        limits[name] = (ends[0], ends[1])
    reporter = make_reporter(progress, quiet)
    try:
        result = make(
            roots,
            output,
            sources=[s.strip() for s in sources.split(",")] if sources else None,
            held_out=held_out,
            patch=patch,
            stretch=limits,
            overwrite=overwrite,
            workers=workers,
            reporter=reporter,
        )
    finally:
        close(reporter)
    rows = [
        (name, c["folder"], str(c["images"]), str(c["patches"]), str(c["left_out"]))
        for name, c in result["sources"].items()
    ]
    lines = table(rows, ("source", "folder", "images", "patches", "left out")) + f"\n\nin {output}"
    _tell(result, lines, json_=json_, progress=progress, quiet=quiet, output=output)


@app.command("pack", epilog="Example:\n\n\b\ncodemae data pack ospretrain -o shards --workers 8")
@command
def pack(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder in the layout of OSPretrain-1M.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the shards.")],
    shard_size: Annotated[float, typer.Option(min=0.001, help="Size of a shard in MiB.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order in which images fill the shards.")] = 0,
    check: Annotated[bool, typer.Option(help="Decode every image before it is packed.")] = True,
    workers: Workers = 1,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Pack a million small files into tar shards (WebDataset) with an index and checksums.

    Pretraining reads them: codemae pretrain base data.kind=packed data.root=SHARDS. Run it again after an interruption.
    """
    from codemae_datasets.collection.pack import pack as make

    reporter = make_reporter(progress, quiet)
    try:
        result = make(
            source,
            output,
            shard_bytes=round(shard_size * 2**20),
            seed=seed,
            check=check,
            overwrite=overwrite,
            workers=workers,
            reporter=reporter,
        )
    finally:
        close(reporter)
    rows = [(name, ", ".join(f"{n} {k}" for k, n in counts.items())) for name, counts in result["datasets"].items()]
    total = size(sum(s["bytes"] for s in result["shards"]))
    lines = table(rows, ("dataset", "images")) + f"\n\n{len(result['shards'])} shards of {total} in {output}"
    _tell(result, lines, json_=json_, progress=progress, quiet=quiet, output=output)


@app.command(
    "index",
    epilog="Examples:\n\n\b\ncodemae data index scenes/ -o index.parquet\n"
    "codemae data index s1/ --sensor sentinel-1-grd -o index.parquet",
)
@command
def index(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENES...", help="Rasters, folders of them, STAC items.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoParquet file; brought up to date if it exists.")],
    sensor: Annotated[str | None, typer.Option(help="Sensor of these scenes, such as sentinel-2-l2a.")] = None,
    family: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Kind of these scenes [default: by sensor or bands].")
    ] = None,
    skip_unreadable: SkipUnreadable = 0,
    workers: Workers = 4,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Write a table of scenes: footprint, time, sensor, bands and grid, so that ten thousand open at once.

    Scenes whose file did not change are not read again; --overwrite starts afresh.
    """
    from codemae_datasets.collection.index import build_index

    reporter = make_reporter(progress, quiet)
    try:
        report = build_index(
            scenes,
            output,
            sensor=sensor,
            family=family,
            afresh=overwrite,
            skip_unreadable=skip_unreadable,
            workers=workers,
            reporter=reporter,
        )
    finally:
        close(reporter)
    result = {
        "index": str(output),
        "scenes": report.scenes,
        "read": report.read,
        "kept": report.kept,
        "dropped": report.dropped,
        "unreadable": report.unreadable,
    }
    lines = f"{output}: {report.scenes} scenes, {report.read} read, {report.kept} unchanged, {report.dropped} gone"
    _tell(result, lines, json_=json_, progress=progress, quiet=quiet, output=output)


@app.command(
    "pairs",
    epilog="Example:\n\n\b\ncodemae data pairs index.parquet --max-days 3 --min-overlap 0.5 -o pairs.csv",
)
@command
def pairs(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Table that `codemae data index` wrote.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Table to write: .csv or .parquet.")] = None,
    min_overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Smallest share of the smaller scene that both cover.")
    ] = 0.1,
    min_km2: Annotated[float, typer.Option(min=0, help="Smallest common area.")] = 0.0,
    max_days: Annotated[
        float | None,
        typer.Option(min=0, help="At most this many days between the two; leaves out scenes without a date."),
    ] = None,
    nearest: Annotated[int | None, typer.Option(min=1, help="Keep this many SAR scenes per optical one.")] = None,
    json_: o.Json = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Find the optical and SAR scenes of an index that overlap, by area and difference of dates."""
    from codemae_datasets.collection.index import read_index
    from codemae_datasets.collection.matching import find_pairs, write_pairs

    found = find_pairs(read_index(index), min_overlap, min_km2, max_days, nearest)
    if output is not None:
        write_pairs(found, output, overwrite)
    rows = found.drop(columns="geometry").to_dict("records")
    if json_:
        clean = [{k: None if v != v else v for k, v in row.items()} for row in rows]
        print_json({"pairs": clean, "output": str(output) if output else None})
        return
    shown = [
        (
            Path(r["optical"]).name,
            Path(r["sar"]).name,
            "" if r["days"] != r["days"] else f"{r['days']:.2f}",
            f"{r['overlap_km2']:.4g}",
            f"{100 * r['overlap_share']:.0f}",
        )
        for r in rows[:20]
    ]
    if shown:
        typer.echo(table(shown, ("optical", "sar", "days", "km2", "% of smaller")))
    more = f", of which {len(shown)} are shown" if len(rows) > len(shown) else ""
    where = f"; all of them are in {output}" if output else ""
    typer.echo(f"{len(rows)} pair{'' if len(rows) == 1 else 's'}{more}{where}")


@app.command(
    "find",
    epilog="Examples:\n\n\b\ncodemae data find --aoi town.geojson --event 2011-05-22T22:41Z --stac scenes/\n"
    "codemae data find --aoi town.gpkg --event 2011-05-22 --stac index.parquet --json\n"
    "codemae data find --aoi town.gpkg --event 2023-02-06T01:17Z --stac https://earth-search.aws.element84.com/v1 "
    "--collection sentinel-2-l2a",
)
@command
def find(
    aoi: Annotated[str, typer.Option(metavar="FILE", help="Area of interest: polygons in any format GDAL reads.")],
    event: Annotated[str, typer.Option(metavar="DATE", help="Day of the event, better with its time (UTC).")],
    stac: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE", help="Folder of STAC items, catalogue, index, or URL of a STAC API. May be repeated."
        ),
    ],
    before: Annotated[int, typer.Option(min=1, metavar="DAYS", help="How long before the event.")] = 1095,
    after: Annotated[int, typer.Option(min=1, metavar="DAYS", help="How long after it.")] = 90,
    post_sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Only such scenes after [default: both].")
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Only this collection of a STAC API. May be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Entries taken of a catalogue in the network.")] = 500,
    show: Annotated[int, typer.Option(min=1, help="Scenes and pairs shown of each.")] = 10,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Find scenes before and after an event that cover an area, and the call that maps it.

    Ranked by the share of the area that they cover without cloud (in steps of 5 %), then days, angle and pixel size.
    """
    from codemae_datasets.find import find_pairs

    from codemae_cli.show import damage_call, found_text

    reporter = make_reporter(progress, quiet)
    try:
        found = find_pairs(
            aoi,
            event,
            stac,
            before=before,
            after=after,
            post_sensor=post_sensor,
            collections=collection,
            limit=limit,
            reporter=reporter,
        )
    finally:
        close(reporter)
    result = found.as_dict()
    for pair in result["pairs"]:
        pair["command"] = damage_call(pair, aoi)
    _tell(result, found_text(result, show), json_=json_, progress=progress, quiet=quiet, output=None)


@app.command("merge", epilog="Example:\n\n\b\ncodemae data merge monday.gpkg anna.gpkg ben.geojson -o labels.gpkg")
@command
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="LABELS...", help="Points or polygons, the latest file last.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoPackage to write, for `codemae adapt`.")],
    column: Annotated[str | None, typer.Option(help="Column of the class.")] = None,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Put damage labels of several people into one layer; where two differ, the later file counts, and that is said."""
    from codemae_datasets.merging import merge_labels

    reporter = make_reporter(progress, quiet)
    try:
        merged = merge_labels(files, output, column=column, overwrite=overwrite, reporter=reporter)
    finally:
        close(reporter)
    result = merged.as_dict()
    rows = [(f"{c['lat']:.6f}, {c['lon']:.6f}", *(c[k] for k in ("before", "before_file", "after", "after_file")))
            for c in result["conflicts"]]  # fmt: skip
    lines = [table([(n, str(c)) for n, c in result["labels"].items()], ("class", "buildings"))]
    if rows:
        lines += ["", table(rows, ("place", "was", "in", "is now", "by"))]
    _tell(result, "\n".join(lines), json_=json_, progress=progress, quiet=quiet, output=output)
