"""timm's loader of NaFlex batches (timm 1.0.16 and later) over drawn images."""

from __future__ import annotations

from typing import Any

from timm.data import create_naflex_loader as timm_create_naflex_loader
from timm.data.naflex_dataset import NaFlexMapDatasetWrapper

from fdsl_gpu.timm_recipe import HOST, refuse

__all__ = ["create_naflex_loader"]


class _NaFlexDataset(NaFlexMapDatasetWrapper):  # type: ignore[misc]
    """timm's wrapper keeps the epoch's number to itself: each would show the same samples."""

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.base_dataset.set_epoch(epoch)


def create_naflex_loader(dataset: Any, *arguments: Any, **options: Any) -> Any:
    """NaFlex batches of drawn images: timm's own loader, whose workers draw.

    Args:
        dataset: What is drawn.
        *arguments: As timm's.
        **options: As timm's.

    Raises:
        ValueError: The data set is to be drawn in whole batches.
    """
    if getattr(dataset, "pipeline", "auto") == "device":
        refuse("naflex_loader", True, HOST)
    loader = timm_create_naflex_loader(dataset, *arguments, **options)
    if isinstance(loader.dataset, NaFlexMapDatasetWrapper):
        loader.dataset.__class__ = _NaFlexDataset
    return loader
