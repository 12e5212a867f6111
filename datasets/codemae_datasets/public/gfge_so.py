"""GFGE-SO: GaoFen SAR with Google Earth, as OSPretrain-1M holds it.

No public code reads the original archive, so its layout could not be learnt. The form that is read here is the one of
OSPretrain-1M (Peng et al., arXiv 2604.16952).
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset


class GFGESO(PairedDataset):
    """The folder ``GFGE_SOdataset`` of OSPretrain-1M."""

    card: ClassVar[Card] = Card(
        name="gfge_so",
        title="GFGE-SO",
        home="https://github.com/scenarri/CoDeMAE",
        licence="academic research only, as part of OSPretrain-1M",
        citation="Peng et al., arXiv 2604.16952, 2026",
        size="30,000 pairs in OSPretrain-1M",
        modality="optical (Google Earth) + SAR (GaoFen)",
        bands="RGB and one SAR band, 8 bits",
        gsd_m=None,
        splits={"train": None, "val": None, "test": None},
        layout="GFGE_SOdataset/{RGB,SAR}/<name>.png, {train,val,test}.txt of names",
        source="scenarri/CoDeMAE (pretrain/opt_sar_dataset.py): the form in OSPretrain-1M. The layout of the original"
        " archive is not known to us",
    )
    ospretrain = "GFGE_SOdataset"

    def _index(self) -> list[Item]:
        folder = self._need(self.root / "GFGE_SOdataset")
        names = [name.removesuffix(".png") for name in self._lines(folder / f"{self.split}.txt")]
        return self._matched({"image": folder / "RGB", "image_sar": folder / "SAR"}, names=names)
