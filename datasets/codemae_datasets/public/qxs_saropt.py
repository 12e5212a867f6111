"""QXS-SAROPT: GaoFen-3 and Google Earth over three ports.

Huang et al., "The QXS-SAROPT Dataset for Deep Learning in SAR-Optical Data Fusion", arXiv 2103.08259.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset


class QXSSAROPT(PairedDataset):
    """All pairs: no lists are published."""

    card: ClassVar[Card] = Card(
        name="qxs_saropt",
        title="QXS-SAROPT",
        home="https://github.com/yaoxu008/QXS-SAROPT",
        licence="not stated; cite the paper",
        citation="Huang et al., arXiv 2103.08259, 2021",
        size="20,000 pairs of 256 x 256 pixels",
        modality="optical (Google Earth) + SAR (GaoFen-3)",
        bands="RGB and one SAR band, 8 bits",
        gsd_m=(1.0, 1.0),
        splits={"all": 20_000},
        layout="QXSLAB_SAROPT/{opt_256_oc_0.2,sar_256_oc_0.2}/<n>.png",
        source="folder and file names as read by public matching and translation code for QXS-SAROPT",
    )
    ospretrain = "QXSLAB_SARPORT"

    def _index(self) -> list[Item]:
        folder = self._first(self.root / "QXSLAB_SAROPT", self.root / "opt_256_oc_0.2")
        folder = folder if folder.name == "QXSLAB_SAROPT" else self.root
        return self._matched({"image": folder / "opt_256_oc_0.2", "image_sar": folder / "sar_256_oc_0.2"})
