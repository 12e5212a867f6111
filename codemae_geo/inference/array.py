"""Blended windows over an image in memory: the engine's windows and weights, without files and georeferencing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codemae_geo.errors import InputError, ModelError
from codemae_geo.tiling import Blend, plan_tiles
from codemae_geo.weights.foreign import OnnxModule

Image = TypeVar("Image", Tensor, NDArray[Any])


def predict_array(
    model: Callable[[Tensor], Tensor] | str | Path,
    image: Image,
    *,
    window: int = 512,
    overlap: float = 0.5,
    blend: Blend = "hann",
    batch_size: int = 1,
    multiple: int = 32,
    device: str | torch.device | None = None,
) -> Image:
    """What a dense network says of a whole image, from windows that fade into each other.

    The call of MONAI's ``sliding_window_inference``: nothing is normalised and no softmax taken; what the network
    answers is blended as it is. Gradients are not kept.

    Args:
        model: takes ``[B, C, h, w]``, returns ``[B, K, h, w]``; or an ONNX file. A torch module is run as it stands:
            set it to evaluation first.
        image: ``[C, H, W]`` or ``[B, C, H, W]``, a tensor or an array, as the network takes it.
        window, overlap, blend, multiple: see :func:`codemae_geo.tiling.plan_tiles`. What reaches beyond the image is 0.
        batch_size: windows per call.
        device: where the windows go; None is where the image is.

    Returns:
        ``[K, H, W]`` or ``[B, K, H, W]`` float32, of the kind of the image and where it is.

    Raises:
        InputError: the image has another number of dimensions, or the windows cannot be planned.
        ModelError: the network answers in another size.
    """
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image))
    if tensor.ndim not in (3, 4):
        raise InputError(
            "the image has a wrong shape", found=str(list(image.shape)), expected="[C, H, W] or [B, C, H, W]"
        )
    network = OnnxModule(model) if isinstance(model, str | Path) else model
    if isinstance(network, OnnxModule) and network.side is not None:
        window = multiple = network.side
    batch = tensor if tensor.ndim == 4 else tensor[None]
    height, width = batch.shape[-2:]
    try:
        plan = plan_tiles(height, width, window, overlap, blend=blend, multiple=multiple)
    except ValueError as error:
        raise InputError(str(error)) from error
    rows, cols = plan.window
    places = [
        (n, i, j) for n in range(len(batch)) for i in range(len(plan.row_starts)) for j in range(len(plan.col_starts))
    ]
    total: Tensor | None = None
    with torch.inference_mode() if isinstance(network, nn.Module) else nullcontext(), torch.no_grad():
        for at in range(0, len(places), batch_size):
            chosen = places[at : at + batch_size]
            windows = batch.new_zeros(len(chosen), batch.shape[1], rows, cols)
            for k, (n, i, j) in enumerate(chosen):
                piece = batch[n, :, plan.row_starts[i] : plan.row_starts[i] + rows, plan.col_starts[j] :][..., :cols]
                windows[k, :, : piece.shape[1], : piece.shape[2]] = piece
            answers = network(windows if device is None else windows.to(device))
            if answers.ndim != 4 or answers.shape[-2:] != (rows, cols):
                raise ModelError(
                    "the network answers in another size",
                    found=str(list(answers.shape)),
                    expected=f"[{len(chosen)}, K, {rows}, {cols}]",
                )
            answers = answers.to(tensor.device, torch.float32)
            if total is None:
                total = torch.zeros(len(batch), answers.shape[1], height, width, device=tensor.device)
            for answer, (n, i, j) in zip(answers, chosen, strict=True):
                top, left = plan.row_starts[i], plan.col_starts[j]
                weight = torch.from_numpy(plan.weight(i, j)).to(tensor.device)
                cut = (answer * weight)[:, : height - top, : width - left]
                total[n, :, top : top + cut.shape[1], left : left + cut.shape[2]] += cut
    assert total is not None
    result = total if tensor.ndim == 4 else total[0]
    return result if isinstance(image, Tensor) else result.numpy()
