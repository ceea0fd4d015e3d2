#!/usr/bin/env python3
"""The runs of benches/fashion.py in PyTorch: the same networks, initial distributions, images, updates and schedule.

    fashion_pytorch.py VISTOK FOLDER OUT [--seeds 1,2,3] [--cells full,bare] [--models resnet,vt-resnet] [--minutes M]
                                         [--device cuda:1] [--set NAME=VALUE] [--images N]

VISTOK describes the networks (no adapter is needed), FOLDER has Fashion-MNIST's four files. Each run adds a line to OUT/results.jsonl
with the fields of vistok's, and has a log in OUT/runs that `vistok plot` draws; what has a line is not run again. A run that would not
end within the minutes is given up as soon as that is clear. What differs from vistok: the order of images, which are mirrored and moved
on the GPU; images, weights and activations of other roundings; and every number that is drawn at random. GPU time is not measured.
"""
import argparse
import copy
import fcntl
import gzip
import json
import math
import pathlib
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

import networks

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import fashion  # noqa: E402  the cells and their options
from models import changes  # noqa: E402  the oracle's, which `networks` has put on the path


def idx(folder, name):
    """The bytes of an IDX file, gzipped or not, in its shape."""
    path = folder / name if (folder / name).exists() else folder / f"{name}.gz"
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        data = file.read()
    sizes = [int.from_bytes(data[4 + 4 * at : 8 + 4 * at], "big") for at in range(data[3])]
    return torch.frombuffer(bytearray(data[4 + 4 * len(sizes) :]), dtype=torch.uint8).reshape(sizes)


class Images:
    """Training and test images on the device, as numbers."""

    def __init__(self, folder, device, most):
        read = lambda name: idx(folder, name)[:most].to(device)
        train, test = read("train-images-idx3-ubyte"), read("t10k-images-idx3-ubyte")
        self.labels, self.test_labels = (read(f"{name}-labels-idx1-ubyte").long() for name in ("train", "t10k"))
        shares = train.double() / 255
        mean, deviation = shares.mean(), shares.std(unbiased=False)
        numbers = lambda images: ((images.double() / 255 - mean) / deviation).float()[:, None]
        self.train, self.test, self.black = numbers(train), numbers(test), float(-mean / deviation)

    def batch(self, indices, told, draw):
        """Images mirrored and moved as the options say, and their labels."""
        images, shift = self.train[indices], int(told.get("shift", 0))
        count, _, high, wide = images.shape
        between = lambda most: torch.randint(0, most, (count, 1), device=images.device, generator=draw)
        rows, columns = torch.arange(high, device=images.device), torch.arange(wide, device=images.device)
        columns = columns.expand(count, -1)
        if told.get("augment") == "flip":
            columns = torch.where(between(2) == 1, wide - 1 - columns, columns)
        if shift:
            images = F.pad(images, [shift] * 4, value=self.black)
        down, right = between(2 * shift + 1), between(2 * shift + 1)
        rows, columns = (rows + down)[:, :, None], (columns + right)[:, None]
        each = torch.arange(count, device=images.device)[:, None, None]
        return images[:, 0][each, rows, columns][:, None], self.labels[indices]


