"""The networks that Wu et al. 2021 compare with (table 8), in plain PyTorch, driven by the words that vistok describes a
network by, as in `vt.py`: residual networks, plain and with

- squeeze and excitation (Hu et al. 2018),
- channel and spatial attention, CBAM (Woo et al. 2018),
- local relations in place of 3x3 convolutions (Hu et al. 2019),
- attention beside 3x3 convolutions (Bello et al. 2019),

and a block of spatially adaptive convolution (Xu et al. 2020). Written from the papers and from what is published of their
code; `check_related.py` holds it against loops over the definitions. Tiny ones for the oracle are at the end;
`benches/peers` times full sizes.

Modules are called as vistok's scopes are, with `.` for `/`, and nothing else knows those names. They take [N, C, H, W],
channels last in memory where speed counts; functions take and give [N, H, W, C], which then is the same memory.
"""

from collections import OrderedDict

import torch
from torch import nn
import torch.nn.functional as F

from models import CLASSES, named

GATES = {"sigmoid": torch.sigmoid, "relu": F.relu}
# Taps outside the image: so low a similarity, and they stay in the softmax.
OUTSIDE = -100.0


def to_back(x):
    return x.permute(0, 2, 3, 1)


def to_front(x):
    return x.permute(0, 3, 1, 2)


def conv(before, after, kernel, stride=1, bias=False):
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=bias)


