#!/usr/bin/env python3
"""Writes case files with PyTorch: every op, its gradients by torch.autograd, and whole models that learn ten steps.

    python3 tests/oracle/write_pytorch.py        # Debian: apt-get install python3-torch

Everything is computed in f64 from inputs that f32 (or f16) holds exactly, and again in f32: how far PyTorch's own f32
is off says what a file allows. The format is described in README.md beside this file. Seeded: equal files each time.
"""

import json
import os
import sys

import torch
import torch.nn.functional as F

import fpn
import models
import related
import safetensors
import vt

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
# The least that a file allows, as a share of a tensor's largest number: a GPU's exp alone may be off by 4e-6.
LEAST = {torch.float32: 1e-5, torch.float16: 2e-3}


def numbers(*shape, seed, low=None, high=None, elem=torch.float32):
    """Normal numbers, or uniform ones between `low` and `high`, that `elem` holds exactly; in f64."""
    generator = torch.Generator().manual_seed(seed)
    if low is None:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.25
    else:
        drawn = low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)
    return drawn.to(elem).double()


def differentiate(function, inputs, differentiable, cotangents, real):
    """Outputs, and gradients by input, with every float input in the precision `real`."""
    leaves = [x.to(real) if x.is_floating_point() else x for x in inputs]
    leaves = [x.clone().requires_grad_(at in differentiable) for at, x in enumerate(leaves)]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
    gradients = {}
    if cotangents:
        total = sum((outputs[at] * cotangent.to(real)).sum() for at, cotangent in cotangents.items())
        found = torch.autograd.grad(total, [leaves[at] for at in differentiable])
        gradients = dict(zip(differentiable, found))
    return [None if y is None else y.detach() for y in outputs], gradients


def stored(x, elem):
    """A tensor as the file holds it: whole numbers as u32, others in `elem`."""
    return x.numpy().astype("uint32") if not x.is_floating_point() else x.to(elem).numpy()


def allowed(exact, single, elem, times=4):
    """So many times what PyTorch's own f32 is off by, as a share of the largest number, and not less than LEAST."""
    worst = LEAST[elem]
    for one, other in zip(exact, single):
        if one.is_floating_point() and one.abs().max() > 0:
            worst = max(worst, times * float((one - other.double()).abs().max() / one.abs().max()))
    # What f32 itself does not know within a thousandth says nothing about anybody's kernels.
    assert worst <= max(1e-3, LEAST[elem]), f"a case that allows {worst}"
    return float(f"{worst:.1e}")


def case(name, op, attributes, function, inputs, differentiable=(), seeds=(0,), elem=torch.float32, f32=()):
    """Writes one file. `function` maps inputs to outputs, `None` for those that PyTorch does not give; gradients of
    the inputs `differentiable` flow from the outputs `seeds`. Tensors are `elem`, but for inputs `f32` and for outputs
    that `f32` names as "output.N"."""
    outputs, _ = differentiate(function, inputs, (), {}, torch.float64)
    kind = lambda tensor: torch.float32 if tensor in f32 else elem
    cotangents = {}
    if differentiable:
        for at in seeds:
            cotangents[at] = numbers(*outputs[at].shape, seed=1000 + at, elem=kind(f"output.{at}"))
    exact, gradients = differentiate(function, inputs, differentiable, cotangents, torch.float64)
    single, single_gradients = differentiate(function, inputs, differentiable, cotangents, torch.float32)
    tensors = {f"input.{at}": stored(x, kind(f"input.{at}")) for at, x in enumerate(inputs)}
    tensors |= {f"output.{at}": stored(y, kind(f"output.{at}")) for at, y in enumerate(exact) if y is not None}
    tensors |= {f"cotangent.{at}": stored(dy, kind(f"output.{at}")) for at, dy in cotangents.items()}
    tensors |= {f"gradient.{at}": stored(dx, kind(f"input.{at}")) for at, dx in gradients.items()}
    given = [y for y in exact if y is not None] + list(gradients.values())
    by_f32 = [y for y in single if y is not None] + list(single_gradients.values())
    metadata = {
        "op": op,
        "attributes": json.dumps(attributes),
        "tolerance": json.dumps(allowed(given, by_f32, elem)),
        # In f16 our maths rounds nothing in between, PyTorch neither: but gradients start from what the file holds.
        "computed_in": "f64",
        "written_by": f"PyTorch {torch.__version__}",
    }
    safetensors.save(os.path.join(CASES, f"{name}.safetensors"), metadata, tensors)


# Layouts: PyTorch keeps channels in front, [N, C, H, W] and [O, C/groups, KH, KW].


def to_front(x):
    return x.permute(0, 3, 1, 2)


def to_back(x):
    return x.permute(0, 2, 3, 1)


def convolutions():
    def conv(stride, padding, groups):
        def function(x, weight, bias=None):
            weight = weight.permute(3, 2, 0, 1)
            return to_back(F.conv2d(to_front(x), weight, bias, stride, padding, groups=groups))

        return {"stride": stride, "padding": padding, "groups": groups}, function

    for name, arguments, x, weight, bias in [
        ("plain", ([1, 1], [0, 0], 1), (2, 4, 5, 3), (1, 1, 3, 5), False),
        ("padded", ([1, 1], [1, 1], 1), (2, 5, 7, 3), (3, 3, 3, 4), False),
        ("stem", ([2, 2], [3, 3], 1), (1, 9, 8, 3), (7, 7, 3, 4), True),
        ("uneven", ([2, 1], [0, 2], 1), (2, 8, 5, 2), (2, 4, 2, 3), True),
        ("groups", ([1, 2], [1, 1], 2), (2, 4, 5, 8), (3, 3, 4, 6), True),
        ("depthwise", ([1, 1], [1, 1], 5), (1, 5, 4, 5), (3, 3, 1, 5), False),
    ]:
        attributes, function = conv(*arguments)
        inputs = [numbers(*x, seed=1), numbers(*weight, seed=2)]
        inputs += [numbers(weight[3], seed=3)] if bias else []
        case(f"conv2d-{name}", "conv2d", attributes, function, inputs, range(len(inputs)))
    by_row = lambda x, weight: F.conv1d(x.transpose(1, 2), weight.T[..., None]).transpose(1, 2)
    attributes = {"stride": [1, 1], "padding": [0, 0], "groups": 1}
    case("conv2d-rows", "conv2d", attributes, by_row, [numbers(2, 7, 6, seed=1), numbers(6, 5, seed=2)], (0, 1))
    attributes, function = conv([1, 1], [1, 1], 1)
    inputs = [numbers(2, 4, 4, 8, seed=1, elem=torch.float16), numbers(3, 3, 8, 8, seed=2, elem=torch.float16)]
    case("conv2d-f16", "conv2d", attributes, function, inputs, (0, 1), elem=torch.float16)