def initialized(network, draw):
    """Weights from the distributions that vistok draws from (src/models/layers.rs, src/models/vt)."""
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear)):
            after, before, *kernel = module.weight.shape
            area, groups = math.prod(kernel), getattr(module, "groups", 1)
            he = isinstance(module, torch.nn.Conv2d)
            fan = area * after if he else area * (before + after // groups)
            module.weight.data.normal_(0, math.sqrt(2 / fan), generator=draw)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        if hasattr(module, "filter"):
            assert module.attention["scale"] == "head", "other scales start with other filters"
            module.filter.data.normal_(0, 1, generator=draw)
        assert not hasattr(module, "mixing"), "is drawn otherwise"


def dropped(network, depth, draw):
    """Each image's change by a block is left out at random, by the last block with 1 - depth, less often before; the others are
    enlarged so that the mean stays."""
    blocks = changes(network)
    for at, branches in enumerate(blocks, 1):
        keep, kept = 1 - at / len(blocks) * (1 - depth), {}

        def drop(module, _, y, keep=keep, kept=kept, first=branches[0]):
            if not module.training:
                return y
            # All of a block's changes are left out together: its first branch draws for the others.
            if module is first:
                kept["rows"] = torch.rand(len(y), device=y.device, generator=draw) < keep
            rows = kept["rows"].reshape([-1] + [1] * (y.dim() - 1))
            return y * rows.to(y.dtype).div_(keep)

        for branch in branches:
            branch.register_forward_hook(drop)


class Average:
    """The moving average of weights and running averages; without a share kept, they themselves."""

    def __init__(self, network, kept):
        self.network, self.kept = copy.deepcopy(network) if kept else network, kept
        floats = lambda of: [number for number in of.state_dict().values() if number.is_floating_point()]
        self.own, self.of = floats(self.network), floats(network)

    @torch.no_grad()
    def step(self):
        if self.kept:
            torch._foreach_mul_(self.own, self.kept)
            torch._foreach_add_(self.own, self.of, alpha=1 - self.kept)


def rate(at, told, warm_up, steps):
    """vistok's cosine: up in a straight line, then down to 0."""
    peak = float(told["rate"])
    if at < warm_up:
        return peak * (at + 1) / warm_up
    return peak * (1 + math.cos(math.pi * min((at - warm_up) / max(steps - warm_up, 1), 1))) / 2


@torch.no_grad()
def accuracy(network, images):
    network.eval()
    right = 0
    for at in range(0, len(images.test), 1000):
        found = network(images.test[at : at + 1000].contiguous(memory_format=torch.channels_last)).argmax(1)
        right += (found == images.test_labels[at : at + 1000]).sum()
    network.train()
    return right.item() / len(images.test)


class Training:
    """A network under way."""

    def __init__(self, told, network, images, seed, device):
        self.told, self.images, self.network = told, images, network
        self.draw = torch.Generator(device).manual_seed(seed)
        self.batch, epochs = int(told["batch"]), int(told["epochs"])
        self.pass_steps = len(images.train) // self.batch
        self.steps, self.warm_up = epochs * self.pass_steps, int(told["warm-up"]) * self.pass_steps
        assert told["schedule"] == "cosine" and told["optimizer"] == "sgd", "other recipes are not here"
        weights = [weight for weight in network.parameters() if weight.dim() > 1]
        others = [weight for weight in network.parameters() if weight.dim() < 2]
        groups = [{"params": weights, "weight_decay": float(told["weight-decay"])}, {"params": others, "weight_decay": 0.0}]
        cuda = torch.device(device).type == "cuda"
        self.mixed = cuda and "f16" in told
        # Not "fused": with that and the scaler the VT-ResNet's loss was NaN within the first pass (2.11).
        self.sgd = torch.optim.SGD(groups, 0.1, momentum=float(told["momentum"]), nesterov=True, foreach=cuda)
        self.scaler = torch.amp.GradScaler("cuda") if self.mixed else None
        self.average = Average(network, float(told.get("ema", 0)))

    def learn(self, at, indices):
        """A step; its loss, still on the device, and its rate."""
        images, labels = self.images.batch(indices, self.told, self.draw)
        now = rate(at, self.told, self.warm_up, self.steps)
        for group in self.sgd.param_groups:
            group["lr"] = now
        self.sgd.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.float16, enabled=self.mixed):
            logits = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=float(self.told["smoothing"]))
        if self.mixed:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.sgd)
            self.scaler.update()
        else:
            loss.backward()
            self.sgd.step()
        self.average.step()
        return loss.detach(), now

    def run(self, log, until):
        """All passes as rows of (pass, steps, mean loss, accuracy, seconds); None where they would last too long."""
        rows, seconds = [], 0.0
        for epoch in range(1, self.steps // self.pass_steps + 1):
            began = time.perf_counter()
            order = torch.randperm(len(self.images.train), device=self.images.train.device, generator=self.draw)
            first = (epoch - 1) * self.pass_steps
            made = [self.learn(first + at, order[at * self.batch :][: self.batch]) for at in range(self.pass_steps)]
            losses = torch.stack([loss for loss, _ in made]).tolist()
            seconds += time.perf_counter() - began
            if not all(map(math.isfinite, losses)):
                raise ValueError(f"the loss is no number any more in pass {epoch}")
            right = accuracy(self.average.network, self.images)
            rows.append((epoch, epoch * self.pass_steps, sum(losses) / len(losses), right, seconds))
            log(rows[-1], [(first + at + 1, epoch, losses[at], made[at][1]) for at in range(len(made))])
            # The first pass tries cuDNN's algorithms.
            left = (self.steps / self.pass_steps - epoch) * (time.perf_counter() - began) if epoch > 1 else 0
            if time.monotonic() + left > until:
                return None
        return rows


def tables(folder):
    """What writes the two tables that `vistok plot` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    steps, epochs = folder / "steps.csv", folder / "epochs.csv"
    steps.write_text("step,epoch,loss,rate,seconds\n")
    epochs.write_text("epoch,step,loss,test_accuracy,seconds\n")

    def log(row, made):
        with open(steps, "a") as file:
            file.write("".join(f"{step},{epoch},{loss},{now},{row[4]:.3f}\n" for step, epoch, loss, now in made))
        with open(epochs, "a") as file:
            file.write(f"{row[0]},{row[1]},{row[2]},{row[3]},{row[4]:.3f}\n")

    return log


def add(path, document):
    """Adds a line, all of it at once, while nobody else does."""
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(document) + "\n")


def run(arguments, label, images, until):
    """Trains a cell; whether there was time for it."""
    model, cell, seed = label.split("/")
    told = fashion.recipe(cell, arguments.set)
    command = [arguments.vistok, "model", fashion.MODELS[model], "--json"]
    counted = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    network = networks.of_words(torch, counted["network"], ((28, 28), 1))
    draw = torch.Generator().manual_seed(int(seed))
    initialized(network, draw)
    parameters = sum(weight.numel() for weight in network.parameters())
    assert parameters == counted["parameters"], f"{parameters} parameters, vistok's has {counted['parameters']}"
    network.to(arguments.device, memory_format=torch.channels_last).train()
    training = Training(told, network, images, int(seed), arguments.device)
    if "depth" in told:
        dropped(network, float(told["depth"]), training.draw)
    rows = training.run(tables(arguments.out / "runs" / f"pytorch-{label.replace('/', '-')}"), until)
    if rows is None:
        return False
    seconds, best = rows[-1][4], max(rows, key=lambda row: row[3])
    cuda = torch.device(arguments.device).type == "cuda"
    document = {"label": label, "version": f"PyTorch {torch.__version__}", "model": fashion.MODELS[model]}
    document |= {field: counted[field] for field in ("network", "image", "macs", "parameters")}
    document |= {"classes": 10, "data": "Fashion-MNIST", "recipe": told, "seed": int(seed), "skipped_images": [0, 0]}
    document |= {"train_images": len(images.train), "test_images": len(images.test), "steps": training.steps}
    document |= {"epochs": int(told["epochs"]), "batch": training.batch, "precision": "f16" if training.mixed else "f32"}
    document |= {"skipped_steps": None, "final_loss": rows[-1][2], "test_accuracy": rows[-1][3]}
    document |= {"best_score": best[3], "best_epoch": best[0], "train_seconds": seconds}
    document |= {"images_per_second": training.steps * training.batch / seconds, "gpu_step_ms": None, "gpu_busy": None}
    adapter = torch.cuda.get_device_name(arguments.device) if cuda else "CPU"
    document |= {"adapter": adapter, "driver": f"CUDA {torch.version.cuda}" if cuda else "", "backend": "cuda" if cuda else "cpu"}
    add(arguments.out / "results.jsonl", document)
    print(f"{label}: {100 * rows[-1][3]:.2f} % in {seconds:.1f} s", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vistok")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seeds", type=fashion.listed(), default=["1", "2", "3"])
    parser.add_argument("--cells", type=fashion.listed(fashion.CELLS), default=["full"])
    parser.add_argument("--models", type=fashion.listed(fashion.MODELS), default=list(fashion.MODELS))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--images", type=int, metavar="N", help="take so few, to try it")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = fashion.lines(arguments.out / "results.jsonl")
    have = {line.get("label") for line in lines if fashion.is_pytorch(line)}
    images = Images(arguments.folder, arguments.device, arguments.images)
    for seed in arguments.seeds:
        for cell in arguments.cells:
            for model in arguments.models:
                label = f"{model}/{cell}/{seed}"
                if label not in have and not run(arguments, label, images, until):
                    print(f"{label}: no time for it", file=sys.stderr)
                    sys.exit(3)


if __name__ == "__main__":
    main()