def halved(size, stride):
    """The size of what such a stride leaves of a map."""
    return [(pixels - 1) // stride + 1 for pixels in size]


def windows(x, kernel, stride=1):
    """[N, H, W, C] to [N, H', W', KH, KW, C], zeros around the image: a view of the padded map."""
    high, wide = kernel
    x = F.pad(x, (0, 0, wide // 2, wide // 2, high // 2, high // 2))
    return x.unfold(1, high, stride).unfold(2, wide, stride).permute(0, 1, 2, 4, 5, 3)


class Mlp(nn.Module):
    """[.., C] to [.., C], through C / ratio."""

    def __init__(self, channels, ratio):
        super().__init__()
        inner = max(channels // ratio, 1)
        self.reduce, self.expand = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, x):
        return self.expand(F.relu(self.reduce(x), inplace=True))


class SqueezeExcitation(Mlp):
    """x gate(MLP(mean of pixels of x))."""

    def __init__(self, channels, told):
        super().__init__(channels, told["ratio"])
        self.gate = GATES[told["gate"]]

    def forward(self, x):
        return x * self.gate(super().forward(x.mean((2, 3))))[:, :, None, None]


class ChannelGate(Mlp):
    """x gate(MLP(mean of pixels of x) + MLP(largest of pixels of x)), one MLP."""

    def __init__(self, channels, told):
        super().__init__(channels, told["ratio"])
        self.gate = GATES[told["gate"]]

    def forward(self, x):
        mean, largest = super().forward(torch.stack([x.mean((2, 3)), x.flatten(2).max(2).values])).unbind()
        return x * self.gate(mean + largest)[:, :, None, None]


class SpatialGate(nn.Module):
    """x gate(norm(convolution of [largest of channels, mean of channels]))."""

    def __init__(self, told):
        super().__init__()
        self.conv, self.norm = conv(2, 1, told["kernel"]), nn.BatchNorm2d(1)
        self.gate = GATES[told["gate"]]

    def forward(self, x):
        squeezed = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
        return x * self.gate(self.norm(self.conv(squeezed)))


# What likens a query to a key, but for "product", q k scale, and "key", k.
SIMILARITIES = {
    "distance": lambda q, k: -(q - k).abs(),
    "relative_distance": lambda q, k: -(q - k).abs() / (q.abs() + k.abs() + 1),
    "relative_square": lambda q, k: -(q - k).square() / ((q * k).abs() + 1),
    "square": lambda q, k: -(q - k).square(),
}


def taps_inside(size, kernel, stride):
    """Whether a tap of a pixel's window is a pixel of the image: [H', W', KH KW]."""
    places = []
    for pixels, wide, after in zip(size, kernel, halved(size, stride)):
        place = torch.arange(after)[:, None] * stride + torch.arange(wide) - wide // 2
        places.append((place >= 0) & (place < pixels))
    rows, columns = places
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2)


def local_relation(q, k, x, geometry, told):
    """Each pixel's mean of the window around it, weighted by a softmax over the window of similarity plus geometry; C / G
    neighboring channels of x share the weights.

    q [N, H', W', G], k [N, H, W, G], x [N, H, W, C], geometry [KH KW, G]; told: kernel, stride, similarity, scale, and
    `inside`, what `taps_inside` gives."""
    kernel, stride, inside = told["kernel"], told["stride"], told["inside"][..., None]
    if told["similarity"] in ("product", "key"):
        # Zeros around k have similarity 0: what is added makes it OUTSIDE, and all is one pass over a view of k.
        added = torch.where(inside, geometry, geometry + OUTSIDE).unflatten(2, kernel)
        scaled = q[:, :, :, None, None] * told["scale"] if told["similarity"] == "product" else k.new_ones(())
        scores = torch.addcmul(added, scaled, windows(k, kernel, stride)).flatten(3, 4)
    else:
        keys = windows(k, kernel, stride).flatten(3, 4)
        scores = SIMILARITIES[told["similarity"]](q[:, :, :, None], keys)
        scores = scores.masked_fill(~inside, OUTSIDE).add_(geometry)
    # f16 stays f16 in memory; the sums within are f32.
    weights = torch.softmax(scores, 3, dtype=scores.dtype).unflatten(3, kernel)[..., None]
    values = windows(x, kernel, stride).unflatten(5, (k.shape[3], -1))
    return (weights * values).sum((3, 4), dtype=values.dtype).flatten(3)


def local_relation_unfolded(q, k, x, geometry, told):
    """The same with windows written down, channels in front of pixels, as `unfold` gives them."""
    kernel, padding = told["kernel"], [size // 2 for size in told["kernel"]]
    (n, high, wide, groups), taps = q.shape, kernel[0] * kernel[1]
    written = lambda x: F.unfold(to_front(x), kernel, padding=padding, stride=told["stride"])
    keys, values = written(k).view(n, groups, taps, -1), written(x).view(n, groups, -1, taps, high * wide)
    q = q.flatten(1, 2).transpose(1, 2)[:, :, None]
    if told["similarity"] == "product":
        scores = q * told["scale"] * keys
    else:
        scores = keys if told["similarity"] == "key" else SIMILARITIES[told["similarity"]](q, keys)
    scores = scores.masked_fill(~told["inside"].flatten(0, 1).T, OUTSIDE) + geometry.T[:, :, None]
    weights = torch.softmax(scores, 2, dtype=scores.dtype)
    y = (weights[:, :, None] * values).sum(3, dtype=values.dtype)
    return to_back(y.view(n, -1, high, wide))


class Matrix(nn.Linear):
    """A linear map whose weight is a matrix there, no 1x1 convolution."""

    is_matrix = True


class Geometry(nn.Module):
    """A small network of how far a tap is from the middle of its window, across and down: [taps, groups]."""

    def __init__(self, inner, groups, window):
        super().__init__()
        self.first, self.second = Matrix(2, inner), Matrix(inner, groups, bias=False)
        offset = torch.arange(window, dtype=torch.float32) - window // 2
        down, across = torch.meshgrid(offset, offset, indexing="ij")
        # Whole numbers, which no precision rounds. vistok keeps them beside the running averages.
        self.register_buffer("offsets", torch.stack([across, down], 2).reshape(1, -1, 2), persistent=False)

    def forward(self):
        offsets = self.offsets[0].to(self.first.weight.dtype)
        return self.second(F.relu(self.first(offsets), inplace=True))


class LocalRelation(nn.Module):
    """A local relation layer in place of a convolution, of maps of this size."""

    def __init__(self, before, channels, stride, size, told):
        super().__init__()
        window, groups = told["kernel"], channels // told["channels"]
        assert before == channels, "local relations keep the number of channels"
        assert groups * told["channels"] == channels, f"groups of {told['channels']} do not divide {channels} channels"
        inner = max(groups // 2, 1)
        self.query, self.key = conv(channels, groups, 1, stride), conv(channels, groups, 1)
        # Behind the ReLU a bias would be the same for all taps, which a softmax does not see.
        self.geometry = Geometry(inner, groups, window)
        kernel = [window, window]
        self.told = {"kernel": kernel, "stride": stride, "similarity": told["similarity"], "scale": 1.0}
        self.register_buffer("inside", taps_inside(size, kernel, stride), persistent=False)

    def forward(self, x):
        q, k = self.query(x), self.key(x)
        told = self.told | {"inside": self.inside}
        return to_front(local_relation(*map(to_back, (q, k, x)), self.geometry().to(x.dtype), told))


def position_terms(q, rel_height, rel_width):
    """q_i . rel_height(row of j - row of i) for all rows of j, [N, heads, H, W, H], and the same of columns, [.., W]:
    q [N, heads, H, W, D], tables [2 H - 1, D] and [2 W - 1, D], their middle the offset 0."""
    high, wide = q.shape[2:4]
    # Windows of a table, the last first: for each row of i its vectors for all rows of j, [H, D, H].
    rows, columns = rel_height.unfold(0, high, 1).flip(0), rel_width.unfold(0, wide, 1).flip(0)
    return torch.einsum("nhyxd,ydz->nhyxz", q, rows), torch.einsum("nhyxd,xdz->nhyxz", q, columns)


def position_scores(q, tables, size):
    """The sum of both for every pair of pixels: q [N, heads, H W, D] to [N, heads, H W, H W]."""
    rows, columns = position_terms(q.unflatten(2, size), *tables)
    return (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)


def split_heads(qkv, told):
    """[N, H, W, 2 K + V] to q, k, v [N, heads, H W, ..]."""
    keys = told["key_channels"]
    sizes = [keys, keys, qkv.shape[3] - 2 * keys]
    split = lambda x: x.flatten(1, 2).unflatten(2, (told["heads"], -1)).transpose(1, 2)
    return [split(x) for x in qkv.split(sizes, 3)]


def joined_heads(y, size):
    """[N, heads, H W, D] to [N, H, W, heads D]."""
    return y.transpose(1, 2).flatten(2).unflatten(1, size)


def relative_attention(qkv, rel_height, rel_width, told):
    """Heads of softmax over all pixels j of scale (q_i . k_j + position scores of i and j), times v_j:
    [N, H, W, 2 K + V] to [N, H, W, V]; told: heads, key_channels K, scale."""
    size = qkv.shape[1:3]
    q, k, v = split_heads(qkv, told)
    q = q * told["scale"]
    scores = position_scores(q, (rel_height, rel_width), size).flatten(0, 1)
    # The product of q and k is added to what is there.
    scores = torch.baddbmm(scores, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2))
    weights = torch.softmax(scores, 2, dtype=scores.dtype)
    return joined_heads((weights @ v.flatten(0, 1)).unflatten(0, q.shape[:2]), size)


def in_eights(x, least=0):
    """x with zeros behind its last axis, that so many eights fill: no other depth takes PyTorch's fused kernels."""
    return F.pad(x, (0, -(-max(x.shape[-1], least) // 8) * 8 - x.shape[-1]))


def relative_attention_masked(qkv, rel_height, rel_width, told):
    """The same by PyTorch's fused attention, with position scores as a mask that is added."""
    size = qkv.shape[1:3]
    q, k, v = split_heads(qkv, told)
    mask = position_scores(q * told["scale"], (rel_height, rel_width), size)
    padded = map(in_eights, (q, k, v))
    y = F.scaled_dot_product_attention(*padded, attn_mask=mask, scale=told["scale"])
    return joined_heads(y[..., : v.shape[3]], size)


def relative_attention_widened(qkv, rel_height, rel_width, told):
    """The same without any mask: q carries its score for each row and each column, k a 1 at its own. Values are as deep
    as keys, for which alone there is flash attention."""
    high, wide = size = qkv.shape[1:3]
    q, k, v = split_heads(qkv, told)
    terms = [term.flatten(2, 3) for term in position_terms(q.unflatten(2, size), rel_height, rel_width)]
    rows, columns = (torch.eye(pixels, dtype=k.dtype, device=k.device) for pixels in size)
    own = torch.cat([rows.repeat_interleave(wide, 0), columns.repeat(high, 1)], 1)
    q, k = torch.cat([q, *terms], 3), torch.cat([k, own.expand(*k.shape[:2], -1, -1)], 3)
    padded = in_eights(q), in_eights(k), in_eights(v, q.shape[3])
    y = F.scaled_dot_product_attention(*padded, scale=told["scale"])
    return joined_heads(y[..., : v.shape[3]], size)


def augmented_channels(channels, told):
    """Channels of all keys and of all values: shares of the layer's, whole ones of every head."""
    heads = told["heads"]
    keys = channels * told["key_percent"] // (100 * heads) * heads
    values = channels * told["value_percent"] // (100 * heads) * heads
    return max(keys, told["least_keys"] * heads), max(values, heads)


class Augmented(nn.Module):
    """A 3x3 convolution, some of whose channels are attention's over the whole map: of maps of this size."""

    def __init__(self, before, channels, stride, size, told):
        super().__init__()
        (keys, values), size = augmented_channels(channels, told), halved(size, stride)
        assert values < channels, f"values take {values} of {channels} channels: none is left to convolve"
        depth = keys // told["heads"]
        self.told = {"heads": told["heads"], "key_channels": keys, "scale": depth**-0.5}
        self.conv = conv(before, channels - values, 3, stride)
        self.qkv = conv(before, 2 * keys + values, 1, stride)
        self.out = conv(values, values, 1)
        table = lambda pixels: nn.Parameter(torch.randn(2 * pixels - 1, depth) * depth**-0.5)
        self.attention = nn.Module()
        self.attention.rel_height, self.attention.rel_width = map(table, size)
        self.attend = relative_attention

    def forward(self, x):
        y = self.attend(to_back(self.qkv(x)), self.attention.rel_height, self.attention.rel_width, self.told)
        return torch.cat([self.conv(x), self.out(to_front(y))], 1)


def modulated(x, attention):
    """Every pixel's window of 3x3, times attention: [N, H, W, C] and [N, H, W, 9 C], channels of a tap together, to
    [N, H, W, 9 C]."""
    taps = attention.unflatten(3, (3, 3, -1))
    return (taps * windows(x, (3, 3))).flatten(3)


class AdaptiveBlock(nn.Module):
    """x + F(x), F a 3x3 convolution whose weights are modulated at every pixel by the raw image around it, and another,
    plain."""

    def __init__(self, channels, raw_channels, told):
        super().__init__()
        self.attention = conv(raw_channels, 9 * channels, told["attention_kernel"], bias=not told["normalized"])
        self.attention_norm = nn.BatchNorm2d(9 * channels) if told["normalized"] else nn.Identity()
        self.conv1, self.norm1 = conv(9 * channels, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.gate = GATES[told["gate"]]

    def forward(self, x, raw):
        if raw.shape[2:] != x.shape[2:]:
            raw = F.interpolate(raw, x.shape[2:], mode="bilinear", align_corners=False)
        attention = self.gate(self.attention_norm(self.attention(raw)))
        y = to_front(modulated(to_back(x), to_back(attention)))
        y = F.relu(self.norm1(self.conv1(y)), inplace=True)
        return x + F.relu(self.norm2(self.conv2(y)), inplace=True)


def relation_width(channels, told):
    """Channels inside a bottleneck with a local relation: so many thousandths of the block's, in whole groups."""
    group = told["channels"]
    return max((channels * told.get("width", WIDTH) + 500 * group) // (1000 * group), 1) * group


# What the blocks of a trunk may have.
VARIANTS = ("squeeze_excitation", "cbam", "local_relation", "augmented")
# Of 256 channels 120: so a ResNet-101 has the parameters and multiply-adds of the paper's table within 2 %.
WIDTH = 469


class Residual(nn.Module):
    """relu(F(x) + x), F two 3x3 convolutions, or one between two of 1x1, or what takes their place; a 1x1 convolution
    lifts x where its shape changes."""

    def __init__(self, before, channels, stride, size, told):
        super().__init__()
        ((kind, words),) = (told["variant"] or {"plain": None}).items()
        assert kind in ("plain", *VARIANTS), f"no block has {kind}"
        layers = [(3, channels, stride), (3, channels, 1)]
        if told["block"] != "basic":
            inner = relation_width(channels, words) if kind == "local_relation" else channels // 4
            strides = (stride, 1) if told["block"] == "bottleneck_stride_first" else (1, stride)
            layers = [(1, inner, strides[0]), (3, inner, strides[1]), (1, channels, 1)]
        self.layers, between = len(layers), before
        for at, (kernel, after, by) in enumerate(layers, 1):
            layer = {"local_relation": LocalRelation, "augmented": Augmented}.get(kind if kernel == 3 else None)
            made = layer(between, after, by, size, words) if layer else conv(between, after, kernel, by)
            self.add_module(f"conv{at}", made)
            self.add_module(f"norm{at}", nn.BatchNorm2d(after))
            between, size = after, halved(size, by)
        if kind == "squeeze_excitation":
            self.se = SqueezeExcitation(channels, words)
        if kind == "cbam":
            self.channel, self.spatial = ChannelGate(channels, words), SpatialGate(words)
        self.kind, self.lifts = kind, stride != 1 or before != channels
        if self.lifts:
            self.shortcut = named(conv=conv(before, channels, 1, stride), norm=nn.BatchNorm2d(channels))

    def forward(self, x):
        y = x
        for at in range(1, self.layers + 1):
            y = getattr(self, f"norm{at}")(getattr(self, f"conv{at}")(y))
            y = F.relu(y, inplace=True) if at < self.layers else y
        if self.kind == "squeeze_excitation":
            y = self.se(y)
        if self.kind == "cbam":
            y = self.spatial(self.channel(y))
        return F.relu(y + (self.shortcut.norm(self.shortcut.conv(x)) if self.lifts else x), inplace=True)


class Stem(nn.Module):
    """Convolution, norm, ReLU, and perhaps 3x3 max pooling with stride 2."""

    def __init__(self, before, told):
        super().__init__()
        large = {"kernel": 7, "channels": 64, "stride": 2, "pool": True}
        self.told = large if told == "large" else told["small"]
        self.conv = conv(before, self.told["channels"], self.told["kernel"], self.told["stride"])
        self.norm = nn.BatchNorm2d(self.told["channels"])
        self.pool = nn.MaxPool2d(3, 2, 1) if self.told["pool"] else nn.Identity()

    def left(self, size):
        """The size of the map that it makes."""
        size = halved(size, self.told["stride"])
        return halved(size, 2) if self.told["pool"] else size

    def forward(self, x):
        return self.pool(F.relu(self.norm(self.conv(x)), inplace=True))


class Trunk(nn.Module):
    """Stem and residual stages, of images of this size."""

    def __init__(self, told, size=(224, 224), image_channels=3):
        super().__init__()
        self.stem = Stem(image_channels, told["stem"])
        size, before, self.stages = self.stem.left(size), self.stem.told["channels"], []
        for at, stage in enumerate(told["stages"], 2):
            blocks, variant = OrderedDict(), told.get("variant")
            # Attention reaches over whole maps, and those of the first stage are too large.
            variant = None if variant and "augmented" in variant and at == 2 else variant
            for block in range(1, stage["blocks"] + 1):
                words = {"block": told["block"], "variant": variant}
                stride = stage["stride"] if block == 1 else 1
                blocks[f"block{block}"] = Residual(before, stage["channels"], stride, size, words)
                before, size = stage["channels"], halved(size, stride)
            self.add_module(f"stage{at}", nn.Sequential(blocks))
            self.stages.append(f"stage{at}")
        self.channels = before

    def forward(self, images):
        x = self.stem(images)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


class Head(nn.Linear):
    """The last layer. Others are no part that leaves an activation."""


class ResNet(Trunk):
    """A residual network with mean over pixels and a linear head."""

    def __init__(self, told, size=(224, 224), image_channels=3):
        super().__init__(told["trunk"], size, image_channels)
        self.head = Head(self.channels, told["classes"])

    def forward(self, images):
        return self.head(super().forward(images).mean((2, 3)))


def imagenet(depth, variant=None, block=None, classes=1000):
    """The words for ResNet-18, 34, 50 or 101, of the usual blocks or of others."""
    blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}[depth]
    narrow = depth < 50 and "local_relation" not in (variant or {})
    block = block or ("basic" if narrow else "bottleneck")
    widest = 64 if block == "basic" else 256
    stages = [{"channels": widest << at, "blocks": n, "stride": min(at + 1, 2)} for at, n in enumerate(blocks)]
    trunk = {"stem": "large", "block": block, "stages": stages}
    trunk |= {"variant": variant} if variant else {}
    return {"family": "resnet", "name": f"resnet{depth}", "trunk": trunk, "classes": classes}


def network(name, variant, block="basic"):
    """Half as wide as `resnet-small`, with a variant; of other stages where they are bottlenecks."""
    stem = {"small": {"kernel": 3, "channels": 8, "stride": 2, "pool": False}}
    channels = [8, 16] if block == "basic" else [16, 32]
    stages = [{"channels": channels[at], "blocks": 1, "stride": at + 1} for at in range(2)]
    trunk = {"stem": stem, "block": block, "stages": stages, "variant": variant}
    return {"family": "resnet", "name": name, "trunk": trunk, "classes": CLASSES}


def networks():
    """(name, description, (learning rate, spread of weights)). Windows of 3 and 5: every precision holds the halves that
    their offsets are."""
    for gate in ["sigmoid", "relu"]:
        yield f"se-{gate}", network("se", {"squeeze_excitation": {"ratio": 4, "gate": gate}}), (0.02, 1.0)
    yield "cbam", network("cbam", {"cbam": {"ratio": 4, "kernel": 3, "gate": "sigmoid"}}), (0.02, 1.0)
    attention = {"heads": 2, "key_percent": 50, "value_percent": 25, "least_keys": 3}
    yield "augmented", network("augmented", {"augmented": attention}), (0.02, 1.0)
    for similarity, block, window, group in [
        ("product", "bottleneck", 5, 4),
        ("square", "bottleneck", 3, 4),
        ("relative_distance", "bottleneck", 5, 4),
    ]:
        told = {"kernel": window, "channels": group, "similarity": similarity, "width": WIDTH}
        yield f"lr-{similarity}", network(f"lr-{similarity}", {"local_relation": told}, block), (0.01, 1.0)


# What leaves an activation in a case file.
PARTS = (Stem, Residual, LocalRelation, Augmented, Head)


def described():
    """Those networks, as `models.cases` takes them; images that are not square. `write_pytorch.py` is to ask for them once
    vistok knows the words."""
    for name, told, rate in networks():
        yield f"model-{name}", told, lambda told=told: ResNet(told, (16, 12)), (4, 3, 16, 12), rate, PARTS
