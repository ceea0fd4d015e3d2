"""FPN and VT-FPN in plain PyTorch, driven by the words that vistok describes a network by, as in `vt.py`; tiny ones for the
oracle.

Written from Kirillov et al. 2019 (the semantic branch) and Wu et al. 2021, section 4. Maps are [N, C, H, W].
"""

from collections import OrderedDict

import torch
from torch import nn
import torch.nn.functional as F

from models import CLASSES, Stem, named
from vt import Projector, Tokenizer, Transformer, projector, scaled, tokenizer, transformer

LEVELS = [(8, 1), (8, 2), (12, 2)]  # channels and stride of the stages


class Bottleneck(nn.Module):
    """relu(F(x) + x), F 1x1 with the stride, 3x3, 1x1."""

    def __init__(self, before, channels, stride):
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(before, inner, 1, stride, bias=False)
        self.conv2 = nn.Conv2d(inner, inner, 3, 1, 1, bias=False)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
        self.norm3 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Module()
        self.lifts = stride != 1 or before != channels
        if self.lifts:
            self.shortcut.conv = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.shortcut.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm3(self.conv3(F.relu(self.norm2(self.conv2(y)), inplace=True)))
        return F.relu(y + (self.shortcut.norm(self.shortcut.conv(x)) if self.lifts else x), inplace=True)


class Head(nn.Module):
    """Each level to the size of the first, a convolution and a doubling at a time; their sum; a class for every pixel."""

    def __init__(self, told, channels, levels, classes):
        super().__init__()
        for level in range(levels):
            parts, before = {}, channels
            for at in range(1, max(level, 1) + 1):
                parts[f"conv{at}"] = nn.Conv2d(before, told["channels"], 3, 1, 1, bias=False)
                parts[f"norm{at}"] = nn.GroupNorm(told["groups"], told["channels"])
                before = told["channels"]
            self.add_module(f"level{level + 2}", named(**parts))
        self.predictor = nn.Conv2d(told["channels"], classes, 1)

    def forward(self, levels, size):
        sum = 0
        for level, x in enumerate(levels):
            parts = getattr(self, f"level{level + 2}")
            for at in range(1, max(level, 1) + 1):
                x = F.relu(parts[f"norm{at}"](parts[f"conv{at}"](x)), inplace=True)
                if level:
                    x = F.interpolate(x, levels[level - at].shape[2:], mode="bilinear", align_corners=False)
            sum = sum + x
        return F.interpolate(self.predictor(sum), size, mode="bilinear", align_corners=False)


def stem(told):
    """The first layers, and the channels that leave them."""
    small = {"kernel": 7, "channels": 64, "pool": True} if told == "large" else told["small"]
    return Stem(3, small["channels"], small["kernel"], small["pool"]), small["channels"]


class Fpn(nn.Module):
    def __init__(self, told):
        super().__init__()
        self.of_pixels = True
        channels, self.tokens, stages = told["channels"], told["pyramid"], told["trunk"]["stages"]
        self.levels = range(2, len(stages) + 2)
        first, before = stem(told["trunk"]["stem"])
        backbone, pyramid = {"stem": first}, {}
        for at, stage in zip(self.levels, stages):
            after, blocks = stage["channels"], {}
            for block in range(1, stage["blocks"] + 1):
                blocks[f"block{block}"] = Bottleneck(before, after, stage["stride"] if block == 1 else 1)
                before = after
            backbone[f"stage{at}"] = nn.Sequential(OrderedDict(blocks))
            pyramid[f"lateral{at}"] = nn.Conv2d(after, channels, 1)
        if self.tokens == "convolutions":
            for at in self.levels:
                pyramid[f"output{at}"] = nn.Conv2d(channels, channels, 3, 1, 1)
        else:
            self.tokens = self.tokens["tokens"]
            vt = self.tokens["vt"]
            for at, tokens in enumerate(self.tokens["tokens"], 2):
                parts = {"tokenizer": Tokenizer(vt | {"tokens": tokens}, channels, True)}
                pyramid[f"level{at}"] = named(**parts, projector=Projector(vt, channels))
            for layer in range(1, self.tokens["layers"] + 1):
                pyramid[f"layer{layer}"] = named(transformer=Transformer(vt))
        self.backbone, self.pyramid = named(**backbone), named(**pyramid)
        self.head = Head(told["head"], channels, len(stages), told["classes"])

    def forward(self, images):
        x, levels = self.backbone.stem(images), []
        for at in self.levels:
            x = self.backbone[f"stage{at}"](x)
            levels.append(self.pyramid[f"lateral{at}"](x))
        if self.tokens != "convolutions":
            levels = self.project(levels)
        for at in range(len(levels) - 1, 0, -1):
            levels[at - 1] = levels[at - 1] + F.interpolate(levels[at], levels[at - 1].shape[2:], mode="nearest")
        if self.tokens == "convolutions":
            levels = [self.pyramid[f"output{at}"](level) for at, level in zip(self.levels, levels)]
        return self.head(levels, images.shape[2:])

    def project(self, levels):
        """Tokens of every level, all of them through the transformers, and each level's own back onto it."""
        parts = [self.pyramid[f"level{at}"] for at in self.levels]
        tokens = torch.cat([part.tokenizer(level, None) for part, level in zip(parts, levels)], 2)
        for layer in range(1, self.tokens["layers"] + 1):
            tokens = self.pyramid[f"layer{layer}"].transformer(tokens)
        own = tokens.split(self.tokens["tokens"], 2)
        return [
            part.projector(level, tokens).unflatten(2, level.shape[2:])
            for part, level, tokens in zip(parts, levels, own)
        ]


def network(name, pyramid):
    stem = {"small": {"kernel": 3, "channels": 4, "stride": 2, "pool": False}}
    stages = [{"channels": channels, "blocks": 1, "stride": stride} for channels, stride in LEVELS]
    return {
        "family": "fpn",
        "name": name,
        "trunk": {"stem": stem, "block": "bottleneck_stride_first", "stages": stages},
        "pyramid": pyramid,
        "channels": 8,
        "head": {"channels": 6, "groups": 3},
        "classes": CLASSES,
    }


def networks():
    """(name, description, (learning rate, spread of weights))."""
    yield "fpn", network("fpn", "convolutions"), (0.01, 1.0)
    of4 = {"groups": 4}
    drawn = tokenizer({"filter": scaled(1)}, "kept", "identity", of4)
    attending = transformer(8, of4, of4, scaled(1), "forward")
    names = ["tokens", "token_channels", "channels", "norm", "tokenizer", "interaction", "projector"]
    projecting = projector(of4, of4, scaled(1), "none") | {"key": of4}
    vt = dict(zip(names, [4, 16, 8, "batch", drawn, attending, projecting]))
    yield "vt-fpn", network("vt-fpn", {"tokens": {"tokens": [4, 3, 2], "layers": 2, "vt": vt}}), (0.001, 1.0)


# What leaves an activation in a case file.
PARTS = (Stem, Bottleneck, Tokenizer, Transformer, Projector, Head)


def described():
    """Those networks, as `models.cases` takes them; images whose sizes do not halve evenly."""
    for name, told, rate in networks():
        yield f"model-{name}", told, lambda told=told: Fpn(told), (4, 3, 14, 10), rate, PARTS
