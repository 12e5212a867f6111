"""Pixels of image and mask files, of any of the formats that public datasets come in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from PIL import Image
from torch import Tensor

from codemae_geo.classes import NODATA
from codemae_geo.errors import InputError

RASTERS = (".tif", ".tiff", ".jp2")
IMAGES = (*RASTERS, ".png", ".jpg", ".jpeg", ".bmp", ".npy")


def read_image(path: Path) -> Tensor:
    """An image file as float32 [C, H, W], values as stored; palettes become red, green, blue.

    Raises:
        InputError: the file is missing or does not decode; names it.
    """
    return torch.from_numpy(_pixels(path, palette="rgb").astype(np.float32))


def read_codes(path: Path) -> npt.NDArray[np.int64]:
    """The first channel of a mask file as int64 [H, W]; palettes stay numbers.

    Raises:
        InputError: the file is missing or does not decode; names it.
    """
    return _pixels(path, palette="index")[0].astype(np.int64)


def reason(error: Exception, path: Path) -> str:
    """Why a file was not read; rasterio's own message often only points to GDAL's."""
    return "no such file" if not path.exists() else str(error.__cause__ or error) or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warning that a patch has no georeference: many datasets publish none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _pixels(path: Path, palette: Literal["rgb", "index"]) -> npt.NDArray[Any]:
    """[C, H, W] in the type of the file."""
    try:
        if path.suffix.lower() in RASTERS:
            with quiet(), rasterio.open(path) as file:
                return file.read()
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                to_rgb = image.mode in ("RGBA", "CMYK", "YCbCr") or (image.mode == "P" and palette == "rgb")
                array = np.asarray(image.convert("RGB" if to_rgb else "L" if image.mode == "1" else None))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, rasterio.errors.RasterioError) as error:
        raise InputError(
            f"the image {path} does not decode",
            found=reason(error, path),
            hint="fetch it again",
        ) from error
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def to_classes(
    values: npt.NDArray[np.int64], codes: Mapping[int, int], path: Path, colors: bool = False
) -> npt.NDArray[np.int64]:
    """Values of a mask file to class numbers; 255 stays 255 unless it is a code.

    Args:
        values: int64 [H, W].
        codes: value to class number.
        path: the file, for the message.
        colors: values are 0xRRGGBB.

    Raises:
        InputError: a value is none of the codes; names the file and the value.
    """
    table = {NODATA: NODATA, **codes} if not colors else dict(codes)
    known = np.array(sorted(table), dtype=np.int64)
    numbers = np.array([table[int(code)] for code in known], dtype=np.int64)
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    wrong = known[place] != values
    if wrong.any():
        odd = np.unique(values[wrong])[:5]
        shown = [f"#{v:06x}" if colors else str(v) for v in odd.tolist()]
        wanted = [f"#{v:06x}" if colors else str(v) for v in codes]
        raise InputError(
            f"the mask {path} holds a value that is not a class",
            found=", ".join(shown),
            expected=", ".join(wanted),
            hint="fetch it again, or check that it belongs to this dataset",
        )
    return numbers[place]
