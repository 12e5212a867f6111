"""One table of sensors, and the way from the values in a file to the values a model was trained on.

A raster of amplitudes, decibels or surface reflectances looks the same to a reader: an array of numbers. This module
names the *unit* of the numbers (:data:`Unit`), recognises it (:func:`detect_unit`), and converts it
(:func:`plan_conversion`, :class:`Conversion`). numpy only; arrays are ``[C, h, w]``, masks ``[h, w]`` with True =
valid.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from codemae_geo.errors import InputError, number, param

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
        stretch: quantiles that become 0 and 255 when the values are stretched to uint8; None is zero.
        gsd: nominal ground sample distance in metres; None where it varies.
    """

    name: str
    family: Family
    bands: tuple[str, ...]
    unit: Unit
    scale: float = 1.0
    offset: float = 0.0
    stretch: tuple[float | None, float] = (0.01, 0.99)
    gsd: float | None = None


_S2_L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_S2_L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")

#: Stretches: optical products lose 1 % at either end; amplitude starts at zero and loses the brightest 1 %.
SENSORS: dict[str, Sensor] = {
    s.name: s
    for s in (
        Sensor("rgb", "optical", ("red", "green", "blue"), "uint8"),
        Sensor("sentinel-2-l2a", "optical", _S2_L2A, "dn", 1e-4, 0.0, gsd=10),
        Sensor("sentinel-2-l1c", "optical", _S2_L1C, "dn", 1e-4, 0.0, gsd=10),
        Sensor("sar", "sar", ("sar",), "uint8", stretch=(None, 0.99)),
        Sensor("sentinel-1-grd", "sar", ("VV", "VH"), "amplitude", 1.0, 0.0, (None, 0.99), 10),
        Sensor("sentinel-1-rtc", "sar", ("VV", "VH"), "power", 1.0, 0.0, (None, 0.99), 10),
        Sensor("sentinel-1-rtc-db", "sar", ("VV", "VH"), "db", 1.0, 0.0, (None, 0.99), 10),
        Sensor("umbra-gec", "sar", ("VV",), "uint8", stretch=(None, 0.99)),
        Sensor("capella-geo", "sar", ("HH",), "amplitude", 1.0, 0.0, (None, 0.99)),
        Sensor("capella-slc", "sar", ("HH",), "complex", 1.0, 0.0, (None, 0.99)),
    )
}


# ---------------------------------------------------------------------------------------------------- recognising


#: what names, tags or a product's metadata say of the unit: (unit, where that stands)
Said = Sequence[tuple[Unit, str]]

_WORDS: dict[str, Unit] = {
    "db": "db", "decibel": "db", "decibels": "db",
    "power": "power", "pwr": "power", "intensity": "power", "linear": "power",
    "amplitude": "amplitude", "amp": "amplitude", "magnitude": "amplitude",
}  # fmt: skip


