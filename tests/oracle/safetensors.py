"""Writes safetensors files with numpy alone: equal inputs give equal bytes, which the format's own writer does not promise."""

import json
import struct

import numpy

NAMES = {"float32": "F32", "float16": "F16", "uint32": "U32"}


def save(path, metadata, tensors):
    """`metadata`: text by name; `tensors`: float32, float16 or uint32 arrays by name."""
    header, blocks, offset = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}}, [], 0
    for name in sorted(tensors):
        array = numpy.ascontiguousarray(tensors[name])
        block = array.astype(array.dtype.newbyteorder("<")).tobytes()
        # ascontiguousarray makes an array of rank 1 of a single number: the shape is the original's.
        shape = list(numpy.shape(tensors[name]))
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": shape, "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blocks))
