"""One table of sensors, and the way from the values in a file to the values a model was trained on.

A raster of amplitudes, decibels or surface reflectances looks the same to a reader: an array of numbers. This module
names the *unit* of the numbers (:data:`Unit`), recognises it (:func:`detect_unit`), and converts it
(:func:`plan_conversion`, :class:`Conversion`). numpy only; arrays are ``[C, h, w]``, masks ``[h, w]`` with True =
valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from codemae_geo.errors import InputError

Family = Literal["optical", "sar"]
#: ``uint8``: stretched for display, 0..255. ``dn``: integer counts of an optical sensor. ``reflectance``: 0..1.
#: ``db``, ``power`` (intensity), ``amplitude`` (square root of power) and ``complex`` are the faces of SAR backscatter.
Unit = Literal["uint8", "dn", "reflectance", "db", "power", "amplitude", "complex"]
Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: ``auto``, ``minmax``, or an explicit (low, high) for all bands
Stretch = str | tuple[float, float]

UNITS: dict[Family, tuple[Unit, ...]] = {
    "optical": ("uint8", "dn", "reflectance"),
    "sar": ("uint8", "db", "power", "amplitude", "complex"),
}


@dataclass(frozen=True)
class Sensor:
    """What a product of one sensor holds.

    Args:
        name: key in :data:`SENSORS`.
        family: ``optical`` or ``sar``.
        bands: band names in the order of the product.
        unit: unit of the stored values.
        scale: reflectance = stored value x scale + offset (optical ``dn`` only; 1 otherwise).
        offset: see ``scale``.
        valid_range: smallest and largest plausible stored value.
        stretch: quantiles that become 0 and 255 when the values are stretched to uint8; None is zero.
        gsd: nominal ground sample distance in metres; None where it varies.
    """

    name: str
    family: Family
    bands: tuple[str, ...]
    unit: Unit
    scale: float = 1.0
    offset: float = 0.0
    valid_range: tuple[float, float] = (0.0, 255.0)
    stretch: tuple[float | None, float] = (0.01, 0.99)
    gsd: float | None = None


_S2_L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_S2_L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")

#: Stretches: optical products lose 1 % at either end; amplitude starts at zero and loses the brightest 1 %.
SENSORS: dict[str, Sensor] = {
    s.name: s
    for s in (
        Sensor("rgb", "optical", ("red", "green", "blue"), "uint8"),
        Sensor("sentinel-2-l2a", "optical", _S2_L2A, "dn", 1e-4, 0.0, (0, 20_000), gsd=10),
        Sensor("sentinel-2-l1c", "optical", _S2_L1C, "dn", 1e-4, 0.0, (0, 20_000), gsd=10),
        Sensor("sar", "sar", ("sar",), "uint8", stretch=(None, 0.99)),
        Sensor("sentinel-1-grd", "sar", ("VV", "VH"), "amplitude", 1.0, 0.0, (0, 65_535), (None, 0.99), 10),
        Sensor("sentinel-1-rtc", "sar", ("VV", "VH"), "power", 1.0, 0.0, (0, 1e3), (None, 0.99), 10),
        Sensor("sentinel-1-rtc-db", "sar", ("VV", "VH"), "db", 1.0, 0.0, (-60, 40), (None, 0.99), 10),
        Sensor("umbra-gec", "sar", ("VV",), "uint8", stretch=(None, 0.99)),
        Sensor("capella-geo", "sar", ("HH",), "amplitude", 1.0, 0.0, (0, 65_535), (None, 0.99)),
        Sensor("capella-slc", "sar", ("HH",), "complex", 1.0, 0.0, (0, 65_535), (None, 0.99)),
    )
}


# ---------------------------------------------------------------------------------------------------- recognising


def detect_unit(
    family: Family, dtype: DTypeLike, sample: Array | None = None, valid: Mask | None = None
) -> tuple[Unit, str]:
    """Name the unit of stored values, with the reason for the log.

    Args:
        family: ``optical`` or ``sar``.
        dtype: type of the stored values.
        sample: values ``[C, h, w]`` at full resolution (averaged SAR has lost its speckle); needed for float only.
        valid: ``[h, w]``; None takes every finite value.

    Returns:
        The unit and one sentence that says why.
    """
    kind = np.dtype(dtype)
    if kind.kind == "b" or kind == np.uint8:
        return "uint8", "stored as uint8, so already stretched"
    if family == "optical":
        if kind.kind in "iu":
            return "dn", f"stored as {kind.name}, so integer counts"
        if kind.kind == "c":
            raise InputError(
                "an optical scene holds complex numbers", found=kind.name, expected="real values",
                hint="for radar imagery say --post-sensor sar (embed: --sensor sar)",
            )  # fmt: skip
        return _float_optical(_values(sample, valid))
    if kind.kind == "c":
        return "complex", f"stored as {kind.name}, so single-look complex"
    values = _values(sample, valid)
    if kind.kind == "u" or (kind.kind == "i" and (values.size == 0 or np.mean(values < 0) < 0.01)):
        return "amplitude", f"stored as {kind.name}, so digital numbers of amplitude"
    return _float_sar(sample, values)


def _values(sample: Array | None, valid: Mask | None) -> Array:
    """Finite valid values, flat, as float64."""
    if sample is None:
        return np.empty(0)
    keep = np.isfinite(sample)
    if valid is not None:
        keep &= valid
    return np.asarray(sample[keep], dtype=np.float64)


def _float_optical(values: Array) -> tuple[Unit, str]:
    if values.size == 0:
        return "reflectance", "floating point without a valid sample, taken as reflectance"
    high = float(np.quantile(values, 0.999))
    if high <= 2.0:  # clouds, snow and sun glint exceed 1
        return "reflectance", f"floating point, 99.9 % of the values below {high:.3g}"
    if high <= 255.0 and values.min() >= 0:
        return "uint8", f"floating point, 99.9 % of the values below {high:.4g}, within 0..255"
    return "dn", f"floating point, values reach {high:.4g}"


def _float_sar(sample: Array | None, values: Array) -> tuple[Unit, str]:
    if values.size == 0:
        return "db", "floating point without a valid sample, taken as dB"
    negative = float(np.mean(values < 0))
    if negative > 0.01:
        return "db", f"floating point, {negative:.0%} of the values negative"
    median = float(np.median(values))
    variation = _local_variation(sample)
    facts = f"local variation {variation:.2f}, median {median:.3g}"
    if _looks_like_power(variation, median):
        return "power", f"floating point without negatives, speckle and level like power ({facts})"
    return "amplitude", f"floating point without negatives, speckle and level like amplitude ({facts})"


def _looks_like_power(variation: float, median: float) -> bool:
    """Power or amplitude, by the strength of the speckle and, where that is ambiguous, by the level.

    Fully developed speckle of L looks varies by 1 / sqrt(L) in power and about 0.52 / sqrt(L) in amplitude (Goodman
    1976), so well above 0.52 it is power, and from 0.32 to there both occur: power of 3 to 10 looks, amplitude of 1 or
    2.
    Calibrated land lies near 0.01..0.1 in power and 0.1..0.5 in amplitude; amplitude as digital numbers rarely reaches
    20,000.
    """
    if variation > 0.75:
        return True
    calibrated = median < 2
    if not calibrated:
        return median > 20_000
    return median < (0.1 if variation > 0.32 else 0.05)


def _local_variation(sample: Array | None, box: int = 8) -> float:
    """Coefficient of variation inside boxes of 8 x 8 pixels, at the quartile of the most even boxes (no structure)."""
    if sample is None or min(sample.shape[-2:]) < box:
        return float("nan")
    band = np.asarray(sample[0], dtype=np.float64)
    h, w = (n // box * box for n in band.shape)
    # [h, w] -> [h/8, 8, w/8, 8] -> [boxes, 64]
    boxes = band[:h, :w].reshape(h // box, box, w // box, box).swapaxes(1, 2).reshape(-1, box * box)
    boxes = boxes[np.isfinite(boxes).all(1) & (boxes.min(1) >= 0) & (boxes.max(1) > 0)]
    if len(boxes) == 0:
        return float("nan")
    return float(np.quantile(boxes.std(1) / boxes.mean(1), 0.25))


# ---------------------------------------------------------------------------------------------------- converting


@dataclass(frozen=True)
class Conversion:
    """From stored values to the values a model takes; a plain value, made by :func:`plan_conversion`.

    For the target ``uint8`` the values are first brought to a linear scale (optical: as stored; SAR: amplitude), then
    ``low`` becomes 0 and ``high`` 255 per band, rounded and clipped.

    Args:
        family: ``optical`` or ``sar``.
        source: unit of the input.
        target: unit of the output.
        low: per band, on the linear scale; empty without a stretch.
        high: per band.
        scale: reflectance = dn x scale + offset.
        offset: see ``scale``.
    """

    family: Family
    source: Unit
    target: Unit
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, data: Array, valid: Mask) -> Array:
        """Convert ``[C, h, w]``; uint8 for the target ``uint8``, else float32. Invalid pixels become 0."""
        if self.source == self.target == "uint8" and data.dtype == np.uint8:
            out = data if valid.all() else data * valid
        else:
            out = self._convert(np.where(valid, data, data.dtype.type(0)))
            out = np.where(valid, out, out.dtype.type(0))
        return out

    def _convert(self, data: Array) -> Array:
        if self.source == self.target:
            if self.target == "uint8":
                return np.clip(np.rint(data), 0, 255).astype(np.uint8)
            return np.abs(data).astype(np.float32) if np.iscomplexobj(data) else data.astype(np.float32)
        if self.target == "uint8":
            linear = data.astype(np.float32) if self.family == "optical" else to_amplitude(data, self.source)
            low = np.asarray(self.low, np.float32)[:, None, None]
            span = np.asarray(self.high, np.float32)[:, None, None] - low
            return np.clip(np.rint((linear - low) * (np.float32(255) / span)), 0, 255).astype(np.uint8)
        if self.family == "sar":
            return from_amplitude(to_amplitude(data, self.source), self.target)
        if self.target == "reflectance":
            return (data * np.float32(self.scale) + np.float32(self.offset)).astype(np.float32)
        return ((data - np.float32(self.offset)) / np.float32(self.scale)).astype(np.float32)

    def describe(self) -> str:
        """One line for the log."""
        if self.source == self.target:
            return f"{self.family}: {self.source}, taken as it is"
        if self.target == "uint8":
            spans = ", ".join(f"{a:.4g}..{b:.4g}" for a, b in zip(self.low, self.high, strict=True))
            what = "amplitude " if self.family == "sar" else ""
            return f"{self.family}: {self.source} -> uint8, {what}{spans} to 0..255"
        return f"{self.family}: {self.source} -> {self.target}"

    def as_dict(self) -> dict[str, Any]:
        """Fields as JSON takes them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def check_varied(role: str, conversion: Conversion, sample: Array, valid: Mask) -> None:
    """Refuse a scene of which the model would see one value only.

    Args:
        role: of the scene, for the message.
        conversion: what is done to its values.
        sample: values ``[C, h, w]``, and ``valid [h, w]``.

    Raises:
        InputError: all converted values of the sample are the same.
    """
    if valid.sum() < 2:
        return
    out, stored = conversion(sample, valid)[:, valid], sample[:, valid]
    if np.ptp(out) == 0:
        distinct = len(np.unique(stored))
        raise InputError(
            f"the {role} scene reaches the model as one value",
            found=f"{out.flat[0]:g} everywhere, made of {distinct:,} different values ({conversion.describe()})"
            if distinct > 1
            else f"{stored.flat[0]:g} in every sampled pixel",
            expected="values that vary",
            hint="say what the values are (unit), and how they are stretched"
            if distinct > 1
            else "check that this is the right file",
        )


