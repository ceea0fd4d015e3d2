#!/usr/bin/env python3
"""PyTorch's time for the rows of `vistok bench SUITE --json`, for `vistok bench SUITE --against`.

Usage: pytorch.py ROWS.json OUT.json [--rounds N] [--ways eager,graph,compile,autotune,sdpa,…] [--enough MS]

Ops run in CUDA graphs, which is their time, and launched one by one ("eager"); attention and what related_ops.py has also by
torch.compile, as PyTorch's fused call ("sdpa"; with what is added to scores in its products, "sdpa_widened") or with windows
written down ("unfold"), all in CUDA graphs; f32 without TF32, channels last; what PyTorch has no call for gets no
time. Models run forward launched one by one ("eager"), as a CUDA graph, and by torch.compile in two modes ("compile",
"autotune"); their training is launched one by one, in the row's element type ("pure") and, beside f16, by autocast with
scaled losses ("amp", and so compiled) and in f32 with TF32 ("tf32"); networks with relative positions also by the fused call,
forward as CUDA graphs. Of a model's ways the fastest is its time; all stand in `ways`, with
the most memory that tensors took once it ran. The file is written after every row.
"""
import argparse
import gc
import itertools
import json
import os
import statistics
import sys
import time

import related_ops
from networks import models
from timing import captured, milliseconds, prepared

WARM_UP_MS = 300.0
# Runs back to back; fewer must do where they take longer than `--enough`: what `vistok bench models` does.
RUNS = 100
# Launches of an op one by one last about this long.
LAUNCHED_MS = 20.0
WAYS = "eager,graph,compile,autotune,sdpa,sdpa_widened,unfold,pure,amp,tf32"


def front(x):
    """[N, H, W, C] in memory, [N, C, H, W] by name; tensors of rows stay [rows, C]."""
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x.reshape(-1, x.shape[-1])


def weights(w):
    """[KH, KW, C/groups, O] → [O, C/groups, KH, KW], channels last in memory."""
    return w.permute(3, 2, 0, 1).contiguous(memory_format=sys.modules["torch"].channels_last)


def call(torch, op, attributes, inputs):
    """A function that does the op's work once, or None."""
    F, aten = torch.nn.functional, torch.ops.aten

    def convolution_gradient(dy, x, weight, mask):
        arguments = attributes["stride"], attributes["padding"], [1, 1], False, [0, 0], attributes["groups"], mask
        return lambda: aten.convolution_backward(dy, x, weight, None, *arguments)

    def made(shape):
        return torch.empty(shape, device="cuda", dtype=inputs[0].dtype).uniform_(-1, 1)

    if op == "matmul":
        a, b = inputs
        a = a.transpose(-1, -2) if attributes["transpose_a"] else a
        b = b.transpose(-1, -2) if attributes["transpose_b"] else b
        return lambda: torch.matmul(a, b)
    if op in ("conv2d", "conv_norm"):
        x, weight = front(inputs[0]), weights(inputs[1])
        arguments = attributes["stride"], attributes["padding"], [1, 1], attributes["groups"]
        if op == "conv2d":
            bias = inputs[2].to(x.dtype) if len(inputs) > 2 else None
            return lambda: F.conv2d(x, weight, bias, *arguments)
        gain, bias, mean, variance = inputs[2:6]
        shortcut = front(inputs[6]) if len(inputs) > 6 else None

        def behind():
            y = F.batch_norm(F.conv2d(x, weight, None, *arguments), mean, variance, gain, bias, eps=attributes["eps"])
            y = y if shortcut is None else y.add_(shortcut)
            return y.relu_() if attributes["relu"] else y

        return behind
    if op == "conv2d_backward_x":
        return convolution_gradient(front(inputs[0]), front(made(attributes["x"])), weights(inputs[1]), [True, False, False])
    if op == "conv2d_backward_weight":
        weight = weights(made(attributes["weight"]))
        return convolution_gradient(front(inputs[1]), front(inputs[0]), weight, [False, True, False])
    if op == "batch_norm":
        x, (gain, bias, mean, variance) = front(inputs[0]), inputs[1:5]
        shortcut = front(inputs[5]) if len(inputs) > 5 else None

        def normalized():
            y = F.batch_norm(x, mean, variance, gain, bias, True, attributes["momentum"], attributes["eps"])
            y = y if shortcut is None else y.add_(shortcut)
            return y.relu_() if attributes["relu"] else y

        return normalized
    if op == "batch_norm_backward":
        x, gain, mean, inv_std, dy = front(inputs[0]), *inputs[1:4], front(inputs[4])
        return lambda: aten.native_batch_norm_backward(dy, x, gain, None, None, mean, inv_std, True, 1e-5, [True] * 3)
    if op == "batch_norm_fixed":
        x, (gain, bias, mean, variance) = front(inputs[0]), inputs[1:]
        return lambda: F.batch_norm(x, mean, variance, gain, bias, False, 0.0, attributes["eps"])
    if op == "add":
        return lambda: inputs[0] + inputs[1]
    if op == "map":
        function = {"relu": F.relu, "gelu": F.gelu, "sigmoid": torch.sigmoid}[attributes["function"]]
        return lambda: function(inputs[0])
    if op == "map_backward" and attributes["function"] == "relu":
        return lambda: aten.threshold_backward(inputs[1], inputs[0], 0)
    if op == "max_pool":
        x = front(inputs[0])
        arguments = attributes["kernel"], attributes["stride"], attributes["padding"]
        return lambda: F.max_pool2d(x, *arguments, return_indices=True)
    if op == "cross_entropy":
        labels = inputs[1].long()
        return lambda: F.cross_entropy(inputs[0], labels)
    if op == "softmax":
        return lambda: F.softmax(inputs[0], -1)
    if op == "mean_rows":
        return lambda: inputs[0].mean(1)
    if op == "sum_rows":
        return lambda: inputs[0].sum(0)
    if op in ("attend", "attend_backward"):
        return attention(torch, op, attributes, inputs)
    if op == "permute":
        return lambda: inputs[0].permute(attributes["axes"]).contiguous()
    return related_ops.call(torch, op, attributes, inputs)


