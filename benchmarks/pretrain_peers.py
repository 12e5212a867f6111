"""A training step of DeCUR and of Cross-Scale MAE against a plain form of the published one, side by side.

    python benchmarks/pretrain_peers.py [--steps 5] [--threads 2]

The plain forms have the same weights, the same numbers (checked before anything is timed) and the published order of
work: DeCUR's loss from whole D x D matrices whose diagonals are taken off by copying, convolutions in torch's default
layout; Cross-Scale MAE's two scales one after the other, attention written out, and pixels predicted of all patches.
A step is forward, backward and AdamW, ours with torch's fused kernel. Steps of the two forms alternate, and the median
of the ratios is printed.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codemae_geo.losses.cross_scale import cross_scale_contrast
from codemae_geo.losses.reconstruction import masked_mse, patchify
from codemae_geo.losses.redundancy import decur_loss
from codemae_geo.models import build
from codemae_geo.models.codemae import random_masking
from codemae_geo.models.cross_scale_mae import CrossScaleMAE
from codemae_geo.models.hivit import Attention


def plain_decur(model: Any, first: Any, second: Any, count: int) -> Tensor:
    """Sums over whole correlation matrices, as Barlow Twins' program has them."""
    norm = nn.BatchNorm1d(model.bn.num_features, affine=False)
    one, two = ([norm(model.project(view, i)) for view in views] for i, views in ((1, first), (2, second)))

    def off_diagonal(c: Tensor) -> Tensor:
        n = len(c)
        return c.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()

    def block(c: Tensor, on: float) -> Tensor:
        return (c.diagonal() - on).pow(2).sum() + model.weight * off_diagonal(c.contiguous()).pow(2).sum()

    common = model.common
    within = [block(a.t() @ b / count, 1) for a, b in (one, two)]
    c = one[0].t() @ two[0] / count
    cross = (block(c[:common, :common], 1) + block(c[common:, common:], 0)) / 2
    return (within[0] + within[1] + cross) / 3


class _Given(nn.Module):
    """Embeddings as parameters, for the loss alone."""

    def __init__(self, batch: int, dimensions: int) -> None:
        super().__init__()
        self.z = nn.ParameterList(nn.Parameter(torch.randn(batch, dimensions)) for _ in range(4))
        self.bn = nn.BatchNorm1d(dimensions, affine=False)
        self.weight, self.common = 0.0051, int(0.875 * dimensions)

    def project(self, view: int, stream: int) -> Tensor:
        """The embedding of a view."""
        return self.z[view]


def decur_loss_alone(name: str, steps: int, batch: int) -> None:
    """Compare the loss of DeCUR with the published dimensions, without networks."""
    torch.manual_seed(0)
    model = _Given(batch, 8192)

    def plain(given: Any) -> Tensor:
        return plain_decur(given, (0, 1), (2, 3), batch)

    def ours(given: Any) -> Tensor:
        return decur_loss((given.z[0], given.z[1]), (given.z[2], given.z[3]), given.common).total

    compare(name, steps, [(model, plain), (copy.deepcopy(model), ours)])


