"""What the metadata of a Sentinel-2 product in its folder (SAFE) says of the values in its images.

Since processing baseline 04.00 (January 2022) the stored counts of Level-1C and Level-2A are 1000 higher than
reflectance x 10,000; the images themselves do not say so, the product's metadata does (``RADIO_ADD_OFFSET``,
``BOA_ADD_OFFSET``).
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from codemae_geo.texts import read_text

#: an image of one spectral band: T33UUP_20220301T101029_B04_10m.jp2, not TCI, SCL, AOT or WVP
_BAND = re.compile(r"_B(\d\d|8A)(_\d+m)?\.(jp2|tif)$", re.IGNORECASE)
_NAMES = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
#: bands by the number that the metadata gives them
_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
#: larger metadata are not a product's
_MOST_BYTES = 50 * 2**20


def product_scaling(path: str) -> tuple[tuple[float, float], str] | None:
    """(scale, offset) of an image in a Sentinel-2 product, and the file that states it; None for anything else."""
    band = _BAND.search(path)
    file = Path(path)
    if band is None or not file.is_file():
        return None
    for folder in list(file.absolute().parents)[:5]:
        for name in _NAMES:
            metadata = folder / name
            if metadata.is_file() and metadata.stat().st_size < _MOST_BYTES:
                return _read(metadata, "B" + band[1].upper())
    return None


def _read(metadata: Path, band: str) -> tuple[tuple[float, float], str] | None:
    text = read_text(metadata, errors="replace")
    if "<!ENTITY" in text:  # no product has entities, which may expand without bound
        return None
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 see above
    except ElementTree.ParseError:
        return None
    quantification, offsets = None, {}
    for element in root.iter():
        tag = element.tag.rsplit("}", 1)[-1]
        value = _number(element.text)
        if value is None:
            continue
        if tag in ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE"):
            quantification = value
        elif tag in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
            offsets[element.get("band_id", "")] = value
    if not quantification:
        return None
    number = str(_ORDER.index(band)) if band in _ORDER else ""
    offset = offsets.get(number, 0.0)
    return (1 / quantification, offset / quantification), metadata.name


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
