"""Formula-driven pre-training images, drawn on the fly and never stored.

Sample i is a function of (data set, seed, i) alone: the same pixels on a GPU, a CPU and in NumPy,
on any rank, after any restart. Importing this package imports neither Triton nor Numba nor timm.
"""

from fdsl_gpu.augment import Augmentation, deit_augment
from fdsl_gpu.datasets import DatasetSpec, get_dataset, list_datasets, mix
from fdsl_gpu.formulas.view import View
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.render import describe, render
from fdsl_gpu.replay import replay_fractaldb
from fdsl_gpu.stream import FormulaDataset, FormulaStream

__all__ = [
    "Augmentation",
    "DatasetSpec",
    "FormulaDataset",
    "FormulaLoader",
    "FormulaStream",
    "View",
    "deit_augment",
    "describe",
    "get_dataset",
    "list_datasets",
    "mix",
    "render",
    "replay_fractaldb",
]

__version__ = "0.1.0"
