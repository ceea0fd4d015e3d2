#!/usr/bin/env python3
"""Writes the Fashion-MNIST images that the repository carries: a balanced subset, the same bytes on every run.

Source: Debian's package `dataset-fashion-mnist` (`apt-get install dataset-fashion-mnist`). Of each class the first 800
training and the first 100 test images are kept, in the order of the original files, as gzipped IDX files beside this
script. Python's standard library is all that it needs.

    python3 assets/fashion-mnist/extract.py [FOLDER_OF_THE_FULL_FILES]
"""

import gzip
import pathlib
import struct
import sys

SOURCE = pathlib.Path("/usr/share/datasets/fashion-mnist")
CLASSES = 10
SIDE = 28
MOST_BYTES = 5_000_000
# name in the package and here, images kept of each class, images in the full file
PARTS = [("train", 800, 60_000), ("t10k", 100, 10_000)]


def read(path, magic, sizes):
    """The payload of one gzipped IDX file of unsigned bytes, whose header must say `magic` and `sizes`."""
    data = gzip.decompress(path.read_bytes())
    header = struct.pack(f">{1 + len(sizes)}I", magic, *sizes)
    payload = data[len(header):]
    expected = 1
    for size in sizes:
        expected *= size
    if data[: len(header)] != header or len(payload) != expected:
        sys.exit(f"{path}: not the IDX file with sizes {sizes} that the package dataset-fashion-mnist holds")
    return payload


def write(path, magic, sizes, payload):
    """One gzipped IDX file; time 0 and no file name in the gzip header, so that equal data gives equal bytes."""
    header = struct.pack(f">{1 + len(sizes)}I", magic, *sizes)
    path.write_bytes(gzip.compress(header + payload, compresslevel=9, mtime=0))
    return path.stat().st_size


def first_of_each_class(labels, per_class):
    """Positions, in file order, of the first `per_class` images of every class."""
    seen = [0] * CLASSES
    kept = []
    for position, label in enumerate(labels):
        if seen[label] < per_class:
            seen[label] += 1
            kept.append(position)
    if seen != [per_class] * CLASSES:
        sys.exit(f"some class has fewer than {per_class} images: {seen}")
    return kept


def main():
    source = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    if not source.is_dir():
        sys.exit(f"{source} is missing: apt-get install dataset-fashion-mnist, or name the folder of the full files")
    here = pathlib.Path(__file__).resolve().parent
    total = 0
    for part, per_class, count in PARTS:
        images_name, labels_name = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
        images = read(source / images_name, 2051, [count, SIDE, SIDE])
        labels = read(source / labels_name, 2049, [count])
        kept = first_of_each_class(labels, per_class)
        area = SIDE * SIDE
        pixels = b"".join(images[at * area : (at + 1) * area] for at in kept)
        total += write(here / images_name, 2051, [len(kept), SIDE, SIDE], pixels)
        total += write(here / labels_name, 2049, [len(kept)], bytes(labels[at] for at in kept))
        print(f"{part}: {len(kept)} images, {per_class} of each of {CLASSES} classes")
    print(f"{total:,} bytes in all")
    if total > MOST_BYTES:
        sys.exit(f"that is more than the {MOST_BYTES:,} bytes that the repository allows")


if __name__ == "__main__":
    main()
