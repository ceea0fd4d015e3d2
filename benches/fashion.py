#!/usr/bin/env python3
"""The Fashion-MNIST table: a ResNet and a VT-ResNet of equal multiply-adds, with and without parts of the recipe, some seeds each.

    fashion.py run VISTOK DATA OUT [--gpus 0,1] [--at-once N] [--seeds 1,2,3] [--cells full,bare] [--models resnet,vt-resnet]
                                   [--seconds S] [--set NAME=VALUE]
    fashion.py table RESULTS.jsonl [MORE.jsonl …] [--into README.md]
    fashion.py plot VISTOK OUT PICTURE.svg [--seed N]

`run` trains what has no line in OUT/results.jsonl yet, goes on with what was interrupted, and ends in time: call it again until it exits
with 0. 1 says that a run failed, 3 that there was no time for the rest. DATA is a folder with Fashion-MNIST's four files, or what `vistok
train --data` takes. Two runs at once on one GPU make each other's seconds longer: the table has those of the fastest. `table` prints Markdown, or
puts it between the two marks in a file; PyTorch's lines (peers/fashion_pytorch.py) may stand among the others, of which it has no seconds: what
PyTorch is as fast as, benches/peers measures. `plot` draws the runs of a seed. Needs Python alone.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

MODELS = {"resnet": "resnet-fashion", "vt-resnet": "vt-resnet-fashion"}
# What all runs have, as options of `vistok train`; "" stands for one without a value.
RECIPE = {
    "recipe": "demo",
    "optimizer": "sgd",
    "momentum": "0.9",
    "epochs": "30",
    "batch": "256",
    "rate": "0.1",
    "schedule": "cosine",
    "warm-up": "2",
    "weight-decay": "0.0005",
    "smoothing": "0.1",
    "f16": "",
}
# What a part is with, and without. The moving average has a time constant of 200 steps: of 7,020 in all 2.8 %, where the paper's
# 6,667 of 250,000 are 2.7 %.
PARTS = {
    "augmentation": ({"augment": "flip", "shift": "2"}, {"augment": "none"}),
    "depth": ({"depth": "0.9"}, {}),
    "ema": ({"ema": "0.995"}, {}),
}
# The parts that a cell leaves out.
CELLS = {
    "full": [],
    "without-augmentation": ["augmentation"],
    "without-depth": ["depth"],
    "without-ema": ["ema"],
    "bare": ["augmentation", "depth", "ema"],
}
# A run that is told to end finishes its step and writes its weights; one that begins compiles kernels and reads images first.
ENDING_SECONDS = 15.0
BEGINNING_SECONDS = 25.0
MARKS = "<!-- Fashion-MNIST: benches/fashion.py table -->", "<!-- end of the table -->"


def recipe(cell, changed=()):
    """The options of a cell, by name."""
    told = dict(RECIPE)
    for part, (present, absent) in PARTS.items():
        told |= absent if part in CELLS[cell] else present
    for change in changed:
        name, _, value = change.partition("=")
        told.pop(name, None)
        told |= {} if value == "no" else {name: value}
    return told


def options(told):
    """As arguments."""
    return [word for name, value in told.items() for word in ([f"--{name}", value] if value else [f"--{name}"])]


def lines(path):
    """The documents of a file of lines; one that was cut off is none."""
    documents = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            documents.append(json.loads(line))
        except ValueError:
            print(f"{path}: a line is no JSON and counts for nothing: {line[:60]}", file=sys.stderr)
    return documents


def is_pytorch(line):
    return str(line.get("version")).startswith("PyTorch")


def trained(results):
    """The labels of the runs of vistok that a file has lines of."""
    return {line.get("label") for line in lines(results) if not is_pytorch(line)}


def gpus(vistok):
    """The numbers of the machine's GPUs, as `vistok --adapter` takes them; of a machine without any the first adapter's."""
    told = subprocess.run([vistok, "devices"], check=True, capture_output=True, text=True).stdout
    adapters = re.findall(r"^(\d+): (?:.*\n)(?:   .*\n)*?   type +(.*)$", told, re.M)
    return [number for number, kind in adapters if "GPU" in kind] or ["0"]


class Run:
    """A cell that is being trained."""

    def __init__(self, arguments, label, gpu):
        model, cell, seed = label.split("/")
        folder = arguments.out / "runs" / label.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        data = f"fashion-mnist:{arguments.data}" if os.path.isdir(arguments.data) else arguments.data
        command = [arguments.vistok, "train", "--data", data, "--model", MODELS[model], "--seed", seed, "--resume"]
        command += ["--out", str(folder), "--result", str(arguments.out / "results.jsonl"), "--label", label]
        command += ["--adapter", gpu, *options(recipe(cell, arguments.set))]
        self.label, self.gpu, self.log, self.told = label, gpu, folder / "output.txt", None
        # In a group of its own: ctrl-c is for this program, which passes it on once; a second one would end it at once.
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def end(self):
        """Has it save itself and end; kills one that does not, whose last weights stay."""
        if self.process.poll() is not None:
            return
        if self.told is None:
            self.told = time.monotonic()
            self.process.send_signal(signal.SIGINT)
        elif time.monotonic() - self.told > ENDING_SECONDS:
            self.process.kill()

    def last_words(self):
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return said[-1] if said else "said nothing"


class Clock:
    """The seconds that are left, fewer than none once somebody wants this program to end."""

    def __init__(self, seconds):
        self.until = time.monotonic() + seconds
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)

    def stop(self, *_):
        self.until = min(self.until, time.monotonic())

    def left(self):
        return self.until - time.monotonic()


def train(arguments):
    """Trains what is missing; the exit status."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    results, clock = arguments.out / "results.jsonl", Clock(arguments.seconds)
    have = trained(results)
    # The whole recipe first, then a seed after the other: a table in pieces is one early.
    cells = sorted((seed, cell) for cell in arguments.cells for seed in arguments.seeds)
    cells.sort(key=lambda cell: cell[1] != "full")
    wanted = [f"{model}/{cell}/{seed}" for seed, cell in cells for model in arguments.models]
    waiting = [label for label in wanted if label not in have]
    places = [gpu for _ in range(arguments.at_once) for gpu in arguments.gpus or gpus(arguments.vistok)]
    running, failed = [], []
    print(f"{len(wanted) - len(waiting)} of {len(wanted)} runs are done; {len(places)} at once", flush=True)
    while running or (waiting and clock.left() > ENDING_SECONDS + BEGINNING_SECONDS):
        if clock.left() < ENDING_SECONDS:
            for run in running:
                run.end()
        elif clock.left() > ENDING_SECONDS + BEGINNING_SECONDS:
            while waiting and places:
                running.append(Run(arguments, waiting.pop(0), places.pop(0)))
        time.sleep(0.2)
        for run in [run for run in running if run.process.poll() is not None]:
            running.remove(run)
            places.append(run.gpu)
            said = f"{run.label}: {run.last_words()}"
            if run.process.returncode != 0 and run.told is None:
                failed.append(said)
            print(said, flush=True)
    have = trained(results)
    missing = [label for label in wanted if label not in have]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are done", flush=True)
    for said in failed:
        print(f"failed: {said}", file=sys.stderr)
    return 1 if failed else 3 if missing else 0