def to_amplitude(data: Array, unit: Unit) -> Array:
    """Backscatter in any unit as amplitude, float32."""
    if unit == "complex" or np.iscomplexobj(data):
        return np.abs(data).astype(np.float32)
    values = data.astype(np.float32)
    if unit == "db":
        return np.power(np.float32(10), values / np.float32(20))
    if unit == "power":
        return np.sqrt(np.maximum(values, 0))
    return values


def from_amplitude(amplitude: Array, unit: Unit) -> Array:
    """Amplitude in another unit, float32; dB has a floor of -120 so that zero stays finite."""
    if unit == "db":
        return (20 * np.log10(np.maximum(amplitude, np.float32(1e-6)))).astype(np.float32)
    if unit == "power":
        return np.square(amplitude)
    return amplitude


def plan_conversion(
    family: Family,
    source_unit: Unit,
    target_unit: Unit,
    sample: Array | None,
    valid: Mask | None,
    *,
    stretch: Stretch = "auto",
    scale: float = 1e-4,
    offset: float = 0.0,
) -> Conversion:
    """Decide how stored values become what a model takes.

    To uint8, ``auto`` follows the data the models were trained on: optical bands are stretched one by one between their
    1 % and 99 % quantiles; SAR amplitude between zero and its 99 % quantile. Equal units change nothing.

    Args:
        family: ``optical`` or ``sar``.
        source_unit: unit of the stored values.
        target_unit: unit the model asks for.
        sample: values ``[C, h, w]`` for the quantiles; needed for a stretch that is not given.
        valid: ``[h, w]``.
        stretch: ``auto``, ``minmax``, or (low, high) on the linear scale (optical: as stored; SAR: amplitude).
        scale: reflectance = dn x scale + offset.
        offset: see ``scale``.

    Raises:
        InputError: there is no way from the one unit to the other, or no valid pixel to take quantiles from.
    """
    for unit in (source_unit, target_unit):
        if unit not in UNITS[family]:
            raise InputError(
                f"the unit {unit!r} does not exist for {family} scenes", found=unit, expected=", ".join(UNITS[family]),
                hint="give the unit with --unit (damage: --pre-unit, --post-unit)",
            )  # fmt: skip
    if source_unit == target_unit and (target_unit != "uint8" or stretch == "auto"):
        return Conversion(family, source_unit, target_unit)
    if target_unit != "uint8":
        if source_unit == "uint8" or target_unit == "complex":
            raise InputError(
                f"values in {source_unit} cannot become {target_unit}", found=source_unit, expected=target_unit,
                hint="use the calibrated product instead of the stretched one, or a model that takes uint8",
            )  # fmt: skip
        return Conversion(family, source_unit, target_unit, scale=scale, offset=offset)
    low, high = _stretch_limits(family, source_unit, sample, valid, stretch)
    return Conversion(family, source_unit, "uint8", low, high)


