"""What a run has finished, where another one finds it: the way on after a kill, a full disk or a lost network.

A run that writes a map keeps a folder ``journal`` among its unfinished files: ``run.json`` says which run it is, and
for every raster there is a :class:`~codemae_geo.raster.store.RowStore` with the rows that are finished. A run that goes
on must be the same one: model, inputs, grid, windows, device and options are compared, and a difference is refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codemae_geo.errors import InputError, param
from codemae_geo.outputs import FolderStaging, write_failure
from codemae_geo.texts import read_text

#: the journal's folder among the unfinished files
FOLDER = "journal"


class Journal:
    """The journal of a run, new or taken over.

    Args:
        staging: the run's unfinished files; those that a killed run left are removed, but for its journal.
        identity: what makes a run another one, as JSON.

    Attributes:
        folder: where the row stores are.
        resumed: whether the stores of an earlier run are there.
        created: when the run began, UTC; of the earlier run where there is one.

    Raises:
        InputError: what an earlier run left is of another run; the message names what differs.
        OutputError: the disk is full.
    """

    def __init__(self, staging: FolderStaging, identity: Mapping[str, Any]) -> None:
        self._staging = staging
        self.folder = staging.folder / FOLDER
        record = self.folder / "run.json"
        self.resumed = staging.inherited and record.is_file()
        # what both have been through: tuples are lists in JSON
        identity = json.loads(json.dumps(identity, default=str))
        try:
            if self.resumed:
                before, self.created = _read_record(record, staging)
                _check_same(before, identity, staging)
                for left in staging.folder.iterdir():
                    if left != self.folder:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                return
            for left in staging.folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            self.created = now()
            self.folder.mkdir()
            record.write_text(json.dumps({"created": self.created.isoformat(), "identity": identity}), encoding="utf-8")
        except OSError as error:
            raise write_failure(error, staging.path) from error

    def keep(self) -> None:
        """From now on the journal outlives its run: there are rows in it."""
        self._staging.keep()


def _read_record(record: Path, staging: FolderStaging) -> tuple[Any, datetime]:
    """Identity and beginning of the run that left it.

    Raises:
        InputError: it cannot be read, or something among it is no file of its own.
    """
    try:
        for path in record.parent.iterdir():
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"{path.name} is not a file")
        before = json.loads(read_text(record))
        return before["identity"], datetime.fromisoformat(before["created"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"what the run that was stopped in {staging.path} has left cannot be read",
            found=str(error)[:200] or type(error).__name__,
            hint=f"leave out {param('resume')} to begin again",
            option="resume",
        ) from error


def clear(staging: FolderStaging) -> None:
    """Remove the journal among unfinished files: its rows are in the finished rasters, or are of no use."""
    staging.forget()
    shutil.rmtree(staging.folder / FOLDER, ignore_errors=True)


def now() -> datetime:
    """The present, UTC, to the second; ``SOURCE_DATE_EPOCH`` overrules it, so that a build can be repeated."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC).replace(microsecond=0)


def _check_same(before: Any, identity: Mapping[str, Any], staging: FolderStaging) -> None:
    differing = differences(before, identity)
    if not differing:
        return
    name, old, new = differing[0]
    more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
    raise InputError(
        f"the run that was stopped in {staging.path} is a different one",
        found=f"{name} is {new!r}",
        expected=f"{old!r}, as in that run{more}",
        hint=f"run it as it was begun, or leave out {param('resume')} to begin again",
        option="resume",
    )


def differences(before: Any, after: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """``(name, before, after)`` of every value that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [d for k in keys for d in differences(before.get(k), after.get(k), f"{name}.{k}" if name else k)]
    return [] if before == after else [(name, before, after)]
