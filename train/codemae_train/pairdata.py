"""Pairs of images for pretraining: what a recipe opens, validates on, and says of them in the encoder's package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from codemae_datasets.pairs import PairSource, Statistics, measure
from codemae_datasets.samplers import PairBatchSampler, seeded
from codemae_train.config import DataConfig
from lightning.fabric import Fabric

from codemae_geo.errors import InputError
from codemae_geo.weights.package import InputSpec

Modality = Literal["optical", "sar"]


@dataclass(frozen=True)
class PairData:
    """What a method trains and validates on.

    Args:
        source: images by item.
        sampler: batches of items, the same on every process but for its share.
        statistics: of every dataset of the source.
        validation: fixed batches of items.
        validated_on: what these are of.
    """

    source: PairSource
    sampler: PairBatchSampler
    statistics: Statistics
    validation: list[list[Any]]
    validated_on: str


def open_data(recipe: Any, given: tuple[PairSource, list[Any]] | None, fabric: Fabric) -> PairData:
    """The data of a recipe with ``data`` and ``train``.

    Args:
        given: source and held-out items; None opens those of the recipe.

    Raises:
        InputError: a folder is not given or cannot be used.
    """
    train = recipe.train
    source, held_out = given or open_source(recipe.data)
    size, rank, world = train.batch // train.accumulate, fabric.global_rank, fabric.world_size
    sampler = PairBatchSampler(source, size, train.seed, rank, world, train.accumulate)
    return PairData(
        source,
        sampler,
        source_statistics(recipe.data, source, sampler),
        validation_batches(recipe, held_out, sampler),
        "held-out area" if held_out else "images of the training set",
    )


def open_source(data: DataConfig) -> tuple[PairSource, list[Any]]:
    """The source of images and the items held out of training (none in the published layout).

    Raises:
        InputError: a folder is not given or cannot be used.
    """
    if data.kind != "scenes":
        from codemae_datasets.ospretrain import OSPretrain
        from codemae_datasets.packed import PackedPairs

        if data.root is None:
            raise InputError("the recipe names no data folder", hint="set data.root=FOLDER")
        source = OSPretrain if data.kind == "ospretrain" else PackedPairs
        return source(data.root, data.use, data.exclude, data.exclude_test, data.skip_unreadable), []
    from codemae_datasets.places import RandomPlaces
    from codemae_datasets.scenes import OpticalScenes, SARScenes

    if data.optical is None or data.sar is None:
        raise InputError("the recipe names no folders of scenes", hint="set data.optical=FOLDER data.sar=FOLDER")
    optical = OpticalScenes(data.optical, stretch=data.optical_stretch)
    pairs = optical & SARScenes(data.sar, stretch=data.sar_stretch, crs=optical.crs, res=optical.res)
    if data.holdout is None:
        return RandomPlaces(pairs, data.window, data.places, skip_unreadable=data.skip_unreadable), []
    area = data.holdout
    if isinstance(area, float | int):
        x, y = pairs.bounds[:2]
        area = (x.stop - float(area) * (x.stop - x.start), y.start, x.stop, y.stop)
    held_out = RandomPlaces(pairs, data.window, 1, inside=area).grid_items()
    training = RandomPlaces(pairs, data.window, data.places, holdout=[area], skip_unreadable=data.skip_unreadable)
    return training, held_out


def source_statistics(data: DataConfig, source: PairSource, sampler: PairBatchSampler) -> Statistics:
    """Published statistics, or those of some hundred images of the first epoch."""
    if data.kind != "scenes" and data.statistics == "published":
        return source.statistics()  # type: ignore[attr-defined]
    items = [item for batch in sampler.batches() for item in batch]
    return measure(source, items[:: max(1, len(items) // 256)], len(source.names))


def validation_batches(recipe: Any, held_out: list[Any], sampler: PairBatchSampler) -> list[list[Any]]:
    """Fixed batches: of the held-out items spread over their area, or the first ones of the first epoch."""
    count, size = recipe.train.validate_batches, recipe.train.batch // recipe.train.accumulate
    if not held_out:
        return [items[:64] for items in sampler.batches()[:count]]
    size = min(size, 64, len(held_out))
    order = torch.randperm(len(held_out), generator=seeded(recipe.train.seed, 3)).tolist()
    return [[held_out[i] for i in order[k : k + size]] for k in range(0, len(order) - size + 1, size)][:count]


def image_input(modality: Modality, statistics: Statistics) -> InputSpec:
    """An input of an encoder: uint8 images, normalised by the mean statistics of all datasets."""
    table = statistics.rgb if modality == "optical" else statistics.sar
    mean, std = table.mean(dim=0).tolist()
    bands = ["red", "green", "blue"] if modality == "optical" else ["amplitude"]
    return InputSpec(name=modality, family=modality, bands=bands, unit="uint8", scale=1 / 255, mean=mean, std=std)


def encoder_limits(data: DataConfig) -> str:
    """What an encoder's package says of itself."""
    stretched = {"Optical": data.optical_stretch, "SAR": data.sar_stretch}
    limits = ["A backbone: it draws no map. Normalisation is the mean over its data sets."]
    limits += [f"{name} values {s[0]:g} to {s[1]:g} became 0 to 255 before." for name, s in stretched.items() if s]
    return " ".join(limits)
