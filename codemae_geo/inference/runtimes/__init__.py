"""What runs a network: torch, OpenVINO or ONNX Runtime, behind one seam of NumPy arrays.

:func:`choose_runtime` decides from the hardware and from what is installed; :func:`load_network` makes a
:class:`Network`: windows of pixels with their masks in, answers out. Normalising, the network and the softmax are one
graph inside of it, so nothing outside needs torch.
"""

from codemae_geo.inference.runtimes.base import Choice, Network, OutOfMemory, Program
from codemae_geo.inference.runtimes.choose import DEVICES, PRECISIONS, RUNTIMES, choose_runtime, installed, load_network

__all__ = [
    "DEVICES",
    "PRECISIONS",
    "RUNTIMES",
    "Choice",
    "Network",
    "OutOfMemory",
    "Program",
    "choose_runtime",
    "installed",
    "load_network",
]
