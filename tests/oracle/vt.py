"""Tiny VT-ResNets with every option that vistok has, in plain PyTorch, driven by the words that vistok describes a network by: a
case file says its network so (`attributes`, `model`).

Written from the equations: Wu et al. 2021 (1 to 5, appendix C) and the version of June 2020 with its appendix. Maps are
[N, C, H, W] and tokens [N, C, L] here. Modules are called as vistok's scopes are.
"""

import torch
from torch import nn
import torch.nn.functional as F

from models import CLASSES, Residual, Stem, named


class Pointwise(nn.Conv1d):
    """A 1x1 convolution without bias, in groups as the option says."""

    def __init__(self, before, after, option):
        groups = 1
        if option != "dense":
            ((kind, number),) = option.items()
            groups = {"groups": number, "groups_of": max(after // number, 1)}[kind]
        super().__init__(before, after, 1, groups=groups, bias=False)


def pointwise(before, after, option):
    if option == "identity":
        assert before == after
        return nn.Identity()
    return Pointwise(before, after, option)


class ChannelNorm(nn.LayerNorm):
    """Layer norm of [N, C, R] over C."""

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def norm(option, channels):
    return {"none": lambda _: nn.Identity(), "batch": nn.BatchNorm1d, "layer": ChannelNorm}[option](channels)


def weigh(query, key, attention, tokens):
    """[N, C, Q], [N, C, K] -> the softmax over keys of scaled products, [N, heads, Q, K]."""
    heads, channels = attention["heads"], query.shape[1]
    by = {"one": 1, "head": channels / heads, "channels": channels, "tokens": tokens}[attention["scale"]]
    query, key = (x.reshape(len(x), heads, channels // heads, x.shape[2]) for x in (query, key))
    return (torch.einsum("nhcq,nhck->nhqk", query, key) / by**0.5).softmax(3)


def take(weights, value):
    """What these weights make of values [N, D, K]: [N, D, Q]."""
    n, heads, queries, keys = weights.shape
    value = value.reshape(n, heads, -1, keys)
    return torch.einsum("nhqk,nhdk->nhdq", weights, value).reshape(n, -1, queries)


class Position(nn.Module):
    """P = downsample(A)^T W: a token's map, all heads of it, small enough to be a code."""

    def __init__(self, option, heads):
        super().__init__()
        self.size, self.halvings = option["size"], option["halvings"]
        side = self.size
        for at in range(1, self.halvings + 1):
            self.add_module(f"conv{at}", nn.Conv2d(heads, heads, 3, 2, 1, bias=False))
            side = (side + 1) // 2
        self.one = nn.Conv2d(heads, 1, 1, bias=False)
        self.channels = side * side
        self.code = Pointwise(self.channels, self.channels, "dense")

    def forward(self, weights, height, width):
        n, heads, tokens, _ = weights.shape
        maps = weights.transpose(1, 2).reshape(n * tokens, heads, height, width)
        maps = F.interpolate(maps, (self.size, self.size), mode="nearest")
        for at in range(1, self.halvings + 1):
            maps = getattr(self, f"conv{at}")(maps)
        return self.code(self.one(maps).reshape(n, tokens, self.channels).transpose(1, 2))


def k_means(pixels, height, width, tokens, rounds):
    """Centroids [N, C, L] of unit pixels [N, C, HW], from the map brought to L pixels."""
    n, channels, _ = pixels.shape
    rows = max(rows for rows in range(1, tokens + 1) if tokens % rows == 0 and rows * rows <= tokens)
    first = F.interpolate(pixels.reshape(n, channels, height, width), (rows, tokens // rows), mode="bilinear")
    centroids, units = F.normalize(first.flatten(2), dim=1), F.normalize(pixels, dim=1)
    for _ in range(rounds):
        mask = F.one_hot(torch.einsum("ncp,ncl->npl", units, centroids).argmax(2), tokens).to(pixels.dtype)
        means = torch.einsum("ncp,npl->ncl", units, mask) / mask.sum(1, keepdim=True).clamp(min=1)
        centroids = F.normalize(torch.where(mask.sum(1, keepdim=True) > 0, means, centroids), dim=1)
    return centroids


class Tokenizer(nn.Module):
    """From pixels [N, C, H, W] and perhaps the last tokens to tokens."""

    def __init__(self, vt, channels, first):
        super().__init__()
        told = vt["tokenizer"]
        self.tokens, self.first, self.recurrent = vt["tokens"], told["first"], None
        if not first and told["later"] != "anew":
            self.recurrent = told["later"]["recurrent"]
            self.attention = self.recurrent["attention"]
            self.query = pointwise(vt["token_channels"], channels, self.recurrent["query"])
            self.key = pointwise(channels, channels, self.recurrent["key"])
        elif self.first != "pooling":
            self.attention = self.first.get("filter") or self.first["clustering"]["attention"]
            if "filter" in self.first:
                self.filter = nn.Parameter(torch.empty(1, self.tokens, channels))
        self.value = pointwise(channels, channels, told["value"])
        self.position = None
        if told["position"] != "none":
            self.position = Position(told["position"]["downsampled"], self.attention["heads"])
        coded = channels + (self.position.channels if self.position else 0)
        self.token = pointwise(coded, vt["token_channels"], told["token"])
        self.norm = norm(vt["norm"], vt["token_channels"])

    def forward(self, image, tokens):
        height, width = image.shape[2:]
        pixels = image.flatten(2)
        value, kept, key = self.value(pixels), [], pixels
        if self.recurrent:
            if self.recurrent["split"] == "half":
                half = tokens.shape[2] // 2
                tokens, kept = tokens[:, :, :half], [tokens[:, :, half:]]
            query, key = self.query(tokens), self.key(pixels)
        elif self.first == "pooling":
            image = value.reshape(len(value), -1, height, width)
            small = F.interpolate(image, (2, self.tokens // 2), mode="bilinear").flatten(2)
            return self.norm(self.token(small))
        elif "filter" in self.first:
            query = self.filter.transpose(1, 2).expand(len(pixels), -1, -1)
        else:
            query = k_means(pixels, height, width, self.tokens, self.first["clustering"]["rounds"])
        weights = weigh(query, key, self.attention, self.tokens)
        drawn = take(weights, value)
        if self.position:
            drawn = torch.cat([drawn, self.position(weights, height, width)], 1)
        return torch.cat([*kept, self.norm(self.token(drawn))], 2)


class Transformer(nn.Module):
    """T' = T + a, T + relu(T' F1) F2 (equations 3 and 4), or T + a F (2020)."""

    def __init__(self, vt):
        super().__init__()
        told, channels = vt["interaction"]["attention"], vt["token_channels"]
        self.attention, self.feed = told["attention"], told["feed"]
        self.query = pointwise(channels, told["key_channels"], told["key_query"])
        self.key = pointwise(channels, told["key_channels"], told["key_query"])
        self.value = pointwise(channels, channels, told["value"])
        if self.feed == "scaling":
            self.scaling, self.norm_scaling = Pointwise(channels, channels, "dense"), norm(vt["norm"], channels)
            return
        self.norm_attention = norm(vt["norm"], channels)
        for at in [1, 2]:
            self.add_module(f"feed{at}", Pointwise(channels, channels, "dense"))
            self.add_module(f"norm_feed{at}", norm(vt["norm"], channels))

    def forward(self, tokens):
        weights = weigh(self.query(tokens), self.key(tokens), self.attention, tokens.shape[2])
        attended = take(weights, self.value(tokens))
        if self.feed == "scaling":
            return tokens + self.norm_scaling(self.scaling(attended))
        tokens = tokens + self.norm_attention(attended)
        return tokens + self.norm_feed2(self.feed2(F.relu(self.norm_feed1(self.feed1(tokens)))))


class Alone(nn.Module):
    """T + T W, or T + (G T) W: the ablations of the transformer."""

    def __init__(self, vt):
        super().__init__()
        channels = vt["token_channels"]
        if vt["interaction"] == "graph_conv":
            self.mixing = nn.Parameter(torch.empty(1, vt["tokens"], vt["tokens"]))
        self.map, self.norm = Pointwise(channels, channels, "dense"), norm(vt["norm"], channels)

    def forward(self, tokens):
        mixed = torch.einsum("kl,ncl->nck", self.mixing[0], tokens) if hasattr(self, "mixing") else tokens
        return tokens + self.norm(self.map(mixed))


class Projector(nn.Module):
    """X + softmax over tokens((X W_Q)(T W_K)^T) value(T): equation 5."""

    def __init__(self, vt, channels):
        super().__init__()
        told, after = vt["projector"], vt["channels"]
        self.attention, self.activation = told["attention"], told["activation"]
        self.query = pointwise(channels, after, told["query"])
        self.key = pointwise(vt["token_channels"], after, told["key"])
        self.value = pointwise(vt["token_channels"], after, told["value"])
        self.norm = norm(vt["norm"], after)
        if channels != after:
            self.shortcut, self.norm_shortcut = Pointwise(channels, after, "dense"), norm(vt["norm"], after)

    def forward(self, image, tokens):
        pixels = image.flatten(2)
        weights = weigh(self.query(pixels), self.key(tokens), self.attention, tokens.shape[2])
        projected = self.norm(take(weights, self.value(tokens)))
        lifted = self.norm_shortcut(self.shortcut(pixels)) if hasattr(self, "shortcut") else pixels
        sum = lifted + projected
        return F.relu(sum) if self.activation == "relu" else sum


def blocks(told, channels):
    """The VT blocks behind a trunk that so many channels leave."""
    vt, blocks = told["vt"], {}
    for at in range(1, told["blocks"] + 1):
        parts = {}
        if at == 1 or vt["tokenizer"]["later"] != "kept":
            parts["tokenizer"] = Tokenizer(vt, channels, at == 1)
        kind = vt["interaction"] if isinstance(vt["interaction"], str) else "transformer"
        parts[{"none": "alone"}.get(kind, kind)] = Transformer(vt) if kind == "transformer" else Alone(vt)
        every, but_last = (told["projecting"] == option for option in ["every_block", "all_but_last"])
        if every or (but_last and at < told["blocks"]):
            parts["projector"] = Projector(vt, channels)
            channels = vt["channels"]
        blocks[f"vt{at}"] = named(**parts)
    return named(**blocks)


def through(blocks, image, told):
    """What leaves these blocks, [N, C, L] or [N, C, HW], as the head reads it."""
    tokens = None
    for block in blocks.values():
        tokens = block["tokenizer"](image, tokens) if "tokenizer" in block else tokens
        ((_, interaction),) = ((name, part) for name, part in block.items() if name not in ("tokenizer", "projector"))
        tokens = interaction(tokens)
        if "projector" in block:
            image = block["projector"](image, tokens).unflatten(2, image.shape[2:])
    return image.flatten(2) if told["features"] == "pixels" else tokens


class VtResNet(nn.Module):
    """Stem, a residual block, VT blocks, and a head that reads the mean token or pixel."""

    def __init__(self, told):
        super().__init__()
        self.told, vt = told, told["vt"]
        channels = told["trunk"]["stages"][0]["channels"]
        self.stem = Stem(3, 4, 3, pool=False)
        self.stage2 = named(block1=Residual(4, channels, 1))
        self.stage3 = blocks(told, channels)
        pixels = told["features"] == "pixels" and told["projecting"] != "no_block"
        self.head = nn.Linear(vt["channels"] if pixels else vt["token_channels"], CLASSES)

    def forward(self, images):
        return self.head(through(self.stage3, self.stage2["block1"](self.stem(images)), self.told).mean(2))


PLAIN = {"heads": 1, "scale": "one"}


def scaled(heads):
    return {"heads": heads, "scale": "head"}


def tokenizer(first, later, value, token, position="none"):
    return {"first": first, "later": later, "value": value, "token": token, "position": position}


def recurrent(split, attention, key):
    return {"recurrent": {"split": split, "attention": attention, "query": "dense", "key": key}}


def transformer(key_channels, key_query, value, attention, feed):
    told = {"key_channels": key_channels, "key_query": key_query, "value": value}
    return {"attention": told | {"attention": attention, "feed": feed}}


def projector(query, value, attention, activation):
    return {"query": query, "key": "dense", "value": value, "attention": attention, "activation": activation}


def network(name, vt, channels, blocks=3, projecting="all_but_last", features="tokens"):
    stem = {"small": {"kernel": 3, "channels": 4, "stride": 2, "pool": False}}
    stages = [{"channels": channels, "blocks": 1, "stride": 1}]
    names = ["tokens", "token_channels", "channels", "norm", "tokenizer", "interaction", "projector"]
    return {
        "family": "vt-resnet",
        "name": name,
        "trunk": {"stem": stem, "block": "basic", "stages": stages},
        "vt": dict(zip(names, vt)),
        "blocks": blocks,
        "projecting": projecting,
        "features": features,
        "classes": CLASSES,
    }


def networks():
    """(name, description, (learning rate, spread of weights)): the presets of vistok at tiny widths, and choices that none
    of them makes."""
    of4, eight, plain = {"groups_of": 4}, {"groups": 8}, {"filter": PLAIN}
    iccv = tokenizer(plain, recurrent("full", PLAIN, "identity"), "identity", "identity")
    equations = transformer(8, "dense", "identity", PLAIN, "forward")
    iccv = [4, 8, 8, "none", iccv, equations, projector("dense", "identity", PLAIN, "none")]
    yield "iccv", network("iccv", iccv, 8, 2), (0.001, 0.6)

    one = {"filter": scaled(1)}
    drawn = tokenizer(one, recurrent("full", scaled(1), of4), of4, "dense")
    attending = transformer(8, {"groups": 2}, "identity", scaled(1), "forward")
    projecting = projector(of4, "dense", scaled(1), "relu")
    yield "counted", network("counted", [4, 16, 8, "batch", drawn, attending, projecting], 4, 2), (0.0005, 0.6)

    drawn = tokenizer(one, recurrent("full", scaled(1), of4), of4, "identity")
    attending = transformer(8, eight, eight, scaled(1), "forward")
    alike = [4, 16, 16, "batch", drawn, attending, projector(of4, "identity", scaled(1), "relu")]
    yield "counted-alike", network("alike", alike, 16, 2, "every_block", "pixels"), (0.002, 1.0)

    position = {"downsampled": {"size": 6, "halvings": 1}}
    drawn = tokenizer(one, recurrent("half", scaled(2), of4), of4, "dense", position)
    attending = transformer(8, eight, eight, {"heads": 2, "scale": "tokens"}, "scaling")
    early = [4, 16, 8, "batch", drawn, attending, projector(of4, "dense", scaled(2), "none")]
    yield "early", network("early", early, 8), (0.002, 1.0)

    clustering = {"clustering": {"rounds": 2, "attention": {"heads": 2, "scale": "channels"}}}
    drawn = tokenizer(clustering, recurrent("full", scaled(2), "dense"), "dense", "dense")
    yield "clustering", network("clustering", [4, 12, 8, "layer", drawn, "none", projecting], 8, 2), (0.002, 1.0)

    drawn = tokenizer("pooling", "anew", "identity", "dense")
    yield "pooling", network("pooling", [4, 12, 8, "batch", drawn, "graph_conv", projecting], 8, 2), (0.002, 1.0)

    drawn = tokenizer(one, "kept", "identity", "dense")
    attending = transformer(6, "dense", "dense", scaled(2), "forward")
    yield "kept", network("kept", [4, 12, 8, "layer", drawn, attending, projecting], 8, 2, "no_block"), (0.002, 1.0)


# What leaves an activation in a case file.
PARTS = (Stem, Residual, Tokenizer, Transformer, Alone, Projector, nn.Linear)


# Networks of which some images skip some blocks, in a case of its own.
SKIPPED = ["counted", "early", "pooling"]


def described():
    """Those networks, as `models.cases` takes them."""
    for name, told, rate in networks():
        make, shape = lambda told=told: VtResNet(told), (4, 3, 8, 8)
        yield f"model-vt-{name}", told, make, shape, rate, PARTS
        if name in SKIPPED:
            slowly = (0.1 * rate[0], rate[1])
            yield f"model-vt-{name}-depth", told, make, shape, slowly, PARTS, 0.6
