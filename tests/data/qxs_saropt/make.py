"""QXS-SAROPT: ``QXSLAB_SAROPT/{opt_256_oc_0.2,sar_256_oc_0.2}/<n>.png``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture


def make(root: Path) -> None:
    """Three pairs; the names do not sort as text."""
    for n in (1, 2, 10):
        picture(root / f"QXSLAB_SAROPT/opt_256_oc_0.2/{n}.png", seed=n)
        picture(root / f"QXSLAB_SAROPT/sar_256_oc_0.2/{n}.png", seed=50 + n, bands=1)
