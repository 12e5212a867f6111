"""What the name, the bands and the tags of a file say of its sensor and of the unit of its values. Text only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codemae_geo.sensors import Unit, unit_words


@dataclass(frozen=True)
class Product:
    """A kind of radar product that is known by its name or its metadata.

    Args:
        name: for people, and a key of :data:`codemae_geo.sensors.SENSORS` where there is one.
        pattern: found in the file name, or in ``KEY=value`` of a tag.
        integers: unit of integers in it; None leaves it to other evidence.
        floats: unit of floating point numbers.
    """

    name: str
    pattern: re.Pattern[str]
    integers: Unit | None = None
    floats: Unit | None = None


def _product(name: str, pattern: str, integers: Unit | None = None, floats: Unit | None = None) -> Product:
    return Product(name, re.compile(pattern, re.IGNORECASE), integers, floats)


#: order matters: the first that fits. Sources: the products' own format descriptions
_PRODUCTS = (
    # ASF HyP3 writes the scale of its terrain-corrected Sentinel-1 into the name: ..._RTC30_G_gpuned_8D6E_VV.tif
    _product("sentinel-1-rtc", r"_RTC\d+_[A-Z]_[gs]p[a-z]{4}_", floats="power"),
    _product("sentinel-1-rtc", r"_RTC\d+_[A-Z]_[gs]a[a-z]{4}_", floats="amplitude"),
    _product("sentinel-1-rtc-db", r"_RTC\d+_[A-Z]_[gs]d[a-z]{4}_", floats="db"),
    _product("sentinel-1-rtc", r"OPERA_L2_RTC-S1_", floats="power"),
    _product("sentinel-1-grd", r"\bs1[a-d][-_](iw|ew|s[1-6]|wv)\d?[-_]grd|Sentinel-1[A-D]? \w+ GRD", "amplitude"),
    _product("sentinel-1-slc", r"\bs1[a-d][-_](iw|ew|s[1-6]|wv)\d?[-_]slc|Sentinel-1[A-D]? \w+ SLC", "amplitude"),
    _product("umbra-gec", r"UMBRA-\d+.*GEC", "amplitude"),
    _product("capella-geo", r"CAPELLA_C\d+_\w+_(GEO|GEC)_", "amplitude"),
    _product("capella-slc", r"CAPELLA_C\d+_\w+_SLC_", "amplitude"),
    _product("capella", r'"collect":\s*\{.*"(radar|image)"', "amplitude"),
    _product("iceye", r"ICEYE_X\d+_(GRD|QUICKLOOK|SLC|SLED|SPOT|SCAN|STRIP|\w+_GRD)|SATELLITE_NAME=ICEYE", "amplitude"),
    _product("nisar-gcov", r"NISAR_L2_.*GCOV|/(LSAR|SSAR)/GCOV/", floats="power"),
    _product("nisar", r"NISAR_L\d_|/(LSAR|SSAR)/G?SLC/"),
    _product("terrasar-x", r"\b(TSX|TDX|PAZ)1_SAR__(MGD|GEC|EEC)|IMAGE_[HV]{2}_SRA_\w+\.tif", "amplitude"),
    _product("terrasar-x", r"\b(TSX|TDX|PAZ)1_SAR__SSC|IMAGE_[HV]{2}_SRA_\w+\.cos"),
)
#: tags whose value may be a unit
_UNIT_KEYS = re.compile(
    r"^(.*[_:])?(units?|unittype|calibration|radiometry|radiometric_scale|backscatter|output_scale|data_scale)$", re.I
)


def product_of(name: str, tags: Mapping[str, str]) -> Product | None:
    """The product that a file name, or a tag, belongs to."""
    texts = [name, *(f"{k}={v}" for k, v in tags.items())]
    return next((p for p in _PRODUCTS for text in texts if p.pattern.search(text)), None)


def said_units(
    name: str, dtype: np.dtype[np.generic], description: str, unit: str, tags: Mapping[str, str]
) -> tuple[tuple[Unit, str], ...]:
    """What is said of the unit of a band's values: (unit, where), the more trustworthy first.

    Args:
        name: file name.
        dtype: type of the values.
        description: of the band.
        unit: of the band.
        tags: of the file and of the band.
    """
    found: list[tuple[Unit, str]] = []
    if said := unit_words(unit):
        found.append((said, f"the band's unit {unit!r}"))
    if said := unit_words(description):
        found.append((said, f"the band's name {description!r}"))
    for key, value in tags.items():
        if _UNIT_KEYS.match(key) and (said := unit_words(value)):
            found.append((said, f"the tag {key}={value}"))
    product = product_of(name, tags)
    if product is not None:
        known = product.floats if dtype.kind == "f" else product.integers if dtype.itemsize > 1 else None
        if known is not None:
            found.append((known, f"the product {product.name}"))
    if said := unit_words(name.rsplit(".", 1)[0]):
        found.append((said, f"the file name {name}"))
    return tuple(found)


def agreed(files: Sequence[tuple[tuple[Unit, str], ...]]) -> tuple[tuple[Unit, str], ...]:
    """What is said of the files of one scene, each unit once."""
    seen: dict[Unit, str] = {}
    for said in files:
        for unit, where in said:
            seen.setdefault(unit, where)
    return tuple(seen.items())
