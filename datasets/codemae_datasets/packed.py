"""A collection in shards, as `codemae data pack` writes it: tar files in WebDataset's form, and where each image lies.

A folder of shards holds ``paired-NNNNN.tar`` (``<key>.rgb.png`` and ``<key>.sar.png`` of one pair side by side),
``rgb-NNNNN.tar`` and ``sar-NNNNN.tar`` (unpaired images), ``index.parquet`` (one row per pair or image: kind, dataset,
split, name, shard, offset and size of the files) and ``manifest.json`` (counts, and bytes and sha256 of every shard).
Nothing is pickled. The shards can be streamed by WebDataset; this module reads them by offset.
"""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from codemae_datasets._parquet import arrow
from codemae_datasets.ospretrain import EXCLUDE, EXCLUDE_TEST, OSPretrain, Use, decode_image
from codemae_geo.errors import InputError
from codemae_geo.texts import read_text

#: version of the layout
FORMAT = 1
KINDS = ("paired", "rgb", "sar")
#: shards that a process keeps open
MAX_OPEN = 64


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a folder of shards, after a look at the size of every shard.

    Raises:
        InputError: the folder holds no finished shards, or a shard is missing or truncated; names it.
    """
    if not root.is_dir():
        raise InputError(f"the data folder {root} does not exist", expected="a folder that `codemae data pack` wrote")
    try:
        manifest = json.loads(read_text(root / "manifest.json"))
        shards = [(str(s["name"]), int(s["bytes"])) for s in manifest["shards"]]
    except FileNotFoundError as error:
        unfinished = (root / "plan.json").is_file()
        raise InputError(
            f"{root} holds no finished shards",
            found="a packing that was interrupted" if unfinished else "no manifest.json",
            expected="a folder that `codemae data pack` wrote",
            hint="run the same `codemae data pack` again; it continues" if unfinished else None,
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{root / 'manifest.json'} is damaged", found=repr(error)) from error
    if manifest.get("format") != FORMAT:
        raise InputError(f"{root} has another format", found=str(manifest.get("format")), expected=str(FORMAT))
    for name, size in shards:
        path = root / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            raise InputError(
                f"the shard {path} is {'missing' if found is None else 'truncated' if found < size else 'changed'}",
                found="no such file" if found is None else f"{found:,} bytes",
                expected=f"{size:,} bytes",
                hint="copy it again, or pack the collection again",
            )
    return manifest


class PackedPairs(OSPretrain):
    """Pairs and unpaired images of a folder of shards; the same samples as :class:`OSPretrain` of the folder packed.

    The order of an epoch keeps to few shards at a time: shards are shuffled, then the images of every ``window`` of
    them. Shards are filled at random when they are packed, so a window is a fair share of the whole.

    Args:
        root: the folder.
        use, exclude, exclude_test, skip_unreadable: as in :class:`OSPretrain`.
        window: shards whose images are shuffled together.

    Raises:
        InputError: see :func:`read_manifest`; or no images to use.
    """

    #: the items of an epoch come in the order in which they are to be read
    ordered = True

    def __init__(
        self,
        root: str | Path,
        use: Use = "both",
        exclude: Sequence[str] = EXCLUDE,
        exclude_test: Sequence[str] = EXCLUDE_TEST,
        skip_unreadable: int = 0,
        window: int = 8,
    ) -> None:
        self.root = Path(root)
        self.skip_unreadable = skip_unreadable
        self.window = window
        manifest = read_manifest(self.root)
        self.shards = [s["name"] for s in manifest["shards"]]
        table = _read_table(self.root / "index.parquet")
        kept = [name for name in manifest["datasets"] if name not in exclude]
        self.names = sorted(kept)
        numbers = {name: i for i, name in enumerate(self.names)}
        dataset = np.array([numbers.get(name, -1) for name in table["dataset"]], np.int32)
        tests = (table["split"] == "test") & np.isin(table["dataset"], list(exclude_test))
        wanted = (dataset >= 0) & ~tests
        self._dataset, self._name, self._shard = dataset, table["name"], table["shard"]
        self._places = {key: (table[f"{key}_offset"], table[f"{key}_size"]) for key in ("rgb", "sar")}
        #: rows of the index, by kind
        self._rows = {kind: np.flatnonzero(wanted & (table["kind"] == kind)) for kind in KINDS}
        if use == "unpaired":
            self._rows["paired"] = np.array([], np.int64)
        if use == "paired":
            self._rows["rgb"] = self._rows["sar"] = np.array([], np.int64)
        self.pairs: Any = range(len(self._rows["paired"]))
        self.unpaired: Any = {key: range(len(self._rows[key.lower()])) for key in ("RGB", "SAR")}
        self._open = _OpenShards(self.root)
        if not self.pairs and not (self.unpaired["RGB"] and self.unpaired["SAR"]):
            raise InputError(
                f"there are no images to use in {root}",
                found=", ".join(manifest["datasets"]),
                hint="see data.use, data.exclude and data.exclude_test",
            )

    def paired_items(self, generator: torch.Generator) -> list[tuple[int, int]]:
        """(i, i) for each pair, in the order of the epoch."""
        return [(i, i) for i in self._order("paired", generator)]

    def unpaired_items(self, generator: torch.Generator) -> list[tuple[int, int]]:
        """(i, j): optical image i with SAR image j, matched at random; the longer list is drawn from."""
        first = len(self.pairs)
        rgb, sar = self._order("rgb", generator), self._order("sar", generator)
        return [(first + i, first + j) for i, j in zip(rgb, sar, strict=False)]

    def _order(self, kind: str, generator: torch.Generator) -> list[int]:
        """Numbers of the images of a kind, window of shards by window."""
        shard = self._shard[self._rows[kind]]
        _, starts = np.unique(shard, return_index=True)  # rows of a shard stand together
        bounds = [*starts.tolist(), len(shard)]
        shards = torch.randperm(len(starts), generator=generator).tolist()
        order: list[int] = []
        for k in range(0, len(shards), self.window):
            here = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in shards[k : k + self.window]])
            order += here[torch.randperm(len(here), generator=generator).numpy()].tolist()
        return order

    def _read(self, item: tuple[int, int]) -> tuple[Tensor, Tensor, int, str]:
        first = len(self.pairs)
        if item[0] < first:
            rows = (self._rows["paired"][item[0]],) * 2
        else:
            rows = self._rows["rgb"][item[0] - first], self._rows["sar"][item[1] - first]
        rgb, sar = (self._image(int(row), key) for row, key in zip(rows, ("rgb", "sar"), strict=True))
        return rgb, sar, int(self._dataset[rows[0]]), str(self._name[rows[0]])

    def _image(self, row: int, key: str) -> Tensor:
        offsets, sizes = self._places[key]
        shard = self.shards[self._shard[row]]
        data = self._open.read(shard, int(offsets[row]), int(sizes[row]))
        return decode_image(io.BytesIO(data), f"{key} of {self._name[row]} in {self.root / shard}")


class _OpenShards:
    """Open shards of this process; neither pickled nor used on the far side of a fork."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: OrderedDict[str, BinaryIO] = OrderedDict()
        self.pid = os.getpid()

    def read(self, shard: str, offset: int, size: int) -> bytes:
        if self.pid != os.getpid():
            self.files, self.pid = OrderedDict(), os.getpid()
        try:
            if shard not in self.files:
                if len(self.files) >= MAX_OPEN:
                    self.files.popitem(last=False)[1].close()
                self.files[shard] = (self.root / shard).open("rb", buffering=0)
            self.files.move_to_end(shard)
            file = self.files[shard]
            file.seek(offset)
            data = file.read(size)
        except OSError as error:
            raise InputError(f"the shard {self.root / shard} cannot be read", found=str(error)) from error
        if len(data) != size:
            raise InputError(
                f"the shard {self.root / shard} is truncated",
                found=f"it ends before byte {offset + size:,}",
                hint="copy it again, or pack the collection again",
            )
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]


def _read_table(path: Path) -> dict[str, Any]:
    """Columns of the index as arrays."""
    pyarrow, parquet = arrow()
    try:
        table = parquet.read_table(path)
        return {name: table[name].to_numpy() for name in table.column_names}
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"the index {path} cannot be read", found=str(error), hint="copy it again, or pack the collection again"
        ) from error
