"""A folder in the layout of OSPretrain-1M to shards that are read from end to end; see :mod:`codemae_datasets.packed`.

What goes where is planned from names, sizes and a seed before a byte is written, a shard appears under its name only
when it is complete, and nothing in it depends on the clock or the user. So a packing that was stopped goes on where it
stood and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codemae_datasets._parquet import arrow
from codemae_datasets.collection._resume import GOES_ON, begin, claims_output, write_whole
from codemae_datasets.ospretrain import UNPAIRED, decode_image, image_names, listed_names
from codemae_datasets.packed import FORMAT, KINDS, read_manifest
from codemae_geo.errors import InputError
from codemae_geo.outputs import check_space, write_failure
from codemae_geo.progress import Reporter
from codemae_geo.texts import read_text

SHARD_BYTES = 256 * 2**20
_BLOCK = 512
#: in which the manifest counts what there is of a dataset
_ORDER = ("train", "val", "test", "rgb", "sar")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One pair, or one unpaired image. There are a million: paths are made when they are needed."""

    source: Path
    kind: str
    dataset: str
    split: str
    name: str
    sizes: dict[str, int]  # "rgb", "sar"

    @property
    def files(self) -> dict[str, Path]:
        """The images, by the same keys."""
        return {key: _image(self.source, self.dataset, key, self.name) for key in self.sizes}

    @property
    def key(self) -> str:
        """The name in the shard; a dot would end WebDataset's key."""
        return f"{self.dataset}/{self.name.removesuffix('.png')}".replace(".", "%2E")

    @property
    def bytes(self) -> int:
        return sum(size + 3 * _BLOCK for size in self.sizes.values())


@dataclass(frozen=True)
class _Shard:
    name: str
    entries: list[_Entry]


