#!/usr/bin/env python3
"""Turns the ONNX project's node tests that match one of our ops into case files.

    pip download onnx==1.17.0 --no-deps && unzip -d onnx onnx-*.whl    # later wheels no longer carry the data
    python3 tests/oracle/write_onnx.py onnx/onnx/backend/test/data/node OUT

Needs numpy only: the few messages of the format that the tests use are read here. Prints how many tests there are, how
many match, and why the others of the same operators do not.
"""

import collections
import json
import os
import struct
import sys

import numpy

import safetensors

DTYPES = {1: "float32", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}


def fields(data):
    """(number, value) of a protobuf message: whole numbers, 4 or 8 bytes, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def packed(value):
    """A repeated whole number: packed into bytes, or one by one."""
    if isinstance(value, int):
        return [signed(value)]
    found, number, shift = [], 0, 0
    for byte in value:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(signed(number))
            number, shift = 0, 0
    return found


def tensor(data):
    """A TensorProto as an array."""
    shape, dtype, name, raw, listed = [], None, "", None, []
    for number, value in fields(data):
        if number == 1:
            shape += packed(value)
        elif number == 2:
            dtype = DTYPES.get(value)
        elif number == 4:
            listed += struct.unpack(f"<{len(value) // 4}f", value)
        elif number in (5, 7):
            listed += packed(value)
        elif number == 8:
            name = value.decode()
        elif number == 9:
            raw = value
        elif number == 10:
            listed += struct.unpack(f"<{len(value) // 8}d", value)
    if dtype is None:
        raise Mismatch("a tensor of another element type")
    array = numpy.frombuffer(raw, dtype) if raw is not None else numpy.array(listed, dtype)
    demand(array.size == numpy.prod(shape, dtype=int), "a tensor without its numbers")
    return name, array.reshape(shape)


def attribute(data):
    name, value, many = "", None, []
    for number, found in fields(data):
        if number == 1:
            name = found.decode()
        elif number == 2:
            value = struct.unpack("<f", found)[0]
        elif number == 3:
            value = signed(found)
        elif number == 4:
            value = found.decode()
        elif number == 8:
            many += packed(found)
    return name, many or value


class Test:
    """A test's one node: operator, attributes, inputs and outputs as arrays (`None` for one that is left out)."""

    def __init__(self, folder):
        with open(os.path.join(folder, "model.onnx"), "rb") as file:
            model = file.read()
        graph = next(value for number, value in fields(model) if number == 7)
        nodes = [value for number, value in fields(graph) if number == 1]
        if len(nodes) != 1:
            raise Mismatch("more than one node")
        node = list(fields(nodes[0]))
        self.operator = next(value.decode() for number, value in node if number == 4)
        self.attributes = dict(attribute(value) for number, value in node if number == 5)
        self.domain = next((value.decode() for number, value in node if number == 7), "")
        names = lambda field: [value.decode() for number, value in node if number == field]
        tops = lambda field: [
            next(inner.decode() for number, inner in fields(value) if number == 1)
            for number, value in fields(graph)
            if number == field
        ]
        self.files = os.path.join(folder, "test_data_set_0")
        self.wanted = names(1), names(2), tops(11), tops(12)

    def load(self):
        inputs, outputs, given, made = self.wanted
        arrays = {}
        for kind, order in [("input", given), ("output", made)]:
            for at, name in enumerate(order):
                with open(os.path.join(self.files, f"{kind}_{at}.pb"), "rb") as file:
                    arrays[name] = tensor(file.read())[1]
        self.inputs = [arrays.get(name) for name in inputs]
        self.outputs = [arrays.get(name) for name in outputs]

    def get(self, name, default):
        return self.attributes.get(name, default)


class Mismatch(Exception):
    """Why a test is none of ours."""


def demand(truth, problem):
    if not truth:
        raise Mismatch(problem)


def back(x):
    demand(x.ndim == 4, "not two-dimensional")
    return x.transpose(0, 2, 3, 1)


