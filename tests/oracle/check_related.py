#!/usr/bin/env python3
"""Holds `related.py` against loops over the definitions, in f64, and counts its networks.

    python3 tests/oracle/check_related.py            # the checks
    python3 tests/oracle/check_related.py counts     # parameters and multiply-adds beside the papers'
"""

import itertools
import sys

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

import models
import related

torch.manual_seed(3)


def same(name, found, wanted, far=1e-11):
    found = found.detach().double().numpy() if torch.is_tensor(found) else found
    assert found.shape == wanted.shape, f"{name}: {found.shape} for {wanted.shape}"
    off = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert off < far, f"{name}: off by {off:.1e}"
    print(f"{off:.0e}  {name}")


def softmax(scores):
    powers = np.exp(scores - np.max(scores))
    return powers / powers.sum()


def pixels(*sizes):
    return itertools.product(*map(range, sizes))


def at(image, row, column):
    """A pixel [C] of an image [H, W, C], zeros outside."""
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return image[row, column] if inside else np.zeros(image.shape[2])


def loop_convolution(x, weight, bias=None, stride=1):
    """[N, H, W, C], [KH, KW, C, O] to [N, H', W', O]."""
    kernel, half = weight.shape[:2], [weight.shape[0] // 2, weight.shape[1] // 2]
    n, high, wide = x.shape[0], (x.shape[1] - 1) // stride + 1, (x.shape[2] - 1) // stride + 1
    y = np.zeros((n, high, wide, weight.shape[3])) + (0 if bias is None else bias)
    for image, row, column, i, j in pixels(n, high, wide, *kernel):
        pixel = at(x[image], row * stride + i - half[0], column * stride + j - half[1])
        y[image, row, column] += pixel @ weight[i, j]
    return y


LOOP_SIMILARITIES = {
    "product": lambda q, k, scale: q * k * scale,
    "key": lambda q, k, scale: k,
    "distance": lambda q, k, scale: -abs(q - k),
    "relative_distance": lambda q, k, scale: -abs(q - k) / (abs(q) + abs(k) + 1),
    "relative_square": lambda q, k, scale: -((q - k) ** 2) / (abs(q * k) + 1),
    "square": lambda q, k, scale: -((q - k) ** 2),
}


def loop_local_relation(q, k, x, geometry, told):
    kernel, stride = told["kernel"], told["stride"]
    n, high, wide, groups = q.shape
    share = x.shape[3] // groups
    y = np.zeros((n, high, wide, x.shape[3]))
    for image, row, column, group in pixels(n, high, wide, groups):
        scores, values = [], []
        for i, j in pixels(*kernel):
            r, c = row * stride + i - kernel[0] // 2, column * stride + j - kernel[1] // 2
            if 0 <= r < k.shape[1] and 0 <= c < k.shape[2]:
                query, key = q[image, row, column, group], k[image, r, c, group]
                score = LOOP_SIMILARITIES[told["similarity"]](query, key, told["scale"])
            else:
                score = -100
            scores.append(score + geometry[i * kernel[1] + j, group])
            values.append(at(x[image], r, c)[group * share : (group + 1) * share])
        y[image, row, column, group * share : (group + 1) * share] = softmax(np.array(scores)) @ np.array(values)
    return y


def loop_relative_attention(qkv, rel_height, rel_width, told):
    heads, keys = told["heads"], told["key_channels"]
    n, high, wide, channels = qkv.shape
    values = channels - 2 * keys
    d, e = keys // heads, values // heads
    y = np.zeros((n, high, wide, values))
    for image, head, row, column in pixels(n, heads, high, wide):
        q = qkv[image, row, column, head * d : (head + 1) * d]
        scores = np.zeros((high, wide))
        for r, c in pixels(high, wide):
            k = qkv[image, r, c, keys + head * d : keys + (head + 1) * d]
            scores[r, c] = told["scale"] * q @ (k + rel_height[r - row + high - 1] + rel_width[c - column + wide - 1])
        v = qkv[image, :, :, 2 * keys + head * e : 2 * keys + (head + 1) * e]
        y[image, row, column, head * e : (head + 1) * e] = np.einsum("rc,rcd->d", softmax(scores), v)
    return y


def loop_adaptive(x, attention, weight):
    """Y[m] = sum over taps i, j and channels n of W[i, j, n, m] A[(i, j), n] X[n]: attention [N, H, W, 9 C]."""
    n, high, wide, channels = x.shape
    y = np.zeros((n, high, wide, weight.shape[3]))
    for image, row, column, i, j, channel in pixels(n, high, wide, 3, 3, channels):
        told = attention[image, row, column, (i * 3 + j) * channels + channel]
        y[image, row, column] += weight[i, j, channel] * told * at(x[image], row + i - 1, column + j - 1)[channel]
    return y


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def numbers(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def weight_of(layer):
    """A layer's weight in vistok's layout."""
    return models.exchange(layer, layer.weight).detach().numpy()


def relations():
    for similarity, stride, kernel in itertools.product(LOOP_SIMILARITIES, [1, 2], [(3, 5), (7, 7)]):
        size = (4, 6)
        after = related.halved(size, stride)
        told = {"kernel": kernel, "stride": stride, "similarity": similarity, "scale": 0.7}
        inputs = [drawn(2, *after, 3), drawn(2, *size, 3), drawn(2, *size, 6), drawn(kernel[0] * kernel[1], 3)]
        inputs = [x.requires_grad_() for x in inputs]
        inside = related.taps_inside(size, kernel, stride)
        wanted = loop_local_relation(*numbers(*inputs), told)
        for function in [related.local_relation, related.local_relation_unfolded]:
            of = lambda *inputs: function(*inputs, told | {"inside": inside})
            same(f"{function.__name__} {similarity} stride {stride} kernel {kernel}", of(*inputs), wanted)
            if kernel[0] == 3:
                torch.autograd.gradcheck(of, inputs, fast_mode=True)


def relation_layers():
    for stride in [1, 2]:
        words = {"kernel": 5, "channels": 2, "similarity": "product"}
        layer = related.LocalRelation(8, 8, stride, (5, 4), words).double()
        x = drawn(2, 8, 5, 4)
        (data,) = numbers(related.to_back(x))
        q = loop_convolution(data, weight_of(layer.query), stride=stride)
        k = loop_convolution(data, weight_of(layer.key))
        geometry = np.zeros((25, 4))
        first, second = layer.geometry.first, layer.geometry.second
        for i, j in pixels(5, 5):
            inner = np.maximum(np.array([j - 2, i - 2]) @ numbers(first.weight)[0].T + numbers(first.bias)[0], 0)
            geometry[i * 5 + j] = inner @ numbers(second.weight)[0].T
        told = {"kernel": (5, 5), "stride": stride, "similarity": "product", "scale": 1.0}
        wanted = loop_local_relation(q, k, data, geometry, told)
        same(f"a layer of local relations of stride {stride}", related.to_back(layer(x)), wanted)


def reference_attention(q, k, v, attn_mask=None, scale=None):
    scores = q @ k.transpose(2, 3) * scale
    return (scores if attn_mask is None else scores + attn_mask).softmax(3) @ v


def attentions():
    told = {"heads": 2, "key_channels": 6, "scale": 0.6}
    inputs = [drawn(2, 3, 5, 16), drawn(5, 3), drawn(9, 3)]
    wanted = loop_relative_attention(*numbers(*inputs), told)
    if not hasattr(F, "scaled_dot_product_attention"):
        print("       by a stand-in for scaled_dot_product_attention:")
        F.scaled_dot_product_attention = reference_attention
    for function in [related.relative_attention, related.relative_attention_masked, related.relative_attention_widened]:
        same(function.__name__, function(*inputs, told), wanted)
        inputs = [x.requires_grad_() for x in inputs]
        torch.autograd.gradcheck(lambda *inputs: function(*inputs, told), inputs)
    words = {"heads": 2, "key_percent": 50, "value_percent": 30, "least_keys": 3}
    for before, stride in [(7, 1), (5, 2)]:
        layer = related.Augmented(before, 16, stride, (5, 7), words).double()
        assert related.augmented_channels(16, words) == (8, 4)
        x = drawn(2, before, 5, 7)
        (data,) = numbers(related.to_back(x))
        qkv = loop_convolution(data, weight_of(layer.qkv), stride=stride)
        told = {"heads": 2, "key_channels": 8, "scale": 0.5}
        attended = loop_relative_attention(qkv, *numbers(layer.attention.rel_height, layer.attention.rel_width), told)
        attended = loop_convolution(attended, weight_of(layer.out))
        wanted = np.concatenate([loop_convolution(data, weight_of(layer.conv), stride=stride), attended], 3)
        same(f"an augmented convolution of stride {stride}", related.to_back(layer(x)), wanted)


def normalize(x, norm):
    mean, variance, gain, bias = numbers(norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return (x - mean) / np.sqrt(variance + norm.eps) * gain + bias


def adaptive_blocks():
    gates = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0)}
    for gate, normalized in [("sigmoid", True), ("relu", False)]:
        words = {"attention_kernel": 7, "gate": gate, "normalized": normalized}
        block = related.AdaptiveBlock(4, 3, words).double().eval()
        models.start(block)
        x, raw = drawn(2, 4, 3, 5), drawn(2, 3, 3, 5)
        data, around = numbers(related.to_back(x), related.to_back(raw))
        bias = None if normalized else numbers(block.attention.bias)[0]
        attention = loop_convolution(around, weight_of(block.attention), bias)
        attention = gates[gate](normalize(attention, block.attention_norm) if normalized else attention)
        y = loop_adaptive(data, attention, weight_of(block.conv1)[0, 0].reshape(3, 3, 4, 4))
        y = np.maximum(normalize(y, block.norm1), 0)
        wanted = data + np.maximum(normalize(loop_convolution(y, weight_of(block.conv2)), block.norm2), 0)
        same(f"an adaptive block, {gate}", related.to_back(block(x, raw)), wanted)
        larger = drawn(2, 3, 6, 10)
        shrunk = F.interpolate(larger, (3, 5), mode="bilinear", align_corners=False)
        same("an adaptive block of larger images", block(x, larger), block(x, shrunk).detach().numpy())


def gates():
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    x = drawn(2, 8, 3, 5)
    (data,) = numbers(related.to_back(x))

    def mlp(module, mean):
        inner = np.maximum(mean @ weight_of(module.reduce)[0, 0] + numbers(module.reduce.bias)[0], 0)
        return inner @ weight_of(module.expand)[0, 0] + numbers(module.expand.bias)[0]

    for gate, by in [("sigmoid", sigmoid), ("relu", lambda x: np.maximum(x, 0))]:
        module = related.SqueezeExcitation(8, {"ratio": 3, "gate": gate}).double()
        wanted = data * by(mlp(module, data.mean((1, 2))))[:, None, None]
        same(f"squeeze and excitation, {gate}", related.to_back(module(x)), wanted)
        words = {"ratio": 3, "kernel": 3, "gate": gate}
        channel, spatial = related.ChannelGate(8, words).double(), related.SpatialGate(words).double().eval()
        wanted = data * by(mlp(channel, data.mean((1, 2))) + mlp(channel, data.max((1, 2))))[:, None, None]
        same(f"the channel gate, {gate}", related.to_back(channel(x)), wanted)
        squeezed = np.stack([data.max(3), data.mean(3)], 3)
        wanted = data * by(normalize(loop_convolution(squeezed, weight_of(spatial.conv)), spatial.norm))
        same(f"the spatial gate, {gate}", related.to_back(spatial(x)), wanted)


VARIANTS = {
    "plain": None,
    "squeeze_excitation": {"squeeze_excitation": {"ratio": 16, "gate": "sigmoid"}},
    "cbam": {"cbam": {"ratio": 16, "kernel": 7, "gate": "sigmoid"}},
    "local_relation": {"local_relation": {"kernel": 7, "channels": 8, "similarity": "product", "width": related.WIDTH}},
    "augmented": {"augmented": {"heads": 8, "key_percent": 20, "value_percent": 10, "least_keys": 20}},
}


def whole():
    """Networks in any layout and precision; channels that are last stay so up to every norm."""

    def layout(module, inputs):
        last = inputs[0].is_contiguous(memory_format=torch.channels_last)
        assert last or inputs[0].shape[1] == 1, f"channels in front, in {module}"

    for name, told, _ in related.networks():
        images = torch.randn(4, 3, 16, 12)
        network = related.ResNet(told, (16, 12)).eval()
        wanted = network(images)
        network, images = (x.to(memory_format=torch.channels_last) for x in (network, images))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(layout)
        same(f"{name}, channels last", network(images), wanted.detach().double().numpy(), 1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.train()(images)
        logits.float().square().sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters()), name
    for depth, (name, variant) in itertools.product([18, 50], VARIANTS.items()):
        network = related.ResNet(related.imagenet(depth, variant), (64, 96)).eval()
        with torch.no_grad():
            assert network(torch.randn(1, 3, 64, 96)).shape == (1, 1000), name


class Counted:
    """Multiply-adds of what a network does with an image: convolutions, linear layers and products of attention."""

    def __init__(self, told, size=(224, 224)):
        self.layers, self.products, self.tables = 0, 0, 0
        network = related.ResNet(told, size).eval()
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, related.LocalRelation, related.Augmented)):
                module.register_forward_hook(self.count)
        with torch.no_grad():
            network(torch.zeros(1, 3, *size))

    def count(self, module, inputs, output):
        if isinstance(module, related.LocalRelation):
            taps, groups = module.inside.shape[2], module.query.out_channels
            self.products += output[0, 0].numel() * taps * (groups + output.shape[1])
        elif isinstance(module, related.Augmented):
            pixels, keys = output[0, 0].numel(), module.told["key_channels"]
            self.products += pixels * pixels * (keys + module.out.out_channels)
            self.tables += pixels * keys * sum(output.shape[2:])
        else:
            self.layers += output.numel() * module.weight[0].numel()

    @property
    def all(self):
        return self.layers + self.products + self.tables