def attention(torch, op, attributes, inputs):
    """softmax(scale q k^T) v of heads, or what autograd does for its gradients with the weights kept; without v it is k."""
    backward = op == "attend_backward"
    q, k, *given = inputs[:2] + inputs[5:] if backward else inputs
    heads, scale = attributes["heads"], attributes["scale"]

    def split(x):
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    q, k, v = split(q), split(k), split(given[0] if given else k)
    if not backward:
        return lambda: torch.softmax(torch.matmul(q, k.transpose(-1, -2)) * scale, -1) @ v
    weights, dy = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) * scale, -1), split(inputs[4])

    def gradients():
        dv = torch.matmul(weights.transpose(-1, -2), dy)
        dp = torch.matmul(dy, v.transpose(-1, -2))
        ds = torch.ops.aten._softmax_backward_data(dp, weights, -1, weights.dtype) * scale
        dq, dk = torch.matmul(ds, k), torch.matmul(ds.transpose(-1, -2), q)
        return (dq, dk, dv) if given else (dq, dk + dv)

    return gradients


def fused_attention(torch, attributes, inputs):
    """The attention that PyTorch has as one call."""
    q, k, v = inputs[0], inputs[1], inputs[-1]
    heads = attributes["heads"]
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=attributes["scale"])


def tensor(torch, given):
    kinds = {"f32": torch.float32, "f16": torch.float16, "u32": torch.int32}
    kind = kinds[given["element"]]
    if kind == torch.int32:
        return torch.zeros(given["shape"], device="cuda", dtype=kind)
    # Above 0: some of them are variances.
    return torch.empty(given["shape"], device="cuda").uniform_(0.1, 1).to(kind)


def in_turns(runs):
    """One run after the other, on tensors of their own: no cache holds what is read next."""
    turns = itertools.cycle(runs)
    return lambda: next(turns)()


def launched(torch, run):
    """Milliseconds of a run when many are launched one by one: wall time, whoever is waited for."""

    def lasting(runs):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(runs):
            run()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) * 1e3 / runs

    runs = max(5, min(1000, int(LAUNCHED_MS / max(lasting(10), 1e-3))))
    return statistics.median(lasting(runs) for _ in range(5))


