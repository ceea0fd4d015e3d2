#!/usr/bin/env python3
"""Ours and PyTorch on one GPU, by turns, and which goals are reached: one JSON file, one Markdown table.

Usage: compare.py VISTOK OUT_FOLDER [--minutes 11] [--commit C] [--steps models,vt,gemm,layers,memory-bound,compile]

Needs the compiled program, Python's standard library, and for the peer's side torch. Each suite is measured by ours, by
PyTorch, and where that is quick by ours again, since clocks move. Tiles that `vistok tune` found are used. Every step has a
time limit and is saved when it ends (OUT_FOLDER/steps); comparison.json and comparison.md are written anew after each. A
step that fails leaves the others standing; it is named at the end, and the exit status is 1.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
from goals import Goals  # noqa: E402

# Seconds that a step may take, in the order in which they are run: what is wanted most comes first, and what takes longest
# last. Measured on an H100: ours 31 for models, 23 for memory-bound.
STEPS = [
    ("models", "ours", 90, ["models", " resnet50 "], []),
    ("models", "peer", 180, None, ["--ways", "eager,graph,pure,amp", "--enough", "1500"]),
    ("vt models", "ours", 60, ["models", " vt-resnet50 "], []),
    ("vt models", "peer", 120, None, ["--ways", "eager,graph,pure,amp,tf32", "--enough", "1000"]),
    ("fpn models", "ours", 60, ["models", "fpn-resnet50 4x800x1216x3 f16"], []),
    ("fpn models", "peer", 90, None, ["--ways", "eager,graph,pure,amp", "--enough", "600"]),
    ("vt", "ours", 60, ["vt", "f16"], []),
    ("vt", "peer", 150, None, ["--rounds", "5", "--ways", "eager,graph,sdpa"]),
    ("gemm", "ours", 40, ["gemm"], []),
    ("gemm", "peer", 40, None, []),
    ("gemm", "ours again", 40, ["gemm"], []),
    ("layers f16", "ours", 60, ["resnet50-layers", "f16"], []),
    ("layers f16", "peer", 90, None, ["--rounds", "5"]),
    ("memory-bound", "ours", 60, ["memory-bound", "f16"], []),
    ("memory-bound", "peer", 60, None, ["--rounds", "5"]),
    ("layers f32", "ours", 60, ["resnet50-layers", "f32"], []),
    ("layers f32", "peer", 90, None, ["--rounds", "5"]),
    ("models", "ours again", 90, ["models", " resnet50 "], []),
    ("vt models", "ours again", 60, ["models", " vt-resnet50 "], []),
    ("compile", "peer", 400, None, ["--ways", "compile", "--enough", "1000"]),
]
# What torch.compile is asked for: compiling one takes a quarter of a minute, and with `autotune` several minutes.
COMPILED = [
    ("resnet50", "forward", "f16", 1),
    ("vt-resnet50", "forward", "f16", 1),
    ("vt-resnet50", "forward", "f16", 64),
    ("fpn-resnet50", "forward", "f16", 4),
    ("vt-fpn-resnet50", "forward", "f16", 4),
]


class Comparison:
    """What was measured so far."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.began = time.monotonic()
        self.folder = pathlib.Path(arguments.out)
        (self.folder / "steps").mkdir(parents=True, exist_ok=True)
        self.ours, self.peers, self.steps = {}, {}, []
        # Of each suite, what ours gave last.
        self.latest = {}
        self.about = about(arguments)

    def left(self):
        return self.arguments.minutes * 60 - (time.monotonic() - self.began)

    def step(self, number, suite, side, limit, bench, more):
        """Runs a step and keeps what it found; what went wrong, or None."""
        place = self.folder / "steps" / f"{number:02}-{suite.replace(' ', '-')}-{side.replace(' ', '-')}"
        limit = min(limit, self.left())
        if limit < 5:
            return "no time was left"
        out = place.with_suffix(".json")
        out.unlink(missing_ok=True)
        if side == "peer":
            rows = self.rows_for(suite)
            if rows is None:
                return "there are no rows of ours to measure"
            asked = place.with_suffix(".rows.json")
            asked.write_text(json.dumps(rows), encoding="utf-8")
            command = [*self.arguments.peer, str(asked), str(out), *more]
        else:
            command = [self.arguments.vistok, "bench", *bench, "--json"]
        reason = run(command, limit, place, None if side == "peer" else out)
        # A peer that runs out of time leaves the rows that it finished.
        try:
            document = json.loads(out.read_text(encoding="utf-8"))
            rows = document["rows"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            return reason or f"it left no rows ({error})"
        if side == "peer":
            self.about["peer"] = document.get("name")
            self.peers.setdefault(family(suite), []).append(document)
            return reason or (None if any(timed(row) for row in rows) else "it timed no row; its rows say why")
        self.about["adapter"] = document.get("adapter")
        self.latest[suite] = document
        self.ours.setdefault(family(suite), []).append(document)
        return reason

    def rows_for(self, suite):
        """The document that the peer measures the rows of."""
        if suite != "compile":
            return self.latest.get(suite)
        documents = [self.latest[models] for models in ("models", "vt models", "fpn models") if models in self.latest]
        rows = [row for document in documents for row in document["rows"]
                if (row["name"], row["pass"], row["element"], row["images"][0]) in COMPILED]
        return {**documents[0], "rows": rows} if rows else None

    def write(self):
        goals = Goals(self.ours, self.peers)
        whole = {**self.about, "goals": goals.rows, "steps": self.steps, "ours": self.ours, "peers": self.peers}
        replace(self.folder / "comparison.json", json.dumps(whole, indent=1) + "\n")
        lines = [f"- {name}: {self.about[name]}" for name in ("date", "adapter", "driver", "commit", "cards", "peer", "tuned")]
        failed = [f"- {step['suite']}, {step['side']}: {step['failed']}" for step in self.steps if step["failed"]]
        missing = ["", "Not measured, or not all of it:", "", *failed] if failed else []
        text = "\n".join(["# Beside PyTorch", "", *lines, "", goals.markdown(), *missing, ""])
        replace(self.folder / "comparison.md", text)
        return text


def family(suite):
    families = {"layers f16": "layers", "layers f32": "layers", "vt models": "models", "fpn models": "models",
                "compile": "models"}
    return families.get(suite, suite)


def timed(row):
    ways = row.get("ways") or {}
    return row.get("median_ms") is not None or any(way.get("ms") for way in ways.values())


def run(command, limit, place, out):
    """Runs a command within so many seconds, its standard output into `out`; what went wrong, or None."""
    log = place.with_suffix(".log")
    try:
        with open(out or os.devnull, "wb") as stdout, open(log, "wb") as stderr:
            done = subprocess.run(command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"it took longer than {limit:.0f} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return f"exit status {done.returncode}: {' '.join(last)[:300]}"


def said(command):
    """What a command prints, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


def about(arguments):
    """Date, driver, commit, cards, and whether tiles were tuned."""
    devices = said([arguments.vistok, "devices"]) or ""
    driver = next((line.split(None, 1)[1] for line in devices.splitlines() if line.strip().startswith("driver ")), None)
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "/"), ".cache")
    tables = sorted(pathlib.Path(caches, "vistok").glob("tiles-*.json"))
    tiles = 0
    for table in tables:
        try:
            tiles += len(json.loads(table.read_text(encoding="utf-8"))["tiles"])
        except (OSError, ValueError, KeyError):
            pass
    cards = said(["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"])
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "adapter": None,
        "driver": driver,
        "commit": arguments.commit or said(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]),
        "cards": cards and cards.splitlines(),
        "peer": None,
        "tuned": f"{tiles} products have tiles of their own" if tables else "no",
    }


def replace(path, text):
    """Whole, or as it was."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("vistok")
    arguments.add_argument("out")
    arguments.add_argument("--minutes", type=float, default=11.0)
    arguments.add_argument("--commit")
    arguments.add_argument("--steps", default="models,vt,gemm,layers,memory-bound,compile",
                           help="the suites to run; compile needs models, of which `vt models` and `fpn models` are two")
    arguments.add_argument("--peer", default=None, help="a program in place of python3 benches/peers/pytorch.py")
    arguments = arguments.parse_args()
    arguments.peer = [arguments.peer] if arguments.peer else [sys.executable, str(HERE / "peers" / "pytorch.py")]
    wanted = arguments.steps.split(",")
    comparison = Comparison(arguments)
    text = comparison.write()
    for number, (suite, side, limit, bench, more) in enumerate(STEPS, 1):
        if suite not in wanted and family(suite) not in wanted or suite == "compile" and suite not in wanted:
            continue
        began = time.monotonic()
        failed = comparison.step(number, suite, side, limit, bench, more)
        seconds = round(time.monotonic() - began, 1)
        comparison.steps.append({"suite": suite, "side": side, "seconds": seconds, "failed": failed})
        print(f"{suite}, {side}: {failed or 'done'}, {seconds} s", file=sys.stderr, flush=True)
        text = comparison.write()
    print(text)
    sys.exit(any(step["failed"] for step in comparison.steps))


if __name__ == "__main__":
    main()
