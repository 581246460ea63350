"""A data set in a few lines, to read before a long run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vision.data import DataSource, Images
from vision.folders import list_files

MOST_PIXELS = 512  # largest --image_size
MOST_HEADERS = 2000  # files whose sizes are read; of more, evenly
UNEVEN = 2  # largest class / smallest class from which a data set counts as uneven


def overview(source: DataSource, images: Images) -> list[str]:
    """Lines on the training images: classes, images per class, sizes, effects of imbalance."""
    counts = np.bincount(images.labels, minlength=source.num_classes)
    names = source.class_names
    lines = [f"classes: {source.num_classes}, {_images_each(names, counts)}"]
    if source.root is not None:
        lines.append(f"sizes: {_sizes(source, images)}")
    if counts.max() >= UNEVEN * counts.min():
        most, share = names[counts.argmax()], counts.max() / counts.sum()
        lines.append(
            f"uneven classes: a model that always answers {most!r} is right in {share:.0%}. "
            "Precision and recall are macro: the mean over classes, so that a rare class counts "
            "as much as a frequent one; top1 and top3 count each image once."
        )
    return lines


def _images_each(names: Sequence[str], counts: np.ndarray) -> str:
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if counts[fewest] == counts[most]:
        return f"{counts[most]:,} training images each"
    least = f"{counts[fewest]:,} ({names[fewest]!r})"
    return f"from {least} to {counts[most]:,} ({names[most]!r}) training images each"


def _sizes(source: DataSource, images: Images) -> str:
    """Image sizes, from the headers of some files."""
    sides, usable = [], {*images.names}
    files = list_files(Path(str(source.root)), source.layout, "train", source.split)
    read = [path for _, name, path in files if name in usable]
    for path in read[:: 1 + len(read) // MOST_HEADERS]:
        with Image.open(path) as file:
            sides.append(sorted(file.size))
    shorter, longer = np.array(sides).T
    least, most, size = shorter.min(), longer.max(), source.image_size
    words = f"sides of {least:,} to {most:,} pixels" if least < most else f"{most}x{most} pixels"
    words += f", read as {size}x{size}"
    if least >= 2 * size and 2 * size <= MOST_PIXELS:
        words += f" (--image_size {2 * size} keeps more detail)"
    lost = np.mean(1 - shorter / longer)
    if source.crop == "centre" and lost >= 0.005:
        words += f"; the centre is kept, {lost:.0%} cut off (--crop pad or stretch keeps all)"
    return words
