"""What the server of :mod:`support.kills` loads before it forks."""

import torch

torch.set_num_threads(1)
