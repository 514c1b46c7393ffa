"""About a minute of pre-training that shows the whole: drawing, learning, what is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fdsl_gpu.pretrain import PretrainConfig, Progress, Report, pretrain
from fdsl_gpu.preview import PreviewConfig, preview

__all__ = ["DemoConfig", "demo"]

DATASET_SETTINGS: Final[dict[str, Any]] = {
    # as many categories as a small model learns to tell apart in a minute
    "num_categories": 50,
    # enough for the 128 pixels that an image is drawn at before it is averaged down
    "num_points": 6_000,
    "num_walks": 256,
}


@dataclass(frozen=True)
class DemoConfig:
    """Pre-train a small model for about a minute, with a preview of what it trains on."""

    output: Path | None = None
    """Folder of the run; by default runs/demo, or runs/demo-2 and so on where that is taken."""

    def pretraining(self) -> PretrainConfig:
        """Settings of the run.

        Images are drawn at four times their size and averaged down: so the model tells 55 % of
        1,000 held-out images, and 37 % where they are drawn at 32 pixels.
        """
        return PretrainConfig(
            output=self.output or _free_folder(Path("runs/demo")),
            dataset="fractaldb-1k",
            dataset_settings=DATASET_SETTINGS,
            image_size=32,
            supersample=4,
            mean=0.2,
            model="resnet10t",
            model_settings={},
            epochs=4,
            epoch_size=3_200,
            val_size=1_000,
            batch_size=64,
            lr=3e-3,
            warmup_epochs=0.5,
            mixup=0.0,
            cutmix=0.0,
            log_interval=10,
        )


def demo(run: PretrainConfig, report: Report | None = None) -> tuple[Path, Progress]:
    """Pre-train, and draw a preview of the training images.

    Args:
        run: Settings of the run, as `DemoConfig.pretraining` gives them.
        report: Called after each update.

    Returns:
        The preview's path, and where the run was at its end.

    Raises:
        ValueError: The folder holds a run.
        RuntimeError: A file cannot be written.
    """
    end = pretrain(run, report)
    picture = preview(
        PreviewConfig(
            run.dataset,
            run.output / "preview.png",
            image_size=run.image_size * run.supersample,
            dataset_settings=run.dataset_settings,
        )
    )
    return picture, end


def _free_folder(folder: Path) -> Path:
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
