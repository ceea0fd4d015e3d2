"""A small ResNet (He et al. 2016) and VT-ResNet (Wu et al. 2021, equations 1 to 5 and appendix A) in plain PyTorch:
activations and gradients of a first step, and the losses of ten steps of SGD.

Written from the papers, in PyTorch's own layouts ([N, C, H, W] maps, [N, C, L] tokens); `exchange` turns parameters
into vistok's layouts. Modules are called as vistok's scopes are, with `.` for `/`.
"""

import json

import torch
from torch import nn
import torch.nn.functional as F

CLASSES, STEPS, MOMENTUM, DECAY = 5, 10, 0.9, 5e-3
IGNORED = 255  # the label of pixels without one
MOOT = {torch.float64: 1e-12, torch.float32: 0.0}


class Residual(nn.Module):
    """relu(F(x) + x), F two 3x3 convolutions; a 1x1 convolution lifts x where its shape changes."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Module()
        self.lifts = stride != 1 or before != channels
        if self.lifts:
            self.shortcut.conv = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.shortcut.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + (self.shortcut.norm(self.shortcut.conv(x)) if self.lifts else x))


class Stem(nn.Module):
    """Convolution with stride 2, norm, ReLU, and perhaps 3x3 max pooling with stride 2."""

    def __init__(self, before, channels, kernel, pool):
        super().__init__()
        self.conv = nn.Conv2d(before, channels, kernel, 2, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()

    def forward(self, x):
        return self.pool(F.relu(self.norm(self.conv(x))))


def named(**modules):
    """A module of modules, as a scope that holds others."""
    return nn.ModuleDict(modules)


class ResNet(nn.Module):
    """`resnet-small`: a stem of 16 channels, one block of 16 and one of 32 at half the size."""

    def __init__(self):
        super().__init__()
        self.stem = Stem(3, 16, 3, pool=False)
        self.stage2 = named(block1=Residual(16, 16, 1))
        self.stage3 = named(block1=Residual(16, 32, 2))
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images):
        x = self.stage3.block1(self.stage2.block1(self.stem(images)))
        return self.head(x.mean((2, 3)))


HEADS = 2


def attend(query, key, value):
    """[N, C, Q], [N, C, K], [N, D, K] -> [N, D, Q]: each query's mean of the values, weighted by a softmax over keys.

    The weights of every head sum to 1 over the keys; scores are divided by the square root of a head's channels.
    """
    n, channels, queries = query.shape
    query, key, value = (x.reshape(n, HEADS, x.shape[1] // HEADS, x.shape[2]) for x in (query, key, value))
    scores = torch.einsum("nhcq,nhck->nhqk", query, key) / (channels // HEADS) ** 0.5
    weights = scores.softmax(dim=3)
    return torch.einsum("nhqk,nhdk->nhdq", weights, value).reshape(n, -1, queries)


def pointwise(before, after, groups=1):
    return nn.Conv1d(before, after, 1, groups=groups, bias=False)


class Tokenizer(nn.Module):
    """Equation 1, T = softmax over pixels(X W_A)^T X, or with tokens of the block before equation 2, W_R = W T."""

    def __init__(self, channels, tokens, token_channels, recurrent):
        super().__init__()
        if recurrent:
            self.query = pointwise(token_channels, channels)
            self.key = pointwise(channels, channels)
        else:
            self.filter = nn.Parameter(torch.empty(1, tokens, channels))
        self.value = pointwise(channels, channels)
        self.token = pointwise(channels, token_channels)
        self.norm = nn.BatchNorm1d(token_channels)

    def forward(self, pixels, tokens):
        if tokens is None:
            query, key = self.filter.transpose(1, 2).expand(len(pixels), -1, -1), pixels
        else:
            query, key = self.query(tokens), self.key(pixels)
        return self.norm(self.token(attend(query, key, self.value(pixels))))


class Transformer(nn.Module):
    """Equations 3 and 4: T' = T + softmax((T K)(T Q)^T) T, T_out = T' + relu(T' F1) F2, each change normalized."""

    def __init__(self, channels):
        super().__init__()
        self.query = pointwise(channels, channels // 2, groups=2)
        self.key = pointwise(channels, channels // 2, groups=2)
        self.norm_attention = nn.BatchNorm1d(channels)
        self.feed1, self.feed2 = pointwise(channels, channels), pointwise(channels, channels)
        self.norm_feed1, self.norm_feed2 = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)

    def forward(self, tokens):
        tokens = tokens + self.norm_attention(attend(self.query(tokens), self.key(tokens), tokens))
        return tokens + self.norm_feed2(self.feed2(F.relu(self.norm_feed1(self.feed1(tokens)))))


class Projector(nn.Module):
    """Equation 5: X_out = X + softmax over tokens((X W_Q)(T W_K)^T) T, with a value map, a norm, and ReLU behind."""

    def __init__(self, channels, token_channels):
        super().__init__()
        self.query = pointwise(channels, channels)
        self.key, self.value = pointwise(token_channels, channels), pointwise(token_channels, channels)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, pixels, tokens):
        return F.relu(pixels + self.norm(attend(self.query(pixels), self.key(tokens), self.value(tokens))))


class VtResNet(nn.Module):
    """`vt-resnet-demo`: stem, a residual block, two VT blocks of 8 tokens; the head reads the mean token."""

    def __init__(self):
        super().__init__()
        self.stem = Stem(1, 32, 5, pool=True)
        self.stage2 = named(block1=Residual(32, 32, 1))
        self.stage3 = named(
            vt1=named(tokenizer=Tokenizer(32, 8, 64, False), transformer=Transformer(64), projector=Projector(32, 64)),
            vt2=named(tokenizer=Tokenizer(32, 8, 64, True), transformer=Transformer(64)),
        )
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images):
        pixels = self.stage2.block1(self.stem(images)).flatten(2)
        first, second = self.stage3.vt1, self.stage3.vt2
        tokens = first.transformer(first.tokenizer(pixels, None))
        pixels = first.projector(pixels, tokens)
        tokens = second.transformer(second.tokenizer(pixels, tokens))
        return self.head(tokens.mean(2))


