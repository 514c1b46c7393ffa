"""The files of an export: PNGs in a folder a category, or tar shards as webdataset reads them.

Where a sample lies follows from its index alone, and every file is whole or absent.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.files import make_folder, replacing

__all__ = ["ImageFolder", "Layout", "Sample", "TarShards", "encode_png"]

DISK_BLOCK: Final = 4096
"""What the last block of a file rounds up to on the usual file systems."""
TAR_BLOCK: Final = 512
"""Header of a member, and what its content rounds up to."""


@dataclass(frozen=True)
class Sample:
    """One sample as it is stored."""

    index: int
    label: int
    png: bytes
    about: dict[str, Any]
    """Its index and what `describe` says of it."""


class Layout(Protocol):
    """Which file holds a sample."""

    def parts(self) -> Iterator[NDArray[np.uint64]]:
        """Indices [n] of the samples that have no file yet, in parts that `opened` writes."""

    @contextmanager
    def opened(self, part: NDArray[np.uint64]) -> Iterator[Callable[[Sample], None]]:
        """A function that stores the samples of a part, to be called in their order."""

    def stored(self, index: int, label: int) -> bytes | None:
        """The PNG of a sample where it is there and quickly found."""

    def disk_bytes(self, sample: Sample) -> int:
        """What a sample takes on the disk."""


@dataclass(frozen=True)
class ImageFolder:
    """LABEL/INDEX.png: what torchvision's ImageFolder and timm read.

    Args:
        folder: Root of the export.
        indices: All samples of the export.
        labels_of: Labels of an array of indices.
        num_classes: K: its digits are those of a category's folder, so that names sort as labels.
    """

    folder: Path
    indices: range
    labels_of: Callable[[NDArray[np.uint64]], NDArray[np.int64]]
    num_classes: int

    def path(self, index: int, label: int) -> Path:
        """Of one sample."""
        digits = len(str(self.num_classes - 1))
        return self.folder / f"{label:0{digits}}" / f"{index:012}.png"

    def chunks(self) -> Iterator[NDArray[np.uint64]]:
        """All indices, some thousand at a time."""
        return _chunks(self.indices, 4096)

    def parts(self) -> Iterator[NDArray[np.uint64]]:
        """Samples without a file; an empty one is what a power cut may leave."""
        for some in self.chunks():
            labels = self.labels_of(some)
            places = zip(some.tolist(), labels.tolist(), strict=True)
            missing = some[[not _has_content(self.path(*place)) for place in places]]
            if missing.size:
                yield missing

    @contextmanager
    def opened(self, part: NDArray[np.uint64]) -> Iterator[Callable[[Sample], None]]:
        """Every sample is a file of its own."""
        for label in np.unique(self.labels_of(part)).tolist():
            make_folder(self.path(0, label).parent)
        yield self._put

    def _put(self, sample: Sample) -> None:
        # waiting for the disk would take longer than all the rest
        with replacing(self.path(sample.index, sample.label), sync=False) as file:
            file.write_bytes(sample.png)

    def stored(self, index: int, label: int) -> bytes | None:
        """The file of the sample."""
        path = self.path(index, label)
        return path.read_bytes() if _has_content(path) else None

    def disk_bytes(self, sample: Sample) -> int:
        """Whole blocks."""
        return _round_up(len(sample.png), DISK_BLOCK)


@dataclass(frozen=True)
class TarShards:
    """NAME-000000.tar and so on, with INDEX.png, INDEX.cls and INDEX.json for each sample.

    The same samples give the same bytes: no member has a time or an owner.

    Args:
        folder: Root of the export.
        name: What the shards' names begin with.
        indices: All samples of the export.
        images_per_shard: Samples in each shard but the last.
    """

    folder: Path
    name: str
    indices: range
    images_per_shard: int

    def path(self, index: int) -> Path:
        """Of the shard that holds the sample."""
        shard = (index - self.indices.start) // self.images_per_shard
        return self.folder / f"{self.name}-{shard:06}.tar"

    def parts(self) -> Iterator[NDArray[np.uint64]]:
        """Shards that are not there."""
        for shard in _chunks(self.indices, self.images_per_shard):
            if not self.path(int(shard[0])).exists():
                yield shard

    @contextmanager
    def opened(self, part: NDArray[np.uint64]) -> Iterator[Callable[[Sample], None]]:
        """One shard, which takes its name when its last sample is in it."""
        with (
            replacing(self.path(int(part[0]))) as file,
            tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):

            def put(sample: Sample) -> None:
                for ending, content in self._members(sample):
                    member = tarfile.TarInfo(f"{sample.index:012}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))

            yield put

    def _members(self, sample: Sample) -> list[tuple[str, bytes]]:
        about = json.dumps(sample.about).encode()
        return [("png", sample.png), ("cls", str(sample.label).encode()), ("json", about)]

    def stored(self, index: int, label: int) -> bytes | None:
        """The first PNG of a shard; any other would have to be searched for."""
        path = self.path(index)
        if (index - self.indices.start) % self.images_per_shard or not path.exists():
            return None
        with tarfile.open(path) as tar:
            member = tar.next()
            content = tar.extractfile(member) if member is not None else None
            return content.read() if content is not None else b""

    def disk_bytes(self, sample: Sample) -> int:
        """Three members, each with its header."""
        return sum(
            TAR_BLOCK + _round_up(len(content), TAR_BLOCK) for _, content in self._members(sample)
        )


def encode_png(image: NDArray[np.uint8]) -> bytes:
    r"""A PNG of the image, lossless.

    Ten times as fast as PIL's and a quarter smaller on fractals (224 pixels, gray: 0.37 ms and
    5.9 KB against 3.6 ms and 7.7 KB): the usual filters expect smooth images, and these are noise
    in flat black, which run lengths fit.

    Args:
        image: [1, H, W] gray or [3, H, W] RGB.

    Source:
        PNG specification, third edition, W3C 2025, sections 5, 7 and 11.

    Example:
        >>> encode_png(np.zeros((1, 8, 8), np.uint8))[:8]
        b'\x89PNG\r\n\x1a\n'
    """
    channels, height, width = image.shape
    # every row begins with the number of its filter: 0, none
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.transpose(1, 2, 0).reshape(height, -1)
    deflate = zlib.compressobj(level=6, strategy=zlib.Z_RLE)
    data = deflate.compress(rows.tobytes()) + deflate.flush()
    color_type = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        for body in chunks
    )


def _chunks(indices: range, size: int) -> Iterator[NDArray[np.uint64]]:
    """Consecutive pieces of a range, as arrays."""
    for first in range(indices.start, indices.stop, size):
        yield np.arange(first, min(first + size, indices.stop), dtype=np.uint64)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _round_up(num_bytes: int, block: int) -> int:
    return -(-num_bytes // block) * block
