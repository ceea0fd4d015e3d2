"""The networks of `vistok bench models` in PyTorch, and the ways of running them."""


def resnet(torch, name, classes=1000):
    """ResNet-18 or -50 as torchvision has them; None for another name."""
    nn = torch.nn
    plans = {"resnet18": ([2, 2, 2, 2], 1), "resnet50": ([3, 4, 6, 3], 4)}
    if name not in plans:
        return None
    blocks, widening = plans[name]

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
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


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
        network = resnet(torch, row["name"]).cuda().to(memory_format=torch.channels_last, dtype=dtype)
        images = torch.rand(batch, channels, height, width, device="cuda", dtype=dtype)
        return network, images.to(memory_format=torch.channels_last)

    def forward(way):
        def prepare():
            network, images = prepared(kind)
            network.eval()
            network = torch.compile(network, mode="max-autotune") if way == "compile" else network

            def run():
                with torch.inference_mode():
                    return network(images)

            return graphed(torch, run) if way == "graph" else run

        return prepare

    def training(way):
        def prepare():
            mixed = way == "amp"
            network, images = prepared(torch.float32 if mixed else kind)
            labels = torch.zeros(batch, dtype=torch.long, device="cuda")
            sgd = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, fused=True)
            scaler = torch.amp.GradScaler("cuda", enabled=mixed)

            def run():
                sgd.zero_grad(set_to_none=True)
                with torch.autocast("cuda", torch.float16, enabled=mixed):
                    loss = torch.nn.functional.cross_entropy(network(images).float(), labels)
                scaler.scale(loss).backward()
                scaler.step(sgd)
                scaler.update()

            return run

        return prepare

    if resnet(torch, row["name"]) is None:
        return
    if row["pass"] == "forward":
        yield from ((way, forward(way)) for way in ("eager", "graph", "compile"))
    else:
        yield from ((way, training(way)) for way in (("pure", "amp") if kind == torch.float16 else ("pure",)))
