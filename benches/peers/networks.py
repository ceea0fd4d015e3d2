"""The networks of `vistok bench models` in PyTorch, and the ways of running them."""
import pathlib
import sys

# The networks as the oracle has them: what is timed here computes what is compared there.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))

# Ways of torch.compile by mode. Both run as CUDA graphs; the second also times its own products against cuBLAS's, for minutes.
COMPILED = {"compile": "reduce-overhead", "autotune": "max-autotune"}
# Ways of attention with relative positions by PyTorch's fused call, forward as CUDA graphs too.
FUSED = {"sdpa": "relative_attention_masked", "sdpa_widened": "relative_attention_widened"}


def network(torch, row):
    """The network of a row by the words that vistok describes it in, without any a ResNet-18 or -50 by its name; or None."""
    import related  # needs torch, which may be missing

    told = row.get("network") or {}
    if not told and row["name"] in ("resnet18", "resnet50"):
        told = related.imagenet(int(row["name"].removeprefix("resnet")))
    # Not those for images as small as the demo's.
    if "trunk" not in told or told["trunk"]["stem"] != "large":
        return None
    _, height, width, channels = row["images"]
    built = of_words(torch, told, ((height, width), channels))
    for name, parameter in built.named_parameters() if built else []:
        if name.endswith(("filter", "mixing")):
            torch.nn.init.normal_(parameter, std=0.02)
    return built


def of_words(torch, told, images):
    """The network that vistok describes so, for images of ((height, width), channels); or None."""
    families = {"vt-resnet": vt_resnet, "fpn": fpn, "resnet": resnet}
    return families[told["family"]](torch, told, images) if told["family"] in families else None


def fpn(torch, told, images):
    """The oracle's feature pyramids, at their full width."""
    import fpn as oracle  # needs torch, which may be missing

    return oracle.Fpn(told) if told["trunk"]["block"] == "bottleneck_stride_first" else None


def vt_resnet(torch, told, images):
    """A ResNet's stem and first stages, VT blocks, and a head that reads the mean token or pixel."""
    import related  # needs torch, which may be missing
    import vt

    class VtResNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = related.Trunk(told["trunk"], *images)
            self.blocks = vt.blocks(told, self.trunk.channels)
            pixels = told["features"] == "pixels"
            self.head = torch.nn.Linear(told["vt"]["channels" if pixels else "token_channels"], told["classes"])

        def forward(self, images):
            return self.head(vt.through(self.blocks, self.trunk(images), told).mean(2))

    return VtResNet()


def resnet(torch, told, images):
    """A ResNet with or without what the paper compares with."""
    import related  # needs torch, which may be missing

    known = set(told["trunk"].get("variant") or {}) <= set(related.VARIANTS)
    return related.ResNet(told, *images) if known else None


def fuse(network, way):
    """Has attention with relative positions computed this way; how many such layers there are."""
    import related  # needs torch, which may be missing

    layers = [module for module in network.modules() if isinstance(module, related.Augmented)]
    for layer in layers:
        layer.attend = getattr(related, FUSED.get(way, "relative_attention"))
    return len(layers)


def graphed(torch, run):
    """The run as a CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(5):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def models(torch, row):
    """Yields (way, a function that prepares it and gives what runs once)."""
    kind = torch.float16 if row["element"] == "f16" else torch.float32
    batch, height, width, channels = row["images"]

    def prepared(dtype, way):
        built = network(torch, row).cuda().to(memory_format=torch.channels_last, dtype=dtype)
        fuse(built, way)
        images = torch.rand(batch, channels, height, width, device="cuda", dtype=dtype)
        return built, images.to(memory_format=torch.channels_last)

    def forward(way):
        def prepare():
            built, images = prepared(kind, way)
            built.eval()
            built = torch.compile(built, mode=COMPILED[way]) if way in COMPILED else built

            def run():
                with torch.inference_mode():
                    return built(images)

            return graphed(torch, run) if way in ("graph", *FUSED) else run

        return prepare

    def training(way):
        def prepare():
            mixed = kind == torch.float16 and way in ("amp", *COMPILED, *FUSED)
            built, images = prepared(kind if way == "pure" else torch.float32, way)
            stepped = torch.compile(built, mode=COMPILED[way]) if way in COMPILED else built
            of_pixels = [height, width] if getattr(built, "of_pixels", False) else []
            labels = torch.zeros(batch, *of_pixels, dtype=torch.long, device="cuda")
            sgd = torch.optim.SGD(built.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, fused=True)
            scaler = torch.amp.GradScaler("cuda", enabled=mixed)

            def step():
                sgd.zero_grad(set_to_none=True)
                with torch.autocast("cuda", torch.float16, enabled=mixed):
                    loss = torch.nn.functional.cross_entropy(stepped(images).float(), labels)
                scaler.scale(loss).backward()
                scaler.step(sgd)
                scaler.update()

            def run():
                backends = torch.backends.cuda.matmul, torch.backends.cudnn
                for backend in backends:
                    backend.allow_tf32 = way == "tf32"
                step()
                for backend in backends:
                    backend.allow_tf32 = False

            return run

        return prepare

    built = network(torch, row)
    if built is None:
        return
    fused = FUSED if fuse(built, "eager") else ()
    if row["pass"] == "forward":
        yield from ((way, forward(way)) for way in ("eager", "graph", *COMPILED, *fused))
    else:
        ways = ("pure", "amp", "tf32", *COMPILED) if kind == torch.float16 else ("pure",)
        yield from ((way, training(way)) for way in (*ways, *fused))