@claims_output
def pack(
    source: Path,
    output: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    seed: int = 0,
    check: bool = True,
    overwrite: bool = False,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write shards, index and manifest, or go on writing them.

    Args:
        source: ``<dataset>/{RGB,SAR}/<name>.png`` with ``train.txt``, ``val.txt``, ``test.txt``, and
            ``Unpaired/{RGB,SAR}/``.
        output: folder of the shards.
        shard_bytes: a shard is closed when it has grown to this size.
        seed: of the order in which images fill the shards.
        check: decode every image and compare the sizes of pairs before packing.
        overwrite: throw away shards of other images or settings in ``output``.
        workers: threads, each filling a shard.

    Returns:
        The manifest.

    Raises:
        InputError: nothing to pack, an image is missing or does not decode (named), or two have one name.
        OutputError: ``output`` holds something else, or the disk is full.
    """
    reporter = reporter or Reporter()
    arrow()  # or an hour's work would end without an index
    with reporter.stage("listing images"):
        entries = _entries(source)
        plan = _plan_hash(entries, shard_bytes, seed)
        shards = _deal(entries, shard_bytes, seed)
    journal, final = output / "plan.json", output / "manifest.json"
    if begin(
        output,
        plan,
        journal=journal,
        final=final,
        what="shards",
        overwrite=overwrite,
        clear=lambda: _clear(output, journal, final),
    ):
        reporter.log("every shard is there already")
        _clean(output)
        return read_manifest(output)
    done = {s.name: _finished(output, s) for s in shards}
    missing = [s for s in shards if done[s.name] is None]
    if len(missing) < len(shards):
        reporter.log(f"{len(shards) - len(missing)} of {len(shards)} shards are there already")
    check_space(output, sum(e.bytes for s in missing for e in s.entries))
    with reporter.stage("writing shards", total=len(shards)), ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [(s, pool.submit(_write_shard, output, s, check)) for s in missing]
        try:
            for number, (shard, future) in enumerate(futures, 1):
                done[shard.name] = future.result()
                reporter.progress(len(shards) - len(missing) + number, len(shards))
        except BaseException as error:
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                reporter.log(GOES_ON)
            raise
    with reporter.stage("writing the index"):
        return _finish(output, shards, done, plan, seed)


def verify_pack(root: Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """The manifest of a folder of shards whose bytes are what it says.

    Raises:
        InputError: a shard or the index is missing, truncated or changed; names it.
    """
    reporter = reporter or Reporter()
    manifest = read_manifest(root)
    files = [*manifest["shards"], manifest["index"]]
    with reporter.stage("hashing shards", total=len(files)):
        for number, entry in enumerate(files, 1):
            digest = _digest(root / entry["name"])
            if digest != entry["sha256"]:
                raise InputError(
                    f"the shard {root / entry['name']} is changed",
                    found=f"sha256 {digest}",
                    expected=f"sha256 {entry['sha256']}",
                    hint="copy it again, or pack the collection again",
                )
            reporter.progress(number, len(files))
    return manifest


# ---------------------------------------------------------------------------------------------------- what goes where


def _entries(source: Path) -> list[_Entry]:
    if not source.is_dir():
        raise InputError(f"the folder {source} does not exist", expected="a folder in the layout of OSPretrain-1M")
    found: list[_Entry] = []
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        if folder.name == UNPAIRED:
            for kind, name in (("rgb", "RGB"), ("sar", "SAR")):
                found += [_entry(source, kind, UNPAIRED, "", file) for file in image_names(folder / name)]
        elif (folder / "RGB").is_dir():
            for split in ("train", "val", "test"):
                names = listed_names(folder / f"{split}.txt")
                found += [_entry(source, "paired", folder.name, split, file) for file in names]
    if not found:
        raise InputError(
            f"there are no images to pack in {source}",
            expected="<dataset>/RGB, <dataset>/SAR and <dataset>/train.txt, or Unpaired/RGB and Unpaired/SAR",
        )
    seen: dict[tuple[str, str], _Entry] = {}
    for entry in found:
        other = seen.setdefault((entry.kind, entry.key), entry)
        if other is not entry:
            raise InputError(
                f"{entry.name} of {entry.dataset} is listed twice", found=f"in {other.split} and {entry.split}"
            )
    return found


def _image(source: Path, dataset: str, key: str, name: str) -> Path:
    return source / dataset / key.upper() / name


def _entry(source: Path, kind: str, dataset: str, split: str, name: str) -> _Entry:
    keys = ("rgb", "sar") if kind == "paired" else (kind,)
    try:
        sizes = {key: _image(source, dataset, key, name).stat().st_size for key in keys}
    except FileNotFoundError as error:
        raise InputError(
            f"the image {error.filename} is not there",
            expected=f"an image of the name that {dataset}/{split}.txt lists",
            hint="fetch it again, or take it off the list",
        ) from error
    return _Entry(source, kind, dataset, split, name, sizes)


def _plan_hash(entries: Sequence[_Entry], shard_bytes: int, seed: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {shard_bytes} {seed}\n".encode())
    for e in entries:
        digest.update(f"{e.kind}\t{e.dataset}\t{e.split}\t{e.name}\t{sorted(e.sizes.items())}\n".encode())
    return digest.hexdigest()


def _deal(entries: Sequence[_Entry], shard_bytes: int, seed: int) -> list[_Shard]:
    shards = []
    for number, kind in enumerate(KINDS):
        mine = [e for e in entries if e.kind == kind]
        order = np.random.default_rng([seed, number]).permutation(len(mine))
        current: list[_Entry] = []
        filled, size = [], 0
        for i in order:
            if current and size + mine[i].bytes > shard_bytes:
                filled.append(current)
                current, size = [], 0
            current.append(mine[i])
            size += mine[i].bytes
        filled += [current] if current else []
        shards += [_Shard(f"{kind}-{k:05d}.tar", part) for k, part in enumerate(filled)]
    return shards


# ---------------------------------------------------------------------------------------------------- writing


def _finished(output: Path, shard: _Shard) -> dict[str, Any] | None:
    """What is known of a shard that is complete."""
    note = output / f"{shard.name}.json"
    try:
        known = json.loads(read_text(note))
        return known if (output / shard.name).stat().st_size == known["bytes"] else None
    except (OSError, ValueError, KeyError):
        return None


def _write_shard(output: Path, shard: _Shard, check: bool) -> dict[str, Any]:
    path, partial = output / shard.name, output / f"{shard.name}.part"
    offsets: list[dict[str, int]] = []
    try:
        with partial.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for entry in shard.entries:
                    images = dict(_contents(entry, check))
                    offsets.append({})
                    for key, data in images.items():
                        info = tarfile.TarInfo(f"{entry.key}.{key}.png")
                        info.size, info.mode = len(data), 0o644
                        tar.addfile(info, io.BytesIO(data))
                        offsets[-1][key] = tar.offset - -(-len(data) // _BLOCK) * _BLOCK
            file.flush()
            os.fsync(file.fileno())
        known = {"sha256": _digest(partial), "bytes": partial.stat().st_size, "offsets": offsets}
        write_whole(output / f"{shard.name}.json", json.dumps(known))
        partial.replace(path)
    except OSError as error:
        raise write_failure(error, path) from error
    finally:
        partial.unlink(missing_ok=True)
    return known


def _contents(entry: _Entry, check: bool) -> Iterator[tuple[str, bytes]]:
    shapes = {}
    for key, path in entry.files.items():
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"the image {path} cannot be read", found=str(error)) from error
        if len(data) != entry.sizes[key]:
            raise InputError(f"the image {path} changed while it was packed", hint="start again")
        if check:
            shapes[key] = tuple(decode_image(io.BytesIO(data), str(path)).shape[1:])
        yield key, data
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"the images of the pair {entry.name} of {entry.dataset} differ in size",
            found=", ".join(f"{key} {w} x {h}" for key, (h, w) in shapes.items()),
            expected="the same size",
        )


def _finish(output: Path, shards: list[_Shard], done: dict[str, Any], plan: str, seed: int) -> dict[str, Any]:
    pyarrow, parquet = arrow()
    rows = [(n, s, e, place) for n, s in enumerate(shards) for e, place in _placed(s, done[s.name])]
    columns: dict[str, Any] = {
        "kind": [e.kind for _, _, e, _ in rows],
        "dataset": [e.dataset for _, _, e, _ in rows],
        "split": [e.split for _, _, e, _ in rows],
        "name": [e.name for _, _, e, _ in rows],
        "shard": np.array([n for n, *_ in rows], np.int32),
    }
    for key in ("rgb", "sar"):
        columns[f"{key}_offset"] = np.array([place.get(key, -1) for *_, place in rows], np.int64)
        columns[f"{key}_size"] = np.array([e.sizes.get(key, -1) for _, _, e, _ in rows], np.int64)
    found = Counter((e.dataset, e.split or e.kind) for _, _, e, _ in rows)
    counts: dict[str, dict[str, int]] = {}
    for dataset, name in sorted(found, key=lambda of: (of[0], _ORDER.index(of[1]))):
        counts.setdefault(dataset, {})[name] = found[dataset, name]
    index = output / "index.parquet"
    try:
        partial = output / "index.parquet.part"
        parquet.write_table(pyarrow.table(columns), partial)
        partial.replace(index)
        manifest = {
            "format": FORMAT,
            "plan": plan,
            "seed": seed,
            "datasets": counts,
            "index": {"name": index.name, "bytes": index.stat().st_size, "sha256": _digest(index)},
            "shards": [
                {
                    "name": s.name,
                    "samples": len(s.entries),
                    "bytes": done[s.name]["bytes"],
                    "sha256": done[s.name]["sha256"],
                }
                for s in shards
            ],
        }
        write_whole(output / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        _clean(output)
    except OSError as error:
        raise write_failure(error, output) from error
    return manifest


def _placed(shard: _Shard, known: dict[str, Any]) -> list[tuple[_Entry, dict[str, int]]]:
    return list(zip(shard.entries, known["offsets"], strict=True))


def _clear(output: Path, *more: Path) -> None:
    """Remove shards and all that belongs to them."""
    for path in [*more, output / "index.parquet", *output.glob("*-[0-9]*.tar*")]:
        path.unlink(missing_ok=True)


def _clean(output: Path) -> None:
    """Remove what only an unfinished packing needs."""
    for path in [output / "plan.json", *output.glob("*.tar.json"), *output.glob("*.part")]:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