def plain_cross_scale(model: CrossScaleMAE, image: Tensor, crop: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
    """One scale after the other, every patch predicted."""
    passes = []
    for view, drawn in ((image, noise[0]), (crop, noise[1])):
        masking = random_masking(drawn, model.mask_ratio)
        tokens = model.encode(view, masking.keep)
        decoded = model.decode(tokens, masking.restore)[:, 1:]
        hidden = torch.zeros_like(drawn).scatter(1, masking.removed, 1.0)
        loss = masked_mse(model.decoder_pred(decoded), patchify(view, model.patch), hidden)
        passes.append((loss, decoded, tokens[:, 1:].mean(dim=1)))
    (of_image, image_tokens, a), (of_crop, crop_tokens, b) = passes
    prediction = nn.functional.mse_loss(model.predictor(crop_tokens), image_tokens)
    return of_image + of_crop + prediction + cross_scale_contrast(a, b, model.temperature)


def compare(name: str, steps: int, forms: Sequence[tuple[nn.Module, Callable[[Any], Tensor]]]) -> None:
    """Alternate steps of the plain form and ours; print medians and the median ratio."""
    with torch.no_grad():
        expected, found = (float(form(model.eval())) for model, form in forms)
    assert abs(found - expected) < 1e-3 * abs(expected), f"{name}: {found} is not {expected}"
    optimizers = [
        torch.optim.AdamW([p for p in model.train().parameters() if p.requires_grad], lr=1e-6, fused=fused)
        for (model, _), fused in zip(forms, (False, True), strict=True)
    ]
    times: list[list[float]] = []
    for step in range(steps + 1):
        pair = []
        for (model, form), optimizer in zip(forms, optimizers, strict=True):
            began = time.perf_counter()
            form(model).backward()
            optimizer.step()
            optimizer.zero_grad()
            pair.append(time.perf_counter() - began)
        if step:  # the first warms up
            times.append(pair)
    plain, ours = (statistics.median(pair[i] for pair in times) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in times)
    print(f"{name:44} plain {plain:7.3f} s   ours {ours:7.3f} s   ratio {ratio:.2f}", flush=True)


def decur(name: str, steps: int, batch: int, **config: Any) -> None:
    """Compare DeCUR's step."""
    torch.manual_seed(0)
    model = build("decur", {"channels": [2, 13]} | config)
    size = config["img_size"]
    views = [[torch.randn(batch, channels, size, size) for _ in range(2)] for channels in (2, 13)]
    last: Any = {"memory_format": torch.channels_last}
    laid = [[view.contiguous(**last) for view in pair] for pair in views]
    forms = [
        (model, lambda m: plain_decur(m, views[0], views[1], batch)),
        (copy.deepcopy(model).to(**last), lambda m: m(*laid).total),
    ]
    compare(name, steps, forms)


def cross_scale(name: str, steps: int, batch: int, **config: Any) -> None:
    """Compare Cross-Scale MAE's step."""
    torch.manual_seed(0)
    model = build("cross-scale-mae", config)
    assert isinstance(model, CrossScaleMAE)
    image, crop = torch.randn(2, batch, 3, config["img_size"], config["img_size"])
    noise = (torch.rand(batch, model.side**2), torch.rand(batch, model.side**2))
    ours = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, Attention):
            module.fused = False
    forms = [
        (model, lambda m: plain_cross_scale(m, image, crop, noise)),
        (ours, lambda m: m(image, crop, noise).total),
    ]
    compare(name, steps, forms)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="comparisons whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    small: dict[str, Any] = {"backbone": "resnet18", "img_size": 64, "projector": [1024] * 3}
    rda: dict[str, Any] = {"img_size": 96, "rda": True, "projector": [2048] * 3}
    comparisons: list[tuple[str, Callable[..., None], int, dict[str, Any]]] = [
        ("DeCUR loss alone (64 x 8192)", decur_loss_alone, 64, {}),
        ("DeCUR small (ResNet-18, 64 px, 1024)", decur, 64, small),
        ("DeCUR published (ResNet-50, 96 px, 8192)", decur, 16, {"backbone": "resnet50", "img_size": 96}),
        ("DeCUR RDA (ResNet-50, 96 px, 2048)", decur, 16, rda),
        ("Cross-Scale MAE small (ViT-Tiny, 96 px)", cross_scale, 64, {"variant": "tiny", "img_size": 96}),
        ("Cross-Scale MAE published (ViT-B, 128 px)", cross_scale, 8, {"variant": "base", "img_size": 128}),
        ("Cross-Scale MAE (ViT-B, 224 px)", cross_scale, 4, {"variant": "base", "img_size": 224}),
    ]
    for name, function, batch, config in comparisons:
        if args.only.lower() in name.lower():
            function(name, args.steps, batch, **config)


if __name__ == "__main__":
    main()