def time_op(torch, row, wanted, rounds):
    """Milliseconds of a row by way; one row at a time, since the tensors of all together do not fit."""

    def as_graph(run):
        graph, turns = captured(torch, run, 5.0)
        for _ in range(3):
            graph.replay()
        return {"ms": statistics.median(milliseconds(torch, graph.replay) / turns for _ in range(rounds))}

    with torch.inference_mode():
        copies = [[tensor(torch, one) for one in row["inputs"]] for _ in range(row.get("copies") or 1)]
        runs = [call(torch, row["op"], row["attributes"], inputs) for inputs in copies]
        if runs[0] is None:
            return {}
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        runs[0]()
        taken = torch.cuda.max_memory_allocated() - held
        ways = {"graph": {**as_graph(in_turns(runs)), "peak_bytes": taken}, "eager": {"ms": launched(torch, in_turns(runs))}}
        others = [related_ops.ways(torch, row["op"], row["attributes"], inputs) for inputs in copies]
        # Compiling each op would take a minute a row, and only of these is there anything to fuse. Autograd's graphs it leaves.
        fusible = row["op"].startswith("attend") or others[0] and "_backward" not in row["op"]
        if fusible and "compile" in wanted:
            ways["compile"] = as_graph(in_turns([torch.compile(run) for run in runs]))
        if row["op"] == "attend" and "sdpa" in wanted:
            ways["sdpa"] = as_graph(in_turns([fused_attention(torch, row["attributes"], inputs) for inputs in copies]))
        for way in others[0].keys() - {"eager"}:
            if way in wanted:
                ways[way] = as_graph(in_turns([prepare[way]() for prepare in others]))
        return ways


def said(error):
    """An error in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def time_ops(torch, rows, wanted, rounds, written):
    for row in rows:
        try:
            row["ways"] = time_op(torch, row, wanted, rounds)
            row["median_ms"] = row["ways"].get("graph", {}).get("ms")
        except Exception as error:  # one row is no reason to lose the others
            row["median_ms"], row["error"] = None, said(error)
        written()
        print(f"{row['median_ms']} ms  {row['name']} {row['shape']} {row['element']} {row['pass']}", file=sys.stderr)


def wall(torch, run, enough):
    """Milliseconds of a run when many follow each other, launching included."""

    def lasting(runs):
        began = time.perf_counter()
        for _ in range(runs):
            run()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) * 1e3 / runs

    once, began = lasting(3), time.perf_counter()
    while (time.perf_counter() - began) * 1e3 < WARM_UP_MS:
        once = lasting(3)
    return lasting(max(3, min(RUNS, int(enough / once))))


def time_models(torch, rows, wanted, enough, written):
    for row in rows:
        ways = {}
        # What makes again what it did not keep stands beside the step that keeps all.
        for name, prepare in models(torch, row) if row["pass"] in ("forward", "training") else []:
            if name not in wanted:
                continue
            try:
                run = prepare()
                # What cuDNN takes to try its algorithms is no memory of the step.
                for _ in range(3):
                    run()
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                ways[name] = {"ms": wall(torch, run, enough), "peak_bytes": torch.cuda.max_memory_allocated()}
            except Exception as error:  # a way that does not work here is no reason to lose the others
                ways[name] = {"ms": None, "error": said(error)}
            print(f"{ways[name]}  {row['name']} {row['shape']} {row['element']} {row['pass']} {name}", file=sys.stderr)
            # Networks and their gradients refer to each other: what is left of one is no memory of the next.
            run = None
            gc.collect()
            torch.cuda.empty_cache()
        known = [way["ms"] for way in ways.values() if way["ms"] is not None]
        row["ways"], row["median_ms"] = ways, min(known, default=None)
        written()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("rows")
    arguments.add_argument("out")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--ways", default=WAYS)
    arguments.add_argument("--enough", type=float, default=3000.0, help="milliseconds that runs back to back may take")
    arguments = arguments.parse_args()
    with open(arguments.rows, encoding="utf-8") as file:
        document = json.load(file)
    torch = prepared()
    fields = ["name", "shape", "element", "pass", "op", "attributes", "inputs", "copies", "images", "network"]
    rows = [{field: row[field] for field in fields if field in row} for row in document["rows"]]
    name = f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}"

    def written():
        # Whole whenever this is ended.
        with open(arguments.out + ".part", "w", encoding="utf-8") as file:
            json.dump({"name": name, "rows": rows}, file, indent=1)
            file.write("\n")
        os.replace(arguments.out + ".part", arguments.out)

    wanted = arguments.ways.split(",")
    if document["suite"] == "models":
        time_models(torch, rows, wanted, arguments.enough, written)
    else:
        time_ops(torch, rows, wanted, arguments.rounds, written)


if __name__ == "__main__":
    main()
