"""The networks of `vistok bench models` in PyTorch, and the ways of running them."""
import pathlib
import sys

# VT blocks as the oracle has them: what is timed here computes what is compared there.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))

# Ways of torch.compile by mode. Both run as CUDA graphs; the second also times its own products against cuBLAS's, for minutes.
COMPILED = {"compile": "reduce-overhead", "autotune": "max-autotune"}


def network(torch, row):
    """The network of a row: a ResNet by its name, others by the words that vistok describes them in; or None."""
    told = row.get("network") or {}
    families = {"vt-resnet": vt_resnet, "fpn": fpn}
    built = families[told["family"]](torch, told) if told.get("family") in families else resnet(torch, row["name"])
    for name, parameter in built.named_parameters() if built else []:
        if name.endswith(("filter", "mixing")):
            torch.nn.init.normal_(parameter, std=0.02)
    return built


def fpn(torch, told):
    """The oracle's feature pyramids, at their full width."""
    import fpn as oracle  # needs torch, which may be missing

    return oracle.Fpn(told) if told["trunk"]["block"] == "bottleneck_stride_first" else None


def vt_resnet(torch, told):
    """A ResNet's stem and first stages, VT blocks, and a head that reads the mean token or pixel."""
    import vt  # needs torch, which may be missing

    trunk = told["trunk"]
    if trunk["stem"] != "large":
        return None
    width = 4 if trunk["block"] == "bottleneck" else 1
    counts = [stage["blocks"] for stage in trunk["stages"]]

    class VtResNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = torch.nn.Sequential(*stages(torch, counts, width)[0])
            self.blocks = vt.blocks(told, trunk["stages"][-1]["channels"])
            pixels = told["features"] == "pixels"
            self.head = torch.nn.Linear(told["vt"]["channels" if pixels else "token_channels"], told["classes"])

        def forward(self, images):
            return self.head(vt.through(self.blocks, self.trunk(images), told).mean(2))

    return VtResNet()


def resnet(torch, name, classes=1000):
    """ResNet-18 or -50 as torchvision has them; None for another name."""
    nn = torch.nn
    plans = {"resnet18": ([2, 2, 2, 2], 1), "resnet50": ([3, 4, 6, 3], 4)}
    if name not in plans:
        return None
    layers, channels = stages(torch, *plans[name])
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def stages(torch, blocks, widening):
    """Stem and stages of so many residual blocks, and how many channels leave them."""
    nn = torch.nn

    def conv(inputs, outputs, kernel, stride):
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            outputs = width * widening
            shapes = [(inputs, width, 3, stride), (width, outputs, 3, 1)]
            if widening > 1:
                shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
            self.layers = nn.ModuleList(conv(*shape) for shape in shapes)
            same = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride)

        def forward(self, x):
            y = x
            for layer in self.layers[:-1]:
                y = torch.relu_(layer(y))
            return torch.relu_(self.layers[-1](y) + self.shortcut(x))

    layers, inputs = [conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(blocks):
        for block in range(count):
            width, stride = 64 << stage, 2 if stage > 0 and block == 0 else 1
            layers.append(Block(inputs, width, stride))
            inputs = width * widening
    return layers, inputs


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

    def prepared(dtype):
        built = network(torch, row).cuda().to(memory_format=torch.channels_last, dtype=dtype)
        images = torch.rand(batch, channels, height, width, device="cuda", dtype=dtype)
        return built, images.to(memory_format=torch.channels_last)

    def forward(way):
        def prepare():
            built, images = prepared(kind)
            built.eval()
            built = torch.compile(built, mode=COMPILED[way]) if way in COMPILED else built

            def run():
                with torch.inference_mode():
                    return built(images)

            return graphed(torch, run) if way == "graph" else run

        return prepare

    def training(way):
        def prepare():
            mixed = way in ("amp", *COMPILED)
            built, images = prepared(kind if way == "pure" else torch.float32)
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

    if network(torch, row) is None:
        return
    if row["pass"] == "forward":
        yield from ((way, forward(way)) for way in ("eager", "graph", *COMPILED))
    else:
        ways = ("pure", "amp", "tf32", *COMPILED) if kind == torch.float16 else ("pure",)
        yield from ((way, training(way)) for way in ways)