def unit_words(text: str) -> Unit | None:
    """The radar unit that a name or tag states; None where it states none, or two.

    >>> unit_words("S1A_20201107_VV_dB.tif"), unit_words("gamma0 (power)"), unit_words("intensity in dB")
    ('db', 'power', None)
    """
    found = {_WORDS[word] for word in re.split(r"[^a-z]+", text.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def detect_unit(
    family: Family, dtype: DTypeLike, sample: Array | None = None, valid: Mask | None = None, said: Said = ()
) -> tuple[Unit, str]:
    """Name the unit of measured values, with the reason for the log.

    Args:
        family: ``optical`` or ``sar``.
        dtype: type of the values.
        sample: values ``[C, h, w]`` at full resolution (averaged SAR has lost its speckle); needed for float only.
        valid: ``[h, w]``; None takes every finite value.
        said: what names and metadata say of radar values. It is believed unless the values contradict it.

    Returns:
        The unit and one sentence that says why.

    Raises:
        InputError: the evidence does not settle it, or optical values are complex.
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
                hint=f"for radar imagery say {param('sensor', 'sar')}",
            )  # fmt: skip
        return _float_optical(_values(sample, valid))
    if kind.kind == "c":
        return "complex", f"stored as {kind.name}, so single-look complex"
    values = _values(sample, valid)
    units = {unit for unit, _ in said}
    if len(units) > 1:
        raise _unclear("names and metadata contradict each other: " + "; ".join(f"{u} by {w}" for u, w in said))
    if units:
        unit, why = next(iter(said))
        if (against := _contradiction(unit, values)) is not None:
            raise _unclear(f"{unit} by {why}, and {against}")
        return unit, f"as {why} says"
    if kind.kind in "iu":
        return _integer_sar(kind, sample, valid, values)
    return _float_sar(sample, valid, values)


def _unclear(facts: str) -> InputError:
    return InputError(
        "what the radar values are cannot be told",
        found=facts,
        expected="decibels, power or amplitude that can be told apart",
        hint=f"give the unit with {param('unit')}: db, power or amplitude",
    )


def _values(sample: Array | None, valid: Mask | None) -> Array:
    """Finite valid values, flat, as float64."""
    if sample is None:
        return np.empty(0)
    keep = np.isfinite(sample)
    if valid is not None:
        keep &= valid
    return np.asarray(sample[keep], dtype=np.float64)


def _contradiction(unit: Unit, values: Array) -> str | None:
    """What in the values cannot be, if they are in a unit; None where they can."""
    if values.size == 0:
        return None
    low, middle, high = (float(v) for v in np.quantile(values, (0.01, 0.5, 0.99)))
    if unit == "db" and not (low > -150 and high < 150):
        return f"the values reach from {number(low, 4)} to {number(high, 4)}"
    if unit == "db" and low >= 0 and high - low < 1:
        return f"all values lie between {number(low, 3)} and {number(high, 3)}"
    if unit in ("power", "amplitude") and middle < 0:
        return f"{np.mean(values < 0):.0%} of the values are negative"
    return None


def _integer_sar(kind: np.dtype[Any], sample: Array | None, valid: Mask | None, values: Array) -> tuple[Unit, str]:
    """Digital numbers of amplitude, unless they are negative, or their speckle is that of decibels: then a question."""
    if values.size and np.mean(values < 0) >= 0.01:
        unit, reason = _with_negatives(values, float(np.mean(values < 0)))
        return unit, reason.replace("floating point", f"stored as {kind.name}", 1)
    speckle = _speckle(sample, valid)
    if speckle.known and speckle.lean < -0.1 and not speckle.slope > 0.5:
        raise _unclear(f"{kind.name} with speckle as in decibels ({speckle.describe()}), and no scale in the header")
    return "amplitude", f"stored as {kind.name}, so digital numbers of amplitude"


def _float_optical(values: Array) -> tuple[Unit, str]:
    if values.size == 0:
        return "reflectance", "floating point without a valid sample, taken as reflectance"
    high = float(np.quantile(values, 0.999))
    if high <= 2.0:  # clouds, snow and sun glint exceed 1
        return "reflectance", f"floating point, 99.9 % of the values below {high:.3g}"
    if high <= 255.0 and values.min() >= 0:
        return "uint8", f"floating point, 99.9 % of the values below {high:.4g}, within 0..255"
    return "dn", f"floating point, values reach {high:.4g}"


def _float_sar(sample: Array | None, valid: Mask | None, values: Array) -> tuple[Unit, str]:
    if values.size == 0:
        return "db", "floating point without a valid sample, taken as dB"
    negative = float(np.mean(values < 0))
    if negative > 0.01:
        return _with_negatives(values, negative)
    speckle = _speckle(sample, valid)
    facts = f"{'few' if negative else 'no'} negatives, {speckle.describe()}, median {np.median(values):.3g}"
    if speckle.known and (decibels := _like_decibels(speckle, float(values.max()))) is not False:
        if decibels is None:
            raise _unclear(facts)
        return "db", f"floating point, speckle of one strength at every level, as only decibels have it ({facts})"
    power = _power_score(speckle, float(np.median(values)))
    if abs(power) < 2:
        raise _unclear(f"{facts}: between power and amplitude")
    unit: Unit = "power" if power > 0 else "amplitude"
    if unit == "amplitude" and negative > 0:
        raise _unclear(f"{facts}: like amplitude, but for some negative values")
    return unit, f"floating point, speckle and level like {unit} ({facts})"


def _with_negatives(values: Array, negative: float) -> tuple[Unit, str]:
    """Decibels, or power from which noise was subtracted: the one is spread evenly about its median or to the low side,
    the other far to the high side, with negatives no larger than the noise.
    """
    low, q25, middle, q75, high = (float(v) for v in np.quantile(values, (0.01, 0.25, 0.5, 0.75, 0.99)))
    lean = (high - middle) / max(middle - low, 1e-12)
    span = f"{number(low, 3)} and {number(high, 3)}"
    facts = f"{negative:.0%} of the values negative, median {middle:.3g}, 98 % between {span}"
    in_range = low > -150 and high < 100
    # subtracting the mean of the noise leaves no more than every second pixel of pure noise below zero
    if in_range and ((lean < 2 and q75 - q25 >= 0.8) or (negative > 0.7 and middle < -1)):
        return "db", f"floating point, {facts}, as decibels are"
    if lean > 3 and negative < 0.6:
        return "power", f"floating point, {facts}: far more to the high side, as power less noise is"
    raise _unclear(facts)


@dataclass(frozen=True)
class _Speckle:
    """Statistics of boxes of 8 x 8 pixels.

    Args:
        variation: coefficient of variation, at the quartile of the most even boxes (no structure); NaN without boxes.
        lean: skewness over variation, of the more even half of the boxes.
        error: standard error of ``lean``.
        slope: of the logarithm of the standard deviation over that of the mean: 1 where speckle multiplies, 0 where it
            adds; NaN where all boxes are of one level.
    """

    variation: float = float("nan")
    lean: float = float("nan")
    error: float = float("nan")
    slope: float = float("nan")

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.variation))

    def describe(self) -> str:
        if not self.known:
            return "too few pixels to see speckle"
        slope = "" if np.isnan(self.slope) else f", slope {self.slope:.2f}"
        return f"local variation {self.variation:.2f}, skewness over variation {self.lean:.2f}{slope}"


def _like_decibels(speckle: _Speckle, high: float) -> bool | None:
    """Whether positive values are decibels; None where that cannot be told.

    In decibels speckle adds, with the same spread at every level and a longer low side; in power and amplitude it
    multiplies, with a longer high side.
    """
    if high > 150 or speckle.lean > 0.3 or speckle.slope > 0.7:
        return False
    return True if speckle.lean < -0.1 and not speckle.slope > 0.5 else None


def _power_score(speckle: _Speckle, median: float) -> int:
    """Evidence for power (positive) or amplitude (negative); from 2 on it is enough.

    *Strength*: fully developed speckle of L looks varies by 1 / sqrt(L) in power and about 0.52 / sqrt(L) in amplitude
    (Goodman 1976), so well above 0.52 it is power. *Shape*: skewness is 2 times the variation in power and about 1 time
    in amplitude, whatever the number of looks (moments of the gamma and Nakagami distributions); in the more even half
    of small boxes, 1.5 and 0.7 to 1. *Level*: calibrated land lies near 0.01..0.1 in power and 0.1..0.5 in amplitude;
    digital numbers of amplitude rarely exceed 20,000.
    """
    score = 0
    if speckle.known:
        sure = 2 * speckle.error
        shape = -1 if speckle.lean + sure < 1.45 else 1 if speckle.lean - sure > 1.35 else 0
        score = 3 if speckle.variation > 0.7 else shape
    if median < 2:
        return score + (1 if median < 0.1 else -1 if median > 0.2 else 0)
    return score + (-1 if median < 20_000 else 1)


def _speckle(sample: Array | None, valid: Mask | None, box: int = 8) -> _Speckle:
    """Measure the speckle of the first band."""
    if sample is None or min(sample.shape[-2:]) < box:
        return _Speckle()
    band = np.asarray(sample[0], dtype=np.float64)
    if valid is not None:
        band = np.where(valid, band, np.nan)
    h, w = (n // box * box for n in band.shape)
    # [h, w] -> [h/8, 8, w/8, 8] -> [boxes, 64]
    boxes = band[:h, :w].reshape(h // box, box, w // box, box).swapaxes(1, 2).reshape(-1, box * box)
    boxes = boxes[np.isfinite(boxes).all(1) & (boxes.min(1) >= 0) & (boxes.max(1) > boxes.min(1))]
    if len(boxes) < 4:
        return _Speckle()
    mean, deviation = boxes.mean(1), boxes.std(1)
    variation = deviation / mean
    even = variation <= np.median(variation)
    skewness = float(np.mean(((boxes[even] - mean[even, None]) / deviation[even, None]) ** 3))
    levels = np.log(mean)
    slope = float(np.polyfit(levels, np.log(deviation), 1)[0]) if levels.std() > 0.05 else float("nan")
    spread = float(np.sqrt(np.mean(variation[even] ** 2)))
    error = float(np.sqrt(6 / boxes[even].size)) / spread  # of the skewness of as many independent normal values
    return _Speckle(float(np.quantile(variation, 0.25)), skewness / spread, error, slope)


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
    """Refuse a scene of which the model would see one value only, unless it is a picture and taken as it is.

    Args:
        role: of the scene, for the message.
        conversion: what is done to its values.
        sample: values ``[C, h, w]``, and ``valid [h, w]``.

    Raises:
        InputError: all converted values of the sample are the same.
    """
    if valid.sum() < 2 or (conversion.source == conversion.target == "uint8"):
        return
    out, stored = conversion(sample, valid)[:, valid], sample[:, valid]
    if np.ptp(out) == 0:
        distinct = len(np.unique(stored))
        raise InputError(
            f"the {role} scene reaches the model as one value",
            found=f"{number(out.flat[0])} everywhere, made of {distinct:,} different values ({conversion.describe()})"
            if distinct > 1
            else f"{number(stored.flat[0])} in every sampled pixel",
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
                hint=f"give the unit with {param('unit')}",
                option="unit",
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
            hint=f"check the nodata value, or give it with {param('nodata')}",
            option="nodata",
        )  # fmt: skip
    if stretch == "minmax":
        low = tuple(float(b.min()) for b in bands)
        return low, _above(low, [b.max() for b in bands])
    if stretch != "auto":
        raise InputError(f"unknown stretch {stretch!r}", found=stretch, expected="auto, minmax, or low,high")
    low = tuple(float(np.quantile(b, 0.01)) if family == "optical" else 0.0 for b in bands)
    return low, _above(low, [np.quantile(b, 0.99) for b in bands])


def _above(low: Sequence[float], high: Sequence[float]) -> tuple[float, ...]:
    """High ends that are above the low ends even on a flat image."""
    return tuple(float(h) if h > lo else lo + max(abs(lo) * 1e-3, 1e-6) for lo, h in zip(low, high, strict=True))