def exchange(module, weight):
    """A parameter (or its gradient) of a module in vistok's layout."""
    if weight.ndim == 1 or not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return weight
    if getattr(module, "is_matrix", False):
        return weight.T  # [in, out]
    if isinstance(module, nn.Linear):
        return weight.T[None, None]  # a 1x1 convolution there: [1, 1, in, out]
    if isinstance(module, nn.Conv1d) and module.groups == 1:
        return weight[:, :, 0].T  # a matrix: [in, out]
    if isinstance(module, nn.Conv1d):
        return weight[:, :, 0].T[None, None]
    return weight.permute(2, 3, 1, 0)  # [KH, KW, in / groups, out]


def vistok_name(module_name, module, name):
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
        name = {"weight": "gain", "running_var": "running_variance"}.get(name, name)
    return f"{module_name}.{name}".replace(".", "/")


def named_tensors(model):
    """(home, vistok's name, module, tensor) of all parameters and running averages."""
    for module_name, module in model.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            yield "parameters", vistok_name(module_name, module, name), module, tensor
        for name, tensor in module.named_buffers(recurse=False):
            if name.startswith("running") or name == "offsets":
                yield "statistics", vistok_name(module_name, module, name), module, tensor


def start(model, spread=1.0):
    """Numbers for every parameter and average, the same each time, that f32 holds exactly; weights `spread` times what
    keeps the size of values."""
    generator = torch.Generator().manual_seed(7)
    normal = lambda x: torch.randn(x.shape, generator=generator, dtype=torch.float64)
    uniform = lambda x: torch.rand(x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for _, name, _, tensor in named_tensors(model):
            if name.endswith("offsets"):
                continue  # where taps lie is not drawn
            if name.endswith(("gain", "running_variance")):
                drawn = 0.5 + uniform(tensor)
            elif tensor.ndim == 1:
                drawn = 0.2 * normal(tensor)
            else:
                fan = tensor[0].numel() if "filter" not in name else 1
                drawn = spread * normal(tensor) * fan**-0.5
            tensor.copy_(drawn.float())


# What a part of a block adds to what it was given, by the part's kind; of residual blocks those of two convolutions.
CHANGES = {
    "Residual": ["norm2"],
    "Transformer": ["norm_attention", "norm_feed2", "norm_scaling"],
    "Alone": ["norm"],
    "Projector": ["norm"],
}


def changes(model):
    """The modules that make what a block adds, block by block: a VT block's parts are of one block."""
    blocks = {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        block = name if kind == "Residual" else name.rpartition(".")[0]
        for change in CHANGES.get(kind, []):
            if hasattr(module, change):
                blocks.setdefault(block, []).append(getattr(module, change))
    return list(blocks.values())


def skip(model, survival):
    """Stochastic depth: what block `at` adds is multiplied by survival[:, at], image by image."""
    for at, block in enumerate(changes(model)):
        for change in block:
            change.register_forward_hook(lambda _, __, y, at=at: y * survival[:, at].reshape([-1] + [1] * (y.ndim - 1)))


def learn(model, images, labels, rate, parts):
    """Activations of `parts`, kinds of modules, and gradients of the first step, and all losses."""
    found, hooks, losses = {}, [], []

    def remember(name):
        def hook(_, __, output):
            # [N, C, ..] to [N, .., C]
            found[name] = output.detach().movedim(1, -1).contiguous()

        return hook

    for name, module in model.named_modules():
        if isinstance(module, parts):
            hooks.append(module.register_forward_hook(remember("activation." + name.replace(".", "/"))))
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
    for step in range(STEPS):
        sgd.zero_grad()
        loss = F.cross_entropy(model(images), labels, ignore_index=IGNORED)
        loss.backward()
        losses.append(float(loss.detach()))
        if step == 0:
            for home, name, module, weight in named_tensors(model):
                # What a norm behind takes away has a gradient of 0, and f32 gives its last bits for it: nothing to compare.
                if home == "parameters" and weight.grad.abs().max() > MOOT[weight.dtype]:
                    found[f"gradient.{name}"] = exchange(module, weight.grad).clone().contiguous()
            for hook in hooks:
                hook.remove()
        sgd.step()
    found["losses"] = torch.tensor(losses, dtype=images.dtype)
    return found


# What leaves an activation in a case file.
PARTS = (Stem, Residual, Tokenizer, Transformer, Projector, nn.Linear)


def cases(models, allowed):
    """(file, metadata, tensors) of models: the file, vistok's name or description, what makes the module, the shape of
    images, the learning rate, the spread of weights and the kinds of parts that leave an activation; and for which share
    of images each block is computed, where some are skipped."""
    # Rates at which the losses fall from step to step: where they leap, f32 and f64 part, and nothing can be compared.
    for file, model_name, make, shape, (rate, spread), parts, *depth in models:
        generator = torch.Generator().manual_seed(11)
        images = torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()
        model = make().double()
        if getattr(model, "of_pixels", False):
            # One pixel in six has no label.
            labels = torch.randint(0, CLASSES + 1, (shape[0], *shape[2:]), generator=generator)
            labels[labels == CLASSES] = IGNORED
        else:
            labels = torch.randint(0, CLASSES, (shape[0],), generator=generator)
        start(model, spread)
        tensors = {}
        for home, name, module, tensor in named_tensors(model):
            tensors[f"{home}/{name}"] = exchange(module, tensor.detach()).clone().contiguous()
        survival = None
        for share in depth:
            drawn = torch.rand(shape[0], len(changes(model)), generator=generator) < share
            survival = drawn.float() / share
            skip(model, survival.double())
        exact = learn(model, images, labels, rate, parts)
        model = make()
        start(model, spread)
        if depth:
            skip(model, survival)
        single = learn(model, images.float(), labels, rate, parts)
        elem = torch.float32
        attributes = {"model": model_name, "classes": CLASSES, "rate": rate, "momentum": MOMENTUM}
        metadata = {
            "op": "model",
            "attributes": json.dumps(attributes | {"weight_decay": DECAY, "nesterov": True}),
            "tolerance": json.dumps(allowed(list(exact.values()), [single[name] for name in exact], elem)),
            "computed_in": "f64",
            "written_by": f"PyTorch {torch.__version__}",
        }
        tensors |= exact | {"images": images.movedim(1, -1).contiguous()}
        tensors |= {"survival": survival} if depth else {}
        tensors = {name: tensor.to(elem).numpy() for name, tensor in tensors.items()}
        tensors["labels"] = labels.numpy().astype("uint32")
        yield file, metadata, tensors


BY_NAME = [
    ("model-resnet", "resnet-small", ResNet, (4, 3, 12, 12), (0.05, 1.0), PARTS),
    ("model-vt-resnet", "vt-resnet-demo", VtResNet, (4, 1, 16, 16), (0.002, 1.0), PARTS),
]