def adaptive_convolutions():
    """As SqueezeSegV3 has it: attention by a convolution of the raw input, a number for each of a patch of x; then 1x1."""

    def adaptive(nonlinearity):
        def function(x, raw, attention_weight, attention_bias, weight):
            n, h, w, c = x.shape
            k, m = weight.shape[0], weight.shape[3]
            side = attention_weight.shape[0]
            scores = F.conv2d(to_front(raw), attention_weight.permute(3, 2, 0, 1), attention_bias, padding=side // 2)
            # unfold lists a channel's taps side by side; attention lists a tap's channels so.
            patches = F.unfold(to_front(x), k, padding=k // 2).reshape(n, c, k * k, h, w).transpose(1, 2)
            weighed = nonlinearity(scores) * patches.reshape(n, k * k * c, h, w)
            return to_back(F.conv2d(weighed, weight.reshape(k * k * c, m).T[..., None, None]))

        return function

    for name, function, nonlinearity, image, [r, c, m], [k, a], elem in [
        ("sigmoid", "sigmoid", torch.sigmoid, (2, 4, 5), (3, 2, 3), (3, 5), torch.float32),
        ("relu", "relu", F.relu, (1, 5, 4), (4, 4, 8), (3, 3), torch.float32),
        ("wide", "gelu", F.gelu, (1, 3, 7), (1, 1, 2), (5, 7), torch.float32),
        ("f16", "sigmoid", torch.sigmoid, (1, 4, 6), (4, 8, 4), (3, 3), torch.float16),
    ]:
        attributes = {"kernel": k, "attention_kernel": a, "function": function}
        spread = 2 / (a * a * r) ** 0.5
        inputs = [
            numbers(*image, c, seed=60, elem=elem),
            numbers(*image, r, seed=61, elem=elem),
            numbers(a, a, r, k * k * c, seed=62, low=-spread, high=spread, elem=elem),
            numbers(k * k * c, seed=63),
            numbers(k, k, c, m, seed=64, elem=elem),
        ]
        op, f32 = "spatially_adaptive_conv", ["input.3"]
        case(f"{op}-{name}", op, attributes, adaptive(nonlinearity), inputs, (0, 2, 3, 4), elem=elem, f32=f32)


def pooling():
    for name, kernel, stride, padding, shape in [
        ("resnet", [3, 3], [2, 2], [1, 1], (2, 7, 9, 3)),
        ("whole", [2, 2], [2, 2], [0, 0], (1, 5, 7, 4)),
        ("uneven", [3, 2], [1, 3], [1, 1], (2, 5, 8, 2)),
    ]:

        def function(x, kernel=kernel, stride=stride, padding=padding):
            y, flat = F.max_pool2d(to_front(x), kernel, stride, padding, return_indices=True)
            # PyTorch counts pixels of the image, we places of the window.
            height, width = y.shape[2:]
            row = flat // x.shape[2] - (torch.arange(height)[:, None] * stride[0] - padding[0])
            column = flat % x.shape[2] - (torch.arange(width)[None, :] * stride[1] - padding[1])
            return to_back(y), to_back(row * kernel[1] + column)

        attributes = {"kernel": kernel, "stride": stride, "padding": padding}
        case(f"max_pool-{name}", "max_pool", attributes, function, [numbers(*shape, seed=4)], (0,))

    for name, mode, size, shape in [
        ("nearest", "nearest", [7, 6], (2, 3, 4, 3)),
        ("nearest-smaller", "nearest", [3, 5], (1, 7, 11, 4)),
        ("bilinear", "bilinear", [8, 7], (2, 4, 3, 3)),
        ("bilinear-smaller", "bilinear", [4, 4], (1, 14, 9, 4)),
        ("bilinear-both-ways", "bilinear", [2, 9], (1, 7, 4, 1)),
    ]:
        corners = {"align_corners": False} if mode == "bilinear" else {}

        def resize(x, mode=mode, size=size, corners=corners):
            return to_back(F.interpolate(to_front(x), size, mode=mode, **corners))

        case(f"resize-{name}", "resize", {"size": size, "mode": mode}, resize, [numbers(*shape, seed=48)], (0,))

    case("mean_rows", "mean_rows", {}, lambda x: x.mean(1), [numbers(3, 7, 5, seed=5)], (0,))
    case("sum_rows", "sum_rows", {}, lambda x: x.sum(0), [numbers(31, 4, seed=6)])


def normalization():
    eps, momentum = 1e-5, 0.1

    def train(x, gain, bias, mean, variance, shortcut=None):
        flat = x.reshape(-1, x.shape[-1])
        mean, variance = mean.clone(), variance.clone()
        y = F.batch_norm(flat, mean, variance, gain, bias, training=True, momentum=momentum, eps=eps).reshape(x.shape)
        y = y if shortcut is None else F.relu(y + shortcut)
        inv_std = 1 / (flat.var(0, unbiased=False) + eps).sqrt()
        return y, flat.mean(0), inv_std, mean, variance

    def fixed(x, gain, bias, mean, variance, shortcut=None):
        y = F.batch_norm(x.reshape(-1, x.shape[-1]), mean, variance, gain, bias, eps=eps).reshape(x.shape)
        return y if shortcut is None else F.relu(y + shortcut)

    def inputs(*shape):
        vector = shape[-1]
        drawn = [numbers(vector, seed=seed) for seed in (8, 9, 10)]
        return [numbers(*shape, seed=7), *drawn, numbers(vector, seed=11, low=0.2, high=2.0)]

    for name, shape in [("pixels", (2, 3, 5, 4)), ("rows", (31, 3))]:
        attributes = {"eps": eps, "momentum": momentum, "relu": False}
        case(f"batch_norm-{name}", "batch_norm", attributes, train, inputs(*shape), (0, 1, 2))
        case(f"batch_norm_fixed-{name}", "batch_norm_fixed", {"eps": eps, "relu": False}, fixed, inputs(*shape), (0, 1, 2))

    def by_row(x, gain, bias):
        y = F.layer_norm(x, x.shape[-1:], gain, bias, eps)
        return y, x.mean(-1), 1 / (x.var(-1, unbiased=False) + eps).sqrt()

    for name, shape in [("tokens", (2, 7, 12)), ("rows", (31, 5))]:
        case(f"layer_norm-{name}", "layer_norm", {"eps": eps}, by_row, inputs(*shape)[:3], (0, 1, 2))

    def in_groups(groups, relu):
        def normalize(x, gain, bias):
            y = to_back(F.group_norm(to_front(x), groups, gain, bias, eps))
            cut = x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
            mean, deviation = cut.mean((1, 3)), (cut.var((1, 3), unbiased=False) + eps).sqrt()
            each = lambda of_group: of_group.repeat_interleave(x.shape[-1] // groups, 1)
            return y.relu() if relu else y, each(mean), each(1 / deviation)

        return normalize

    for name, shape, groups, relu in [("pixels", (2, 3, 5, 12), 4, False), ("relu", (3, 7, 2, 6), 2, True)]:
        of_groups = {"groups": groups, "eps": eps, "relu": relu}
        case(f"group_norm-{name}", "group_norm", of_groups, in_groups(groups, relu), inputs(*shape)[:3], (0, 1, 2))

    given = [*inputs(2, 3, 5, 4), numbers(2, 3, 5, 4, seed=15)]
    case("batch_norm-shortcut", "batch_norm", attributes | {"relu": True}, train, given, (0, 1, 2, 5))
    case("batch_norm_fixed-shortcut", "batch_norm_fixed", {"eps": eps, "relu": True}, fixed, given, (0, 1, 2, 5))

    def behind(stride, padding, groups, relu):
        def function(x, weight, gain, bias, mean, variance, shortcut=None):
            y = F.conv2d(to_front(x), weight.permute(3, 2, 0, 1), None, stride, padding, groups=groups)
            y = to_back(F.batch_norm(y, mean, variance, gain, bias, eps=eps))
            y = y if shortcut is None else y + shortcut
            return F.relu(y) if relu else y

        return {"stride": stride, "padding": padding, "groups": groups, "eps": eps, "relu": relu}, function

    for name, arguments, weight, shortcut in [
        ("plain", ([2, 1], [1, 0], 1, False), (3, 2, 3, 5), None),
        ("shortcut", ([1, 1], [1, 1], 3, True), (3, 3, 1, 6), (2, 5, 4, 6)),
    ]:
        attributes, function = behind(*arguments)
        given = [numbers(2, 5, 4, 3, seed=12), numbers(*weight, seed=13), *inputs(1, weight[3])[1:]]
        given += [numbers(*shortcut, seed=14)] if shortcut else []
        case(f"conv_norm-{name}", "conv_norm", attributes, function, given)

    def trained(stride, padding, groups, relu):
        def function(x, weight, gain, bias, mean, variance, shortcut=None):
            z = to_back(F.conv2d(to_front(x), weight.permute(3, 2, 0, 1), None, stride, padding, groups=groups))
            y, *others = train(z, gain, bias, mean, variance)
            y = y if shortcut is None else y + shortcut
            return F.relu(y) if relu else y, *others, z

        return {"stride": stride, "padding": padding, "groups": groups, "eps": eps, "momentum": momentum, "relu": relu}, function

    for name, arguments, weight, shortcut in [
        ("plain", ([2, 1], [1, 0], 1, True), (3, 2, 3, 5), None),
        ("shortcut", ([1, 1], [1, 1], 3, True), (3, 3, 1, 6), (2, 5, 4, 6)),
    ]:
        attributes, function = trained(*arguments)
        given = [numbers(2, 5, 4, 3, seed=12), numbers(*weight, seed=13), *inputs(1, weight[3])[1:]]
        given += [numbers(*shortcut, seed=14)] if shortcut else []
        learned = (0, 1, 2, 3, 6) if shortcut else (0, 1, 2, 3)
        case(f"conv_batch_norm-{name}", "conv_batch_norm", attributes, function, given, learned)


def attention():
    """PyTorch 1.13's scaled dot-product attention has no scale of its own choosing: q carries it."""

    def attend(heads, scale):
        def function(q, k, v):
            split = lambda x: x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
            depth = q.shape[2] // heads
            q, k, v = split(q) * (scale * depth**0.5), split(k), split(v)
            y = F._scaled_dot_product_attention(q, k, v)[0]
            log_sum = torch.logsumexp(q @ k.transpose(2, 3) / depth**0.5, 3)
            return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1), log_sum

        return {"heads": heads, "scale": scale}, function

    for name, heads, scale, [n, q, k, c, d] in [
        ("tokenizer", 1, 0.5, (2, 4, 33, 5, 3)),
        ("transformer", 2, 0.7, (2, 8, 8, 6, 10)),
        ("projector", 4, 1.0, (1, 35, 6, 8, 12)),
        ("unscaled", 1, 1.0, (2, 3, 7, 9, 9)),
    ]:
        attributes, function = attend(heads, scale)
        inputs = [numbers(n, q, c, seed=12), numbers(n, k, c, seed=13), numbers(n, k, d, seed=14)]
        case(f"attend-{name}", "attend", attributes, function, inputs, (0, 1, 2))

    attributes, function = attend(2, 0.5)

    def projected(q, k, v, shortcut):
        y, log_sum = function(q, k, v)
        return F.relu(y + shortcut), log_sum

    inputs = [numbers(2, rows, 6, seed=seed) for rows, seed in ((21, 12), (5, 13), (5, 14), (21, 15))]
    case("attend_shortcut", "attend_shortcut", {**attributes, "relu": True}, projected, inputs, (0, 1, 2, 3))

    # Every pair of pixels looks its two rows of the tables up.
    def relative(heads, keys, scale):
        def function(qkv, rel_height, rel_width):
            n, height, width, channels = qkv.shape
            parts = qkv.flatten(1, 2).split([keys, keys, channels - 2 * keys], -1)
            q, k, v = (part.unflatten(-1, (heads, -1)) for part in parts)
            rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
            by_height = rel_height[rows[None, :] - rows[:, None] + height - 1]
            by_width = rel_width[columns[None, :] - columns[:, None] + width - 1]
            q = scale * q
            logits = torch.einsum("nihc,njhc->nhij", q, k)
            logits = logits + torch.einsum("nihc,ijc->nhij", q, by_height + by_width)
            y = torch.einsum("nhij,njhc->nihc", logits.softmax(-1), v)
            return y.flatten(2).unflatten(1, (height, width)), logits.logsumexp(-1).transpose(1, 2)

        return {"heads": heads, "key_channels": keys, "scale": scale}, function

    for name, [n, height, width, heads, depth, values], scale in [
        ("square", (2, 4, 4, 2, 20, 2), 0.22),
        ("wide", (1, 3, 7, 3, 5, 3), 0.5),
        ("high", (2, 6, 2, 1, 4, 8), 1.0),
    ]:
        attributes, function = relative(heads, heads * depth, scale)
        inputs = [numbers(n, height, width, heads * (2 * depth + values), seed=16)]
        inputs += [numbers(2 * side - 1, depth, seed=17 + side) for side in (height, width)]
        case(f"relative_attention-{name}", "relative_attention", attributes, function, inputs, (0, 1, 2))
        elem = torch.float16
        inputs = [x.to(elem).double() for x in inputs]
        if name == "square":
            case(f"relative_attention-{name}-f16", "relative_attention", attributes, function, inputs, (0, 1, 2), elem=elem, f32=("output.1",))


def relations():
    """Windows laid out by unfold, a softmax over each, and a weighted sum."""

    alike = {
        "product": lambda q, k: q * k,
        "key": lambda q, k: k + 0 * q,
        "distance": lambda q, k: -(q - k).abs(),
        "relative_distance": lambda q, k: -(q - k).abs() / (q.abs() + k.abs() + 1),
        "relative_square": lambda q, k: -((q - k) ** 2) / ((q * k).abs() + 1),
        "square": lambda q, k: -((q - k) ** 2),
    }

    def relation(kernel, stride, similarity, scale):
        padding = [side // 2 for side in kernel]

        def function(q, k, x, geometry):
            images, out_height, out_width, groups = q.shape
            windows = lambda map: F.unfold(to_front(map), kernel, padding=padding, stride=stride)
            taps = kernel[0] * kernel[1]
            known = windows(k).reshape(images, groups, taps, -1)
            values = windows(x).reshape(images, groups, x.shape[3] // groups, taps, -1)
            inside = windows(torch.ones_like(k[:1, :, :, :1])).reshape(1, 1, taps, -1) > 0
            asked = to_front(q).reshape(images, groups, 1, -1)
            scores = scale * alike[similarity](asked, known)
            scores = torch.where(inside, scores, torch.full_like(scores, -100)) + geometry.T[None, :, :, None]
            y = torch.einsum("ngtp,ngctp->ngcp", F.softmax(scores, 2), values)
            as_map = lambda rows: to_back(rows.reshape(images, -1, out_height, out_width))
            return as_map(y), as_map(torch.logsumexp(scores, 2))

        return {"kernel": kernel, "stride": stride, "similarity": similarity, "scale": scale}, function

    def inputs(kernel, stride, images, groups, channels, elem=torch.float32):
        n, height, width = images
        out = [(size - 1) // stride + 1 for size in (height, width)]
        q = numbers(n, *out, groups, seed=61, elem=elem)
        k = numbers(n, height, width, groups, seed=62, elem=elem)
        x = numbers(n, height, width, groups * channels, seed=63, elem=elem)
        return [q, k, x, numbers(kernel[0] * kernel[1], groups, seed=64)]

    for similarity in alike:
        attributes, function = relation([3, 3], 1, similarity, 0.7)
        given = inputs([3, 3], 1, (2, 4, 5), 2, 4)
        case(f"local_relation-{similarity}", "local_relation", attributes, function, given, range(4))
    for name, kernel, stride, images, groups, channels in [
        ("stride", [5, 3], 2, (2, 7, 6), 3, 2),
        ("small", [7, 7], 1, (1, 3, 5), 2, 8),
        ("gaps", [1, 3], 4, (1, 6, 9), 1, 3),
    ]:
        attributes, function = relation(kernel, stride, "square", 1.0)
        given = inputs(kernel, stride, images, groups, channels)
        case(f"local_relation-{name}", "local_relation", attributes, function, given, range(4))
    # Keys so far below zero that what lies outside of the image, at -100, counts.
    attributes, function = relation([3, 3], 1, "key", 1.0)
    given = inputs([3, 3], 1, (2, 3, 4), 2, 4)
    given[1] = numbers(2, 3, 4, 2, seed=65, low=-105.0, high=-95.0)
    case("local_relation-outside", "local_relation", attributes, function, given, range(4))
    attributes, function = relation([3, 3], 1, "square", 1.0)
    given = inputs([3, 3], 1, (2, 4, 5), 2, 8, elem=torch.float16)
    f32 = ("input.3", "output.1")
    case("local_relation-f16", "local_relation", attributes, function, given, range(4), elem=torch.float16, f32=f32)


def clustering():
    unit = lambda *shape, seed: F.normalize(numbers(*shape, seed=seed), dim=-1).float().double()
    pixels, centroids = unit(2, 33, 8, seed=52), unit(2, 5, 8, seed=53)
    by_distance = lambda x, centroids: torch.cdist(x, centroids).argmin(-1)
    case("nearest_centroid", "nearest_centroid", {}, by_distance, [pixels, centroids])
    # One cluster stays empty.
    labels = torch.randint(0, 4, (2, 33), generator=torch.Generator().manual_seed(54))

    def mean(x, labels, centroids):
        mask = F.one_hot(labels, centroids.shape[1]).to(x.dtype)
        members = mask.sum(1)
        sums = mask.mT @ x / members.clamp(min=1)[..., None]
        return torch.where(members[..., None] > 0, sums, centroids), members.long()

    case("cluster_mean", "cluster_mean", {}, mean, [pixels, labels, centroids], (0, 2))


def pointwise():
    for function, by_torch in [("relu", F.relu), ("sigmoid", torch.sigmoid), ("gelu", F.gelu)]:
        x = numbers(33, 5, seed=15, low=-6.0, high=6.0)
        case(f"map-{function}", "map", {"function": function}, by_torch, [x], (0,))
    case("add", "add", {}, torch.add, [numbers(7, 33, seed=16), numbers(7, 33, seed=17)], (0, 1))
    case("softmax", "softmax", {}, lambda x: F.softmax(x, -1), [numbers(2, 7, 33, seed=18)], (0,))
    large = numbers(5, 33, seed=19, low=-200.0, high=200.0)
    case("softmax-large", "softmax", {}, lambda x: F.softmax(x, -1), [large], (0,))
    # Their norms are about 6, and that of the last is 1e-13.
    rows = numbers(2, 5, 33, seed=51)
    rows[1, 4] *= 1e-14
    unit = lambda x: F.normalize(x, p=2, dim=-1, eps=1e-12)
    case("l2_normalize", "l2_normalize", {"eps": 1e-12}, unit, [rows[:1]], (0,))
    short = lambda x: F.normalize(x, p=2, dim=-1, eps=6.0)
    case("l2_normalize-short", "l2_normalize", {"eps": 6.0}, short, [rows], (0,))
    labels = torch.randint(0, 10, (31,), generator=torch.Generator().manual_seed(20))
    loss = lambda logits, labels: (F.cross_entropy(logits, labels).reshape(1), torch.logsumexp(logits, 1))
    plain = {"ignore": None}
    case("cross_entropy", "cross_entropy", plain, loss, [numbers(31, 10, seed=21), labels], (0,))

    def of_pixels(logits, labels):
        loss = F.cross_entropy(to_front(logits), labels, ignore_index=9).reshape(1)
        return loss, torch.logsumexp(logits, -1)

    pixels = torch.randint(0, 11, (2, 5, 7), generator=torch.Generator().manual_seed(51)).clamp(max=9)
    given = [numbers(2, 5, 7, 9, seed=52), pixels]
    case("cross_entropy-pixels", "cross_entropy", {"ignore": 9}, of_pixels, given, (0,))

    def both(logits, labels, seed):
        logits = logits.clone().requires_grad_(True)
        loss = F.cross_entropy(logits, labels).reshape(1)
        return loss.detach(), torch.autograd.grad((loss * seed).sum(), logits)[0]

    name = "cross_entropy_with_gradient"
    case(name, name, plain, both, [numbers(31, 10, seed=21), labels, numbers(1, seed=1000)])

    # Smoothed labels, of which some are ignored.
    some = labels.clone()
    some[::4] = 9
    smooth = lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=9, label_smoothing=0.1).reshape(1)
    smoothed = {"ignore": 9, "smoothing": 0.1}
    losses = lambda logits, labels: (smooth(logits, labels), torch.logsumexp(logits, 1))
    case("cross_entropy-smoothed", "cross_entropy", smoothed, losses, [numbers(31, 10, seed=21), some], (0,))

    def both_smoothed(logits, labels, seed):
        logits = logits.clone().requires_grad_(True)
        loss = smooth(logits, labels)
        return loss.detach(), torch.autograd.grad((loss * seed).sum(), logits)[0]

    case(f"{name}-smoothed", name, smoothed, both_smoothed, [numbers(31, 10, seed=21), some, numbers(1, seed=1000)])

    def matrix(logits, labels, counts):
        k = logits.shape[-1]
        cells = (labels * k + logits.argmax(-1))[labels != 4].flatten()
        return (counts + torch.bincount(cells, minlength=k * k).reshape(k, k),)

    labels = torch.randint(0, 6, (2, 5, 7), generator=torch.Generator().manual_seed(53))
    counts = torch.randint(0, 100, (6, 6), generator=torch.Generator().manual_seed(54))
    case("confusion_matrix", "confusion_matrix", {"ignore": 4}, matrix, [numbers(2, 5, 7, 6, seed=55), labels, counts])

    case("argmax", "argmax", {}, lambda logits: logits.argmax(-1), [numbers(2, 5, 7, 6, seed=55)])

    def shares(counts):
        counts = counts.double()
        hits, labeled = counts.diag(), counts.sum(1)
        iou = torch.where(labeled > 0, hits / (labeled + counts.sum(0) - hits), torch.zeros_like(hits))
        return iou, iou[labeled > 0].mean().reshape(1)

    counts[2] = 0
    case("mean_iou", "mean_iou", {}, shares, [counts])


def arranging():
    x = numbers(2, 3, 4, 5, seed=22)
    for axes in [[0, 3, 1, 2], [1, 3, 0, 2], [3, 2, 1, 0]]:
        name = "".join(map(str, axes))
        case(f"permute-{name}", "permute", {"axes": axes}, lambda x, axes=axes: x.permute(axes).contiguous(), [x], (0,))
    case("reshape", "reshape", {"shape": [6, 20]}, lambda x: x.reshape(6, 20), [x], (0,))
    one = numbers(1, 5, 3, seed=23)
    case("repeat", "repeat", {"times": 4}, lambda x: x.repeat(4, 1, 1), [one], (0,))
    part = {"axis": 1, "start": 1, "length": 2}
    case("slice", "slice", part, lambda x: x[:, 1:3].contiguous(), [x], (0,))
    zeros = {"axis": 2, "before": 1, "after": 2}
    case("pad", "pad", zeros, lambda x: F.pad(x, (0, 0, 1, 2)), [x], (0,))
    together = [x, numbers(2, 3, 1, 5, seed=49), numbers(2, 3, 2, 5, seed=50)]
    case("concat", "concat", {"axis": 2}, lambda *all: torch.cat(all, 2), together, range(3))
    fill = {"value": -1.7, "shape": [7, 33], "elem": "f32"}
    case("fill", "fill", fill, lambda: torch.full((7, 33), -1.7, dtype=torch.float64), [])


def products():
    for transpose_a in (False, True):
        for transpose_b in (False, True):

            def function(a, b, transpose_a=transpose_a, transpose_b=transpose_b):
                return (a.mT if transpose_a else a) @ (b.mT if transpose_b else b)

            m, n, k = 7, 12, 20
            a, b = ((k, m) if transpose_a else (m, k)), ((n, k) if transpose_b else (k, n))
            name = f"matmul-{'t' if transpose_a else 'n'}{'t' if transpose_b else 'n'}"
            attributes = {"transpose_a": transpose_a, "transpose_b": transpose_b}
            case(name, "matmul", attributes, function, [numbers(2, *a, seed=24), numbers(2, *b, seed=25)], (0, 1))
    plain = {"transpose_a": False, "transpose_b": False}
    inputs = [numbers(3, 5, 12, seed=26), numbers(12, 8, seed=27)]
    case("matmul-shared", "matmul", plain, torch.matmul, inputs, (0, 1))
    half = [numbers(16, 24, seed=28, elem=torch.float16), numbers(24, 16, seed=29, elem=torch.float16)]
    case("matmul-f16", "matmul", plain, torch.matmul, half, (0, 1), elem=torch.float16)


def optimizers():
    """torch.optim.SGD's second step: in the first, its velocity is the gradient itself, as from a velocity of 0."""
    for name, momentum, decay, nesterov in [
        ("plain", 0.0, 0.0, False),
        ("heavy", 0.9, 1e-2, False),
        ("ahead", 0.9, 0.1, True),
    ]:

        def update(w, g, velocity, rate, momentum=momentum, decay=decay, nesterov=nesterov):
            weight = torch.nn.Parameter(w.clone())
            sgd = torch.optim.SGD(
                [weight], lr=float(rate[0]), momentum=momentum, weight_decay=decay, nesterov=nesterov
            )
            if momentum:
                sgd.state[weight]["momentum_buffer"] = velocity.clone()
            weight.grad = g.clone()
            sgd.step()
            made = sgd.state[weight].get("momentum_buffer", g) if momentum else g
            return weight.detach(), made

        inputs = [numbers(5, 7, seed=seed) for seed in (30, 31, 32)] + [torch.tensor([0.25], dtype=torch.float64)]
        attributes = {"momentum": momentum, "weight_decay": decay, "nesterov": nesterov}
        case(f"sgd-{name}", "sgd", attributes, update, inputs)

    def unscaled(w, g, velocity, rate, factor):
        return update(w, g * factor, velocity, rate) if factor[0] else (w, velocity)

    def mixed(w, g, velocity, rate, factor, copied):
        weight, velocity = unscaled(w, g, velocity, rate, factor)
        return weight, velocity, weight if factor[0] else copied

    one = lambda number: torch.tensor([number], dtype=torch.float64)
    for name, factor in [("unscaled", 0.125), ("skipped", 0.0)]:
        inputs = [*inputs[:4], one(factor)]
        case(f"sgd-{name}", "sgd", attributes, unscaled, inputs)
        copied = numbers(5, 7, seed=33, elem=torch.float16)
        gradient = numbers(5, 7, seed=34, elem=torch.float16)
        inputs_mixed = [inputs[0], gradient, *inputs[2:], copied]
        f32 = ("input.0", "input.2", "input.3", "input.4", "output.0", "output.1")
        case(f"sgd-mixed-{name}-f16", "sgd_mixed", attributes, mixed, inputs_mixed, elem=torch.float16, f32=f32)


def adaptive(name, op, attributes, rule, state, small):
    """Two cases of one update's second step, plain and mixed, and one that is skipped. `rule` maps w, g, the two tensors
    of state and the rate to w and state."""
    one = lambda number: torch.tensor([number], dtype=torch.float64)
    f32 = [f"input.{at}" for at in range(2, 5 + len(small))] + ["output.1", "output.2"]

    def update(w, g, first, second, rate, *more):
        factor = more[len(small)] if len(more) > len(small) else torch.ones_like(rate)
        return rule(w, g * factor, first, second, rate) if factor[0] else (w, first, second)

    def mixed(*inputs):
        made = update(*inputs[:-1])
        return *made, made[0] if inputs[-2][0] else inputs[-1]

    inputs = [numbers(5, 7, seed=35), numbers(5, 7, seed=36), *state, one(0.25), *small]
    case(f"{name}", op, attributes, update, inputs)
    half = [numbers(5, 7, seed=seed, elem=torch.float16) for seed in (37, 38)]
    for what, factor in [("mixed", 0.125), ("mixed-skipped", 0.0)]:
        given = [inputs[0], half[0], *inputs[2:], one(factor), half[1]]
        names = ("input.0", "output.0", *f32, f"input.{len(inputs)}")
        case(f"{name}-{what}-f16", f"{op}_mixed", attributes, mixed, given, elem=torch.float16, f32=names)


def adaptive_optimizers():
    """A second step of torch.optim.RMSprop, of timm's RMSpropTF as its source describes it, and of torch.optim.AdamW."""
    decay, momentum, weight_decay, epsilon = 0.9, 0.8, 0.1, 1e-3

    def pytorch(w, g, square, velocity, rate):
        weight = torch.nn.Parameter(w.clone())
        rule = {"alpha": decay, "eps": epsilon, "weight_decay": weight_decay, "momentum": momentum}
        optimizer = torch.optim.RMSprop([weight], lr=float(rate[0]), **rule)
        held = {"step": 1, "square_avg": square.clone(), "momentum_buffer": velocity.clone()}
        optimizer.state[weight] = held
        weight.grad = g.clone()
        optimizer.step()
        return weight.detach(), held["square_avg"], held["momentum_buffer"]

    def timm(w, g, square, velocity, rate):
        g = g + weight_decay * w
        square = square + (1 - decay) * (g * g - square)
        velocity = momentum * velocity + rate * g / (square + epsilon).sqrt()
        return w - velocity, square, velocity

    state = [numbers(5, 7, seed=39, low=0.1, high=1.0), numbers(5, 7, seed=40)]
    for name, rule in [("pytorch", pytorch), ("tensorflow", timm)]:
        attributes = {"decay": decay, "momentum": momentum, "weight_decay": weight_decay, "epsilon": epsilon}
        attributes["tensorflow"] = name == "tensorflow"
        adaptive(f"rms-prop-{name}", "rms_prop", attributes, rule, state, [])

    # Betas whose cubes f32 holds.
    betas, steps = (0.875, 0.984375), 3
    corrections = [torch.tensor([1 - beta**step for beta in betas], dtype=torch.float64) for step in (steps - 1, steps)]

    def adamw(w, g, first, second, rate):
        weight = torch.nn.Parameter(w.clone())
        optimizer = torch.optim.AdamW([weight], lr=float(rate[0]), betas=betas, eps=epsilon, weight_decay=weight_decay)
        moments = {"exp_avg": first.clone(), "exp_avg_sq": second.clone()}
        optimizer.state[weight] = {"step": torch.tensor(float(steps - 1)), **moments}
        weight.grad = g.clone()
        optimizer.step()
        made = optimizer.state[weight]
        return weight.detach(), made["exp_avg"], made["exp_avg_sq"]

    attributes = {"beta_1": betas[0], "beta_2": betas[1], "weight_decay": weight_decay, "epsilon": epsilon}
    state = [numbers(5, 7, seed=41), numbers(5, 7, seed=42, low=0.1, high=1.0)]
    adaptive("adamw", "adamw", attributes, adamw, state, corrections[1:])

    attributes = {"beta_1": betas[0], "beta_2": betas[1]}
    one = torch.ones(1, dtype=torch.float64)
    case("adamw-correction", "adamw_correction", attributes, lambda *_: corrections[1].clone(), [corrections[0], one])


def clipping():
    """torch.nn.utils.clip_grad_norm_, without the 10^-6 that it adds to the norm."""
    gradients = [numbers(*shape, seed=44 + at) for at, shape in enumerate([(3, 3, 2, 5), (5,), (16,)])]

    def clipped(factor, *gradients):
        return factor * (limit / (factor * torch.cat([g.flatten() for g in gradients]).norm())).clamp(max=1)

    for name, limit in [("longer", 1.5), ("shorter", 100.0)]:
        case(f"clip-norm-{name}", "clip_norm", {"limit": limit}, clipped, [torch.full((1,), 0.5).double(), *gradients])


def accumulating():
    """What the gradient of a parameter is after several backward passes without zero_grad, and their mean."""

    def passes(count, elem):
        weight = torch.nn.Parameter(torch.zeros(5, 7, dtype=torch.float64))
        gradients = [numbers(5, 7, seed=73 + at, elem=elem) for at in range(count)]
        for gradient in gradients[:-1]:
            (weight * gradient).sum().backward()
        return weight, gradients[-1]

    def summed(sum, g):
        weight = torch.nn.Parameter(torch.zeros_like(sum))
        weight.grad = sum.clone()
        (weight * g.to(sum.dtype)).sum().backward()
        return weight.grad

    weight, last = passes(3, torch.float32)
    case("accumulate", "accumulate", {}, summed, [weight.grad.float().double(), last])
    for name, elem, f32 in [("", torch.float32, ()), ("-f16", torch.float16, ("input.0", "output.1"))]:
        weight, last = passes(4, elem)
        mean = lambda sum, g: (summed(sum, g) / 4, torch.zeros_like(sum))
        inputs = [weight.grad.float().double(), last]
        case(f"accumulated{name}", "accumulated", {"count": 4}, mean, inputs, elem=elem, f32=f32)


def averaging():
    """torch.lerp, and the rule of timm.utils.ModelEmaV2: decay average + (1 - decay) w."""
    one = lambda number: torch.tensor([number], dtype=torch.float64)
    inputs = [numbers(5, 7, seed=70), numbers(5, 7, seed=71)]
    for name, decay in [("lerp", 0.875), ("timm", 0.99985)]:
        lerp = lambda average, w: torch.lerp(average, w, 1 - decay)
        timm = lambda average, w: decay * average + (1 - decay) * w
        case(f"average-{name}", "average", {"decay": decay}, lerp if name == "lerp" else timm, inputs)
    half = [numbers(5, 7, seed=70), numbers(5, 7, seed=72, elem=torch.float16)]
    for what, factor in [("f16", 0.5), ("skipped-f16", 0.0)]:
        moved = lambda average, w, factor: torch.lerp(average, w.to(average.dtype), 0.25) if factor[0] else average.clone()
        f32 = ("input.0", "input.2", "output.0")
        case(f"average-{what}", "average", {"decay": 0.75}, moved, [*half, one(factor)], elem=torch.float16, f32=f32)


def regularization():
    """torchvision.ops.StochasticDepth(mode="row") and torch.nn.Dropout, each with the mask that our inputs stand for."""
    for name, shape, relu, shortcut in [("plain", (4, 3, 5), False, False), ("residual", (5, 2, 3, 4), True, True)]:
        survival = torch.tensor([[0.0, 1 / 0.75, 0.0], [2.0, 0.0, 2.0], [0.0, 1 / 0.75, 2.0], [2.0, 1 / 0.75, 0.0], [0.0] * 3])
        survival = survival[: shape[0]].float().double()

        def skipped(x, survival, shortcut=None):
            y = x * survival[:, 1].reshape(-1, *[1] * (x.dim() - 1))
            y = y if shortcut is None else y + shortcut
            return F.relu(y) if relu else y

        given = [numbers(*shape, seed=64), survival, *([numbers(*shape, seed=65)] if shortcut else [])]
        wrt = (0, 2) if shortcut else (0,)
        attributes = {"block": 1, "relu": relu}
        case(f"stochastic-depth-{name}", "stochastic_depth", attributes, skipped, given, wrt, f32=("input.1",))

    for share, words in [(0.2, (1, 2, 3, 4)), (0.5, (65535, 0, 40961, 7))]:
        kept = torch.tensor([pcg3d(at, words[0] | words[1] << 16, words[2] | words[3] << 16) >= int(share * 2**32) for at in range(7 * 13)])
        dropped = lambda x, _: x * kept.reshape(7, 13) / (1 - share)
        given = [numbers(7, 13, seed=66), torch.tensor(words)]
        case(f"dropout-{share}", "dropout", {"share": share}, dropped, given, (0,))


def distillation():
    """What a student loses by labels and by its teacher's probabilities (F.cross_entropy takes both), with T^2 on the teacher's part."""
    rows, classes, share = 9, 11, 0.8
    labels = torch.tensor([at * 7 % classes for at in range(rows)])
    given = [3 * numbers(rows, classes, seed=67), labels, 3 * numbers(rows, classes, seed=68)]
    for name, temperature, smoothing, seed in [("paper", 1.0, 0.0, False), ("warm", 4.0, 0.1, True)]:

        def lost(logits, labels, teacher, seed=None):
            logits = logits.detach().requires_grad_()
            soft = F.cross_entropy(logits / temperature, F.softmax(teacher / temperature, 1)) * temperature**2
            hard = F.cross_entropy(logits, labels, label_smoothing=smoothing)
            loss = (share * soft + (1 - share) * hard).reshape(1)
            slope = torch.autograd.grad(loss, logits)[0]
            return loss, slope if seed is None else slope * seed

        attributes = {"share": share, "temperature": temperature, "ignore": None, "smoothing": smoothing}
        inputs = given + ([torch.full((1,), 2.5).double()] if seed else [])
        case(f"distillation-{name}", "distillation", attributes, lost, inputs)


def pcg3d(*numbers):
    """The first word of pcg3d, as its authors print it: Jarzynski and Olano, JCGT 9 (3), 2020, listing 4."""
    mask = 0xFFFFFFFF
    v = [(number * 1664525 + 1013904223) & mask for number in numbers]
    for again in (True, False):
        for at in range(3):
            v[at] = (v[at] + v[(at + 1) % 3] * v[(at + 2) % 3]) & mask
        v = [word ^ (word >> 16) for word in v] if again else v
    return v[0]


def loss_scaling():
    """The rule of torch.amp.GradScaler (torch._amp_update_scale_ runs on CUDA alone), within our bounds."""
    attributes = {"growth": 2.0, "backoff": 0.5, "interval": 3}

    def update(scale, steps, skipped, *gradients):
        one, zero = torch.ones_like(scale), torch.zeros_like(scale)
        if not all(gradient.isfinite().all() for gradient in gradients):
            return zero, (scale * attributes["backoff"]).clamp(min=2.0**-24), zero, skipped + one
        if steps + 1 >= attributes["interval"]:
            return one / scale, (scale * attributes["growth"]).clamp(max=2.0**24), zero, skipped
        return one / scale, scale, steps + one, skipped

    one = lambda number: torch.tensor([number], dtype=torch.float64)
    nan, infinity = float("nan"), float("inf")
    for name, scale, steps, wrong in [
        ("stays", 4096.0, 1.0, None),
        ("grows", 4096.0, 2.0, None),
        ("is-largest", 2.0**24, 2.0, None),
        ("halves", 4096.0, 2.0, nan),
        ("is-least", 2.0**-24, 0.0, -infinity),
    ]:
        gradients = [numbers(*shape, seed=40 + at) for at, shape in enumerate([(3, 3, 2, 5), (5,), (16,)])]
        if wrong is not None:
            gradients[1][3] = wrong
        case(f"loss-scale-{name}", "loss_scale", attributes, update, [one(scale), one(steps), one(7.0), *gradients])


def gates():
    functions = {"sigmoid": torch.sigmoid, "relu": F.relu, "gelu": F.gelu}

    def gated(function, relu):
        def apply(x, gate, shortcut=None):
            y = x * functions[function](gate)
            y = y if shortcut is None else y + shortcut
            return F.relu(y) if relu else y

        return apply

    for name, function, gate, tail in [
        ("channels", "sigmoid", (2, 1, 6), False),
        ("rows", "sigmoid", (2, 5, 1), False),
        ("relu", "relu", (2, 1, 6), False),
        ("shortcut", "sigmoid", (2, 5, 1), True),
    ]:
        given = [numbers(2, 5, 6, seed=60), numbers(*gate, seed=61), *([numbers(2, 5, 6, seed=62)] if tail else [])]
        attributes = {"function": function, "relu": tail}
        case(f"gate-{name}", "gate", attributes, gated(function, tail), given, tuple(range(len(given))))

    for over, axis in [("rows", 1), ("channels", 2)]:

        def described(x, axis=axis):
            # `max` gives equals equal shares of a gradient where it reduces alone, and one of them all where it says which.
            largest, index = x.max(axis)
            return torch.stack([largest, x.mean(axis)], axis), index

        case(f"max_mean-{over}", "max_mean", {"over": over}, described, [numbers(2, 7, 5, seed=63)], (0,))


def main():
    os.makedirs(CASES, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for write in [convolutions, adaptive_convolutions, pooling, normalization, attention, clustering, pointwise, arranging, products]:
        write()
    first = [optimizers, adaptive_optimizers, clipping, accumulating, averaging, regularization, distillation]
    for write in [*first, loss_scaling, gates, relations]:
        write()
    # Networks may be computed in another order, (P X) W for P (X W), and be as far off the other way.
    twice = lambda exact, single, elem: allowed(exact, single, elem, times=8)
    for name, metadata, tensors in models.cases([*models.BY_NAME, *vt.described(), *fpn.described(), *related.described()], twice):
        safetensors.save(os.path.join(CASES, f"{name}.safetensors"), metadata, tensors)
    sizes = [os.path.getsize(os.path.join(CASES, name)) for name in os.listdir(CASES)]
    print(f"{len(sizes)} files, {sum(sizes)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
