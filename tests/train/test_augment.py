"""The quick forms of augmentation give what the libraries' give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from codemae_train.augment import AugmentConfig, dense, resized_part, turn_hue
from torchvision.transforms.v2 import functional as TF


@pytest.mark.parametrize("shift", [-0.1, 0.03, 0.5])
def test_hue_is_torchvisions(shift: float) -> None:
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    image[:, :8] = image[:, :8].round()  # pure colours, greys, black and white
    torch.testing.assert_close(turn_hue(image, shift), TF.adjust_hue(image, shift), atol=2e-6, rtol=0)


@pytest.mark.parametrize("size", [(90, 130), (33, 47), (61, 200)])
def test_a_part_of_a_resized_image_is_interpolates(size: tuple[int, int]) -> None:
    image = (torch.rand(3, 61, 83, generator=torch.Generator().manual_seed(0)) * 255).byte()
    whole = F.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    rows, cols = slice(5, 30), slice(0, 47)
    torch.testing.assert_close(resized_part(image, size, rows, cols), whole[:, rows, cols], atol=0.01, rtol=0)


def test_images_and_labels_stay_together() -> None:
    """Whatever is drawn, a label that is the image's own brightness stays so, but for blurred edges and the filling."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (20, 20), generator=generator).repeat_interleave(10, 0).repeat_interleave(10, 1)
    image = (label * 60).expand(3, -1, -1).byte()
    config = AugmentConfig(crop=128, scale=(0.5, 2.0), most=1.0, flip=0.5, flip_down=0.5, turn="any")
    for seed in range(12):
        images, labels = dense([image], label, config, [(7.0,) * 3], torch.Generator().manual_seed(seed))
        known = labels != 255
        assert images[0].shape == (3, 128, 128) and labels.shape == (128, 128)
        assert (images[0][:, ~known] == 7).all()
        assert ((images[0][0] - labels * 60).abs()[known] < 1).float().mean() > 0.6