def window(test, kernel):
    """[stride, padding], where padding is even on both sides and nothing is dilated."""
    demand(len(kernel) == 2, "not two-dimensional")
    demand(set(test.get("dilations", [1])) == {1}, "dilated")
    demand(test.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"), "auto_pad")
    demand(test.get("ceil_mode", 0) == 0, "sizes rounded up")
    pads = test.get("pads", [0, 0, 0, 0])
    demand(pads[:2] == pads[2:], "padding differs between sides")
    return test.get("strides", [1, 1]), pads[:2]


def conv(test):
    x, weight, *bias = test.inputs
    demand(x.ndim == 4, "not two-dimensional")
    stride, padding = window(test, weight.shape[2:])
    attributes = {"stride": stride, "padding": padding, "groups": test.get("group", 1)}
    return "conv2d", attributes, [back(x), weight.transpose(2, 3, 1, 0), *bias], [back(test.outputs[0])]


def max_pool(test):
    x, kernel = test.inputs[0], test.get("kernel_shape", [])
    stride, padding = window(test, kernel)
    # The second output counts pixels of the tensor; ours counts places of the window, and is compared by PyTorch's.
    attributes = {"kernel": kernel, "stride": stride, "padding": padding}
    return "max_pool", attributes, [back(x)], [back(test.outputs[0])]


def mean_pixels(test):
    (x,) = test.inputs
    demand(x.ndim == 4, "not two-dimensional")
    return "mean_rows", {}, [back(x).reshape(len(x), -1, x.shape[1])], [test.outputs[0].reshape(x.shape[:2])]


def gemm(test):
    demand(test.get("alpha", 1.0) == 1.0, "scaled product")
    demand(len(test.inputs) < 3 or test.get("beta", 1.0) == 0.0, "a product and a sum in one")
    return matmul(test, bool(test.get("transA", 0)), bool(test.get("transB", 0)))


def matmul(test, transpose_a=False, transpose_b=False):
    a, b = test.inputs[:2]
    demand(a.ndim >= 2 and b.ndim >= 2, "a vector")
    demand(a.shape[:-2] == b.shape[:-2] or b.ndim == 2, "batches of different shape")
    return "matmul", {"transpose_a": transpose_a, "transpose_b": transpose_b}, [a, b], test.outputs


def batch_norm(test):
    x, gain, bias, mean, variance = test.inputs
    eps = float(test.get("epsilon", 1e-5))
    to_back = lambda x: numpy.moveaxis(x, 1, -1)
    inputs = [to_back(x), gain, bias, mean, variance]
    if not test.get("training_mode", 0):
        return "batch_norm_fixed", {"eps": eps, "relu": False}, inputs, [to_back(test.outputs[0])]
    # ONNX weighs the old average, and keeps the biased variance: that output is left out.
    attributes = {"eps": eps, "momentum": 1 - float(test.get("momentum", 0.9)), "relu": False}
    return "batch_norm", attributes, inputs, [to_back(test.outputs[0]), None, None, test.outputs[1]]


def softmax(test):
    (x,) = test.inputs
    axis = test.get("axis", -1) % x.ndim
    to_back = lambda x: numpy.moveaxis(x, axis, -1)
    return "softmax", {}, [to_back(x)], [to_back(test.outputs[0])]


def add(test):
    a, b = test.inputs
    demand(a.shape == b.shape, "shapes differ")
    return "add", {}, [a, b], test.outputs


def function(name):
    def convert(test):
        demand(test.get("approximate", "none") == "none", "approximated")
        return "map", {"function": name}, test.inputs, test.outputs

    return convert


def transpose(test):
    x = test.inputs[0]
    return "permute", {"axes": test.get("perm", list(range(x.ndim))[::-1])}, [x], test.outputs


def reshape(test):
    shape = list(test.outputs[0].shape)
    return "reshape", {"shape": shape}, test.inputs[:1], test.outputs


def cross_entropy(test):
    logits, labels = test.inputs[:2]
    demand(len(test.inputs) == 2, "weights")
    demand(test.get("reduction", "mean") == "mean", "not the mean")
    ignore = test.get("ignore_index", None)
    if ignore is not None and ignore < 0:
        # Ours are not negative: the largest there is instead.
        labels, ignore = numpy.where(labels == ignore, 2**32 - 1, labels), 2**32 - 1
    outputs = [test.outputs[0].reshape(1)]
    # The other output is ln softmax, ours ln sum exp: their difference is the logits.
    return "cross_entropy", {"ignore": ignore}, [numpy.moveaxis(logits, 1, -1), labels], outputs


def reduce_mean(test):
    x = test.inputs[0]
    axes = test.inputs[1].tolist() if len(test.inputs) > 1 and test.inputs[1] is not None else test.get("axes", [])
    demand(x.ndim == 3 and [axis % 3 for axis in axes] == [1], "not the mean over the middle of three axes")
    return "mean_rows", {}, [x], [test.outputs[0].reshape(x.shape[0], x.shape[2])]


def reduce_sum(test):
    x = test.inputs[0]
    axes = test.inputs[1].tolist() if len(test.inputs) > 1 and test.inputs[1] is not None else test.get("axes", [])
    demand(x.ndim == 2 and [axis % 2 for axis in axes] == [0], "not the sum over the first of two axes")
    return "sum_rows", {}, [x], [test.outputs[0].reshape(-1)]


def sgd(test):
    demand(len(test.inputs) == 5, "several weights at once")
    rate, step, weight, gradient, velocity = test.inputs
    demand(test.get("mode", "") in ("standard", "nesterov"), "another mode")
    demand(step > 0 or test.get("beta", 1.0) == 1.0, "a first step of its own")
    demand(test.get("beta", 1.0) == 1.0, "dampened")
    attributes = {
        "momentum": float(test.get("alpha", 0.0)),
        "weight_decay": float(test.get("norm_coefficient", 0.0)),
        "nesterov": test.get("mode", "") == "nesterov",
    }
    return "sgd", attributes, [weight, gradient, velocity, rate.reshape(1)], test.outputs


def attention(test):
    demand(len(test.inputs) == 3, "a mask, or keys of before")
    q, k, v = test.inputs
    demand(q.ndim == 3, "heads on an axis of their own")
    heads = test.get("q_num_heads", 1)
    demand(heads == test.get("kv_num_heads", heads) and not test.get("is_causal", 0), "grouped or causal")
    scale = float(test.get("scale", 0) or (heads / q.shape[2]) ** 0.5)
    return "attend", {"heads": heads, "scale": scale}, [q, k, v], test.outputs[:1]


def resize(test):
    x, y = test.inputs[0], test.outputs[0]
    demand(x.ndim == 4 and x.shape[:2] == y.shape[:2], "not two-dimensional")
    demand(test.get("antialias", 0) == 0, "antialiased")
    mode = {"nearest": "nearest", "linear": "bilinear"}.get(test.get("mode", "nearest"))
    demand(mode, "another mode")
    # Upsample, which Resize followed, had scales as its second input and counted from the first pixel.
    old = test.operator == "Upsample"
    scales = test.inputs[1 if old else 2] if len(test.inputs) > (1 if old else 2) else None
    where = "asymmetric" if old else test.get("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else test.get("nearest_mode", "round_prefer_floor")
    policy = test.get("keep_aspect_ratio_policy", "stretch")
    axes = [axis % 4 for axis in test.get("axes", [0, 1, 2, 3])]
    for axis in (2, 3):
        size, made = x.shape[axis], y.shape[axis]
        scale = made / size
        if scales is not None and scales.size and axis in axes:
            scale = float(scales[axes.index(axis)])
        elif policy != "stretch":
            pick = min if policy == "not_larger" else max
            scale = pick(wanted / x.shape[axis] for axis, wanted in zip(axes, test.inputs[3].tolist()))
        places = [place(where, at, scale, size, made) for at in range(made)]
        if mode == "nearest":
            ours = [at * size // made for at in range(made)]
            theirs = [min(max(ROUND[rounding](at), 0), size - 1) for at in places]
            demand(theirs == ours, "nearest to another place")
        else:
            ours = [min(max((at + 0.5) * size / made - 0.5, 0), size - 1) for at in range(made)]
            theirs = [min(max(at, 0), size - 1) for at in places]
            demand(numpy.allclose(theirs, ours, atol=1e-9), "pixels lie elsewhere")
    attributes = {"size": list(y.shape[2:]), "mode": mode}
    return "resize", attributes, [back(x)], [back(y)]


ROUND = {
    "floor": lambda at: int(numpy.floor(at)),
    "ceil": lambda at: int(numpy.ceil(at)),
    "round_prefer_floor": lambda at: int(numpy.ceil(at - 0.5)),
    "round_prefer_ceil": lambda at: int(numpy.floor(at + 0.5)),
}


def place(where, at, scale, size, made):
    """Where pixel `at` of `made` lies among `size`."""
    if where == "align_corners":
        return at * (size - 1) / (made - 1) if made > 1 else 0.0
    demand(where in ("asymmetric", "half_pixel", "pytorch_half_pixel"), "pixels lie elsewhere")
    if where == "asymmetric" or (where == "pytorch_half_pixel" and made == 1):
        return at / scale if where == "asymmetric" else 0.0
    return (at + 0.5) / scale - 0.5


def concat(test):
    demand(len(test.inputs) > 1, "a single input")
    return "concat", {"axis": test.get("axis", 0) % test.inputs[0].ndim}, test.inputs, test.outputs


def slice_(test):
    x, starts, ends, *rest = test.inputs
    axes = rest[0].tolist() if rest and rest[0] is not None else list(range(len(starts)))
    steps = rest[1].tolist() if len(rest) > 1 else [1] * len(starts)
    found = []
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps):
        kept = range(*slice(start, end, step).indices(x.shape[axis]))
        demand(kept.step == 1 and len(kept) > 0, "steps, or nothing left")
        if len(kept) < x.shape[axis]:
            found.append({"axis": axis % x.ndim, "start": kept.start, "length": len(kept)})
    demand(len(found) == 1, "several axes")
    return "slice", found[0], [x], test.outputs


def split(test):
    """The last of the parts: those before it say where it starts."""
    axis, part = test.get("axis", 0) % test.inputs[0].ndim, test.outputs[-1]
    demand(part.size > 0, "an empty tensor")
    length = part.shape[axis]
    attributes = {"axis": axis, "start": test.inputs[0].shape[axis] - length, "length": length}
    return "slice", attributes, test.inputs[:1], [part]


def layer_norm(test):
    x, gain, *bias = test.inputs
    demand(len(bias) == 1, "no bias")
    rows = lambda x: x.reshape(-1, gain.size)
    outputs = [rows(test.outputs[0])] + [kept if kept is None else kept.reshape(-1) for kept in test.outputs[1:]]
    attributes = {"eps": float(test.get("epsilon", 1e-5))}
    return "layer_norm", attributes, [rows(x), gain.reshape(-1), bias[0].reshape(-1)], outputs


def group_norm(test):
    x, gain, bias = test.inputs
    groups = test.get("num_groups", None)
    demand(gain.shape == (x.shape[1],), "a gain a group")
    attributes = {"groups": groups, "eps": float(test.get("epsilon", 1e-5)), "relu": False}
    return "group_norm", attributes, [numpy.moveaxis(x, 1, -1), gain, bias], [numpy.moveaxis(test.outputs[0], 1, -1)]


CONVERT = {
    "Conv": conv,
    "MaxPool": max_pool,
    "GlobalAveragePool": mean_pixels,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "Softmax": softmax,
    "Add": add,
    "Relu": function("relu"),
    "Sigmoid": function("sigmoid"),
    "Gelu": function("gelu"),
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
    "Identity": reshape,
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "Momentum": sgd,
    "Attention": attention,
    "Resize": resize,
    "Upsample": resize,
    "Concat": concat,
    "Slice": slice_,
    "Split": split,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
}


def stored(array, name):
    array = numpy.asarray(array)
    if array.dtype.kind in "iu":
        demand(name == "input.1" and array.min() >= 0, "whole numbers")
        return array.astype("uint32")
    demand(array.dtype.name in ("float32", "float16"), f"{array.dtype.name}")
    demand(array.size > 0, "an empty tensor")
    return array


def main():
    source, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    total, written, reasons = 0, collections.Counter(), collections.Counter()
    for name in sorted(os.listdir(source)):
        if not os.path.exists(os.path.join(source, name, "model.onnx")):
            continue
        total += 1
        operator = "?"
        try:
            test = Test(os.path.join(source, name))
            operator = test.operator
            if operator not in CONVERT:
                continue
            test.load()
            op, attributes, inputs, outputs = CONVERT[operator](test)
            tensors = {}
            for kind, arrays in [("input", inputs), ("output", outputs)]:
                for at, array in enumerate(arrays):
                    if array is not None:
                        tensors[f"{kind}.{at}"] = stored(array, f"{kind}.{at}")
        except Mismatch as mismatch:
            if operator in CONVERT:
                reasons[f"{operator}: {mismatch}"] += 1
            continue
        half = any(array.dtype == "float16" for array in tensors.values())
        metadata = {
            "op": op,
            "attributes": json.dumps(attributes),
            "tolerance": "5e-3" if half else "1e-5",
            "written_by": f"ONNX node test {name}",
        }
        file = "onnx-" + name.removeprefix("test_").replace("_", "-") + ".safetensors"
        safetensors.save(os.path.join(out, file), metadata, tensors)
        written[op] += 1
    print(f"{total} tests, {sum(written.values())} of them cases of ours: {dict(sorted(written.items()))}")
    print(f"{sum(reasons.values())} of the same operators do not match:")
    for reason, count in sorted(reasons.items()):
        print(f"  {count:3} {reason}")


if __name__ == "__main__":
    main()
