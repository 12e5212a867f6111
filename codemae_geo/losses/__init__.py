"""Training losses as small functions of tensors, and the targets that they compare with."""

from codemae_geo.losses.contrast import gather_rows, info_nce
from codemae_geo.losses.dense import DAMAGE_WEIGHTS, building_labels, cross_entropy, damage_terms
from codemae_geo.losses.distillation import distillation_loss
from codemae_geo.losses.lovasz import lovasz_rows, lovasz_softmax
from codemae_geo.losses.reconstruction import masked_mse, normalise_patches, patchify, unpatchify
from codemae_geo.losses.targets import TARGETS, cross_targets, target_channels

__all__ = [
    "DAMAGE_WEIGHTS",
    "TARGETS",
    "building_labels",
    "cross_entropy",
    "cross_targets",
    "damage_terms",
    "distillation_loss",
    "gather_rows",
    "info_nce",
    "lovasz_rows",
    "lovasz_softmax",
    "masked_mse",
    "normalise_patches",
    "patchify",
    "target_channels",
    "unpatchify",
]