def spread(numbers):
    """Mean and deviation; of one number there is no deviation."""
    mean = statistics.mean(numbers)
    return f"{mean:.2f} ± {statistics.stdev(numbers):.2f}" if len(numbers) > 1 else f"{mean:.2f}"


def table(documents):
    """The table in Markdown: a row for each network, cell and system."""
    rows = {}
    for line in documents:
        label = (line.get("label") or "").split("/")
        if len(label) != 3 or label[0] not in MODELS or label[1] not in CELLS or "test_accuracy" not in line:
            continue
        system = "PyTorch" if is_pytorch(line) else "vistok"
        # Of a seed that was trained twice the last counts.
        rows.setdefault((label[0], label[1], system), {})[label[2]] = line
    head = ["network", "M multiply-adds", "M parameters", "recipe", "trained by", "seeds"]
    head += ["test accuracy, %", "best", "seconds, fastest run", "its images/s", "GPU busy"]
    text = [head, ["---"] * len(head)]
    order = lambda key: (list(MODELS).index(key[0]), list(CELLS).index(key[1]), key[2] != "vistok")
    for model, cell, system in sorted(rows, key=order):
        runs = rows[model, cell, system].values()
        right = [100.0 * run["test_accuracy"] for run in runs]
        # Others may have had a neighbor on their GPU, and PyTorch's on their processor.
        fastest = max(runs, key=lambda run: run.get("images_per_second") or 0.0)
        of = lambda field: None if system == "PyTorch" else fastest.get(field)
        counts = [f"{fastest[field] / 1e6:.{digits}f}" for field, digits in [("macs", 1), ("parameters", 2)]]
        row = [MODELS[model], *counts, cell.replace("-", " "), system, str(len(right)), spread(right)]
        speed = [(of("train_seconds"), "{:.0f}"), (of("images_per_second"), "{:,.0f}"), (of("gpu_busy"), "{:.0%}")]
        shown = ["" if number is None else said.format(number).replace("%", " %") for number, said in speed]
        text.append(row + [f"{max(right):.2f}", *shown])
    return "".join(f"| {' | '.join(row)} |\n" for row in text)