def _stretch_limits(
    family: Family, unit: Unit, sample: Array | None, valid: Mask | None, stretch: Stretch
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if sample is None:
        raise InputError("a stretch to uint8 needs values to look at, and there are none")
    bands = [_values(band[None], valid) for band in (sample if family == "optical" else to_amplitude(sample, unit))]
    if not isinstance(stretch, str):
        return (float(stretch[0]),) * len(bands), _above((float(stretch[0]),) * len(bands), [stretch[1]] * len(bands))
    if any(b.size == 0 for b in bands):
        raise InputError(
            "the scene has no valid pixel", found="nodata only", expected="some valid pixels",
            hint="check the nodata value, or give it with --nodata (damage: --pre-nodata, --post-nodata)",
        )  # fmt: skip
    if stretch == "minmax":
        low = tuple(float(b.min()) for b in bands)
        return low, _above(low, [b.max() for b in bands])
    if stretch != "auto":
        raise InputError(f"there is not a stretch {stretch!r}", found=stretch, expected="auto, minmax, or low,high")
    low = tuple(float(np.quantile(b, 0.01)) if family == "optical" else 0.0 for b in bands)
    return low, _above(low, [np.quantile(b, 0.99) for b in bands])


def _above(low: Sequence[float], high: Sequence[float]) -> tuple[float, ...]:
    """High ends that are above the low ends even on a flat image."""
    return tuple(float(h) if h > lo else lo + max(abs(lo) * 1e-3, 1e-6) for lo, h in zip(low, high, strict=True))


def is_unit(name: str) -> bool:
    """Whether ``name`` is one of :data:`Unit`."""
    return name in get_args(Unit)