def line(name, counted, paper=""):
    million, giga = counted.parameters / 1e6, 1e9
    costs = [counted.layers / giga, counted.products / giga, counted.tables / giga, counted.all / giga]
    print(f"{name:<52}{million:>9.3f}" + "".join(f"{cost:>9.3f}" for cost in costs) + f"  {paper}", flush=True)


PAPER = {
    "plain": {18: "11.7 / 1.81", 34: "21.8 / 3.66", 50: "25.5 / 4.09", 101: "44.4 / 7.80"},
    # Of a ResNet-50 and -101 whose stride is in the first convolution of a block.
    "squeeze_excitation": {18: "11.8 / 1.814", 34: "22.0 / 3.664", 50: "28.1 / 3.860*", 101: "49.3 / 7.575*"},
    "cbam": {18: "11.8 / 1.815", 34: "22.9 / 3.664", 50: "28.1 / 3.864*", 101: "49.3 / 7.581*"},
    "local_relation": {18: "14.4 / 2.5", 50: "23.3 / 4.3", 101: "42.0 / 7.79"},
    "augmented": {34: "20.7 / 3.55", 50: "25.6 / 4.1", 101: "45.4 / 8.05"},
}


def counts():
    print(f"{'224x224':<52}{'M':>9}{'layers G':>9}{'products':>9}{'tables':>9}{'all':>9}  the paper's M / G")
    for (name, variant), depth in itertools.product(VARIANTS.items(), [18, 34, 50, 101]):
        line(f"resnet{depth} {name}", Counted(related.imagenet(depth, variant)), PAPER[name].get(depth, ""))
    for name, depth in itertools.product(["squeeze_excitation", "cbam"], [50, 101]):
        told = related.imagenet(depth, VARIANTS[name], "bottleneck_stride_first")
        line(f"resnet{depth} {name}, stride first", Counted(told), PAPER[name][depth])
    for width, depth in itertools.product([250, 391, 438, related.WIDTH, 475, 500], [18, 50, 101]):
        words = VARIANTS["local_relation"]["local_relation"] | {"width": width}
        widths = "/".join(str(related.relation_width(channels, words)) for channels in [256, 512, 1024, 2048])
        told = related.imagenet(depth, {"local_relation": words}, "bottleneck")
        name = f"resnet{depth} of bottlenecks, local_relation {widths}"
        line(name, Counted(told), PAPER["local_relation"][depth])
    for percent in [25, 50, 75]:
        words = VARIANTS["augmented"]["augmented"] | {"key_percent": percent, "value_percent": percent}
        line(f"resnet50 augmented, {percent} % keys and values", Counted(related.imagenet(50, {"augmented": words})))


def main():
    if sys.argv[1:] == ["counts"]:
        return counts()
    for check in [relations, relation_layers, attentions, adaptive_blocks, gates, whole]:
        check()
    print("all hold")


if __name__ == "__main__":
    main()