def put(path, made):
    """Between the marks of a file, which is written whole or not at all."""
    text = path.read_text(encoding="utf-8")
    begins, ends = (text.find(mark) for mark in MARKS)
    if not 0 <= begins < ends:
        sys.exit(f"{path} lacks the lines `{MARKS[0]}` and `{MARKS[1]}`, between which the table goes")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(f"{text[:begins]}{MARKS[0]}\n{made}{text[ends:]}", encoding="utf-8")
    beside.replace(path)


def plot(arguments):
    """The runs of a seed in one picture: `vistok plot` takes seven."""
    cells = [("vt-resnet", cell) for cell in CELLS] + [("resnet", "full"), ("resnet", "bare")]
    folders = {f"{model} {cell}": arguments.out / "runs" / f"{model}-{cell}-{arguments.seed}" for model, cell in cells}
    drawn = [f"{name}={folder}" for name, folder in folders.items() if (folder / "epochs.csv").exists()]
    return subprocess.run([arguments.vistok, "plot", *drawn, "--by", "epoch", "--out", arguments.picture]).returncode


def listed(known=None):
    """A parser of words with commas between them."""

    def parse(text):
        words = text.split(",")
        if wrong := [word for word in words if known and word not in known or not word]:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: there are {', '.join(known or ['numbers'])}")
        return words

    return parse


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("vistok")
    run.add_argument("data")
    run.add_argument("out", type=pathlib.Path)
    run.add_argument("--gpus", type=listed(), help="numbers in `vistok devices` [default: every GPU]")
    run.add_argument("--at-once", type=int, default=1, metavar="N", help="runs on one GPU")
    run.add_argument("--seeds", type=listed(), default=["1", "2", "3"])
    run.add_argument("--cells", type=listed(CELLS), default=list(CELLS))
    run.add_argument("--models", type=listed(MODELS), default=list(MODELS))
    run.add_argument("--seconds", type=float, default=float("inf"), metavar="S", help="end within them")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another option; `no` leaves it out")
    shown = commands.add_parser("table")
    shown.add_argument("results", type=pathlib.Path, nargs="+")
    shown.add_argument("--into", type=pathlib.Path, metavar="FILE")
    drawn = commands.add_parser("plot")
    drawn.add_argument("vistok")
    drawn.add_argument("out", type=pathlib.Path)
    drawn.add_argument("picture")
    drawn.add_argument("--seed", default="1")
    arguments = parser.parse_args()
    if arguments.command == "run":
        sys.exit(train(arguments))
    if arguments.command == "plot":
        sys.exit(plot(arguments))
    made = table([line for path in arguments.results for line in lines(path)])
    put(arguments.into, made) if arguments.into else print(made, end="")


if __name__ == "__main__":
    main()
