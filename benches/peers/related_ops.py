"""The ops of the networks that the paper compares with, in PyTorch: as the oracle has them (`tests/oracle/related.py`), other
ways of computing the same, and gradients by autograd."""

import functools

import networks  # noqa: F401  finds the oracle


def call(torch, op, attributes, inputs):
    """A function that does the op's work once, or None."""
    return ways(torch, op, attributes, inputs).get("eager", lambda: None)()


def ways(torch, op, attributes, inputs):
    """By the way of computing it, what prepares such a function: gradients keep all that the way forward left. None of
    another op. A backward op's inputs begin with those of its forward op; the gradient that comes in is made here. Where several
    ops make the gradients, all of them stand beside the one that makes most."""
    makers = {
        "local_relation": (local_relation, 4),
        "relative_attention": (relative_attention, 3),
        "spatially_adaptive_conv": (spatially_adaptive_conv, 5),
    }
    name, backward, part = op.partition("_backward")
    make, count = makers.get(name, (None, 0))
    if make is None or part not in ("", "_weights"):
        return {}
    inputs = inputs[:count]
    if part:
        inputs[4] = inputs[4].permute(1, 2, 3, 0).contiguous()  # the weight, which comes with its last axis first
    constant = {1} if name == "spatially_adaptive_conv" else set()
    prepare = functools.partial(gradients, constant=constant) if backward else lambda _, function, given: lambda: function(*given)
    functions = make(torch, attributes, inputs)
    return {way: functools.partial(prepare, torch, function, inputs) for way, function in functions.items()}


def gradients(torch, function, inputs, constant):
    """Gradients of all inputs but these, over a graph that is kept.

    Autograd works on the stream that went forward: for each there is a graph, and leaves that no other stream has seen."""
    kept = {}

    def forward():
        stream = torch.cuda.current_stream() if inputs[0].is_cuda else None
        if stream not in kept:
            given = [x.clone().requires_grad_(at not in constant) for at, x in enumerate(inputs)]
            y = function(*given)
            kept[stream] = y, [x for x in given if x.requires_grad], torch.rand_like(y)
        return kept[stream]

    def run(prepare=False):
        # Timing is in inference mode, whose tensors no graph may hold.
        with torch.inference_mode(False), torch.enable_grad():
            y, leaves, dy = forward()
            return None if prepare else torch.autograd.grad(y, leaves, dy, retain_graph=True)

    run(prepare=True)
    return run


def pair(size):
    return [size, size] if isinstance(size, int) else list(size)


def local_relation(torch, attributes, inputs):
    import related  # needs torch, which may be missing

    k, kernel, stride = inputs[1], pair(attributes["kernel"]), pair(attributes["stride"])[0]
    with torch.inference_mode(False):
        inside = related.taps_inside(k.shape[1:3], kernel, stride).to(k.device)
    told = {"kernel": kernel, "stride": stride, "inside": inside}
    told |= {"similarity": attributes["similarity"], "scale": attributes["scale"]}
    by = lambda function: lambda *inputs: function(*inputs, told)
    return {"eager": by(related.local_relation), "unfold": by(related.local_relation_unfolded)}


def relative_attention(torch, attributes, inputs):
    import related  # needs torch, which may be missing

    told = {name: attributes[name] for name in ("heads", "key_channels", "scale")}
    by = lambda function: lambda *inputs: function(*inputs, told)
    functions = related.relative_attention, related.relative_attention_masked, related.relative_attention_widened
    return dict(zip(["eager", "sdpa", "sdpa_widened"], map(by, functions)))


def spatially_adaptive_conv(torch, attributes, inputs):
    import related  # needs torch, which may be missing

    F, gate = torch.nn.functional, related.GATES[attributes["function"]]
    assert pair(attributes["kernel"]) == [3, 3], "only of 3x3"

    def layers(raw, weight, bias):
        """[KH, KW, R, O] at [N, H, W, R]."""
        weight = weight.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        padding = [size // 2 for size in weight.shape[2:]]
        return related.to_back(F.conv2d(related.to_front(raw), weight, bias.to(weight.dtype), padding=padding))

    def modulated(x, raw, attention_weight, attention_bias, weight):
        attention = gate(layers(raw, attention_weight, attention_bias))
        # The taps' channels in one: a product of matrices.
        return related.modulated(x, attention) @ weight.flatten(0, 2)

    def unfolded(x, raw, attention_weight, attention_bias, weight):
        """As it is published: patches written down by `unfold`, whose taps of a channel lie together, and a 1x1 convolution."""
        n, high, wide, channels = x.shape
        by_channel = lambda columns: columns.unflatten(-1, (9, channels)).transpose(-1, -2).flatten(-2)
        attention = gate(layers(raw, by_channel(attention_weight), by_channel(attention_bias)))
        seen = F.unfold(related.to_front(x), 3, padding=1).view(n, channels * 9, high, wide)
        products = weight.permute(3, 2, 0, 1).flatten(1)[:, :, None, None]
        return related.to_back(F.conv2d(seen * related.to_front(attention), products))

    return {"eager": modulated, "unfold": unfolded}
