#!/usr/bin/env python3
"""A stand-in for the program `vistok`: rows as an H100 gave them, times made up. FAIL names a filter that fails."""
import json
import os
import sys


def network(batch, element, passed, ms, mib):
    return {"name": "resnet50", "shape": f"{batch}x224x224x3", "element": element, "pass": passed,
            "images": [batch, 224, 224, 3], "throughput_ms": ms, "peak_bytes": mib << 20}


def op(name, shapes, element, passed, attributes, ms, floor=0.09):
    return {"name": name, "shape": " ".join(map(str, shapes)), "element": element, "pass": passed, "op": name,
            "attributes": attributes, "inputs": [{"shape": shape, "element": element} for shape in shapes],
            "median_ms": ms, "floor_ms": floor}


def rows(suite, element):
    if suite == "models":
        return [network(1, "f16", "forward", 1.0, 60), network(64, "f16", "forward", 4.0, 900),
                network(1, "f32", "forward", 2.0, 120), network(64, "f32", "forward", 16.0, 1800),
                network(32, "f16", "training", 10.0, 3000), network(64, "f16", "training", 20.0, 6000),
                network(32, "f32", "training", 20.0, 6000), network(64, "f32", "training", 40.0, 12000)]
    if suite == "gemm":
        return [op("matmul", [[size, size], [size, size]], element, "forward", {}, ms)
                for size, ms in [(1024, 0.02), (4096, 0.4)] for element in ["f32", "f16"]]
    if suite == "memory-bound":
        return [op("add", [[size, 64], [size, 64]], "f16", "forward", {}, ms) for size, ms in [(512, 0.1), (1024, 0.18)]]
    names = {"conv2d": "forward", "conv2d_backward_x": "backward 0", "conv2d_backward_weight": "backward 1"}
    return [op(name, [[64, size, size, 64], [3, 3, 64, 64]], element, passed, {"stride": [1, 1]}, 0.1 * size)
            for size in [7, 14, 28] for name, passed in names.items()]


def main():
    if sys.argv[1] == "devices":
        print("0: Stand-in\n   backend               Vulkan\n   driver                made up 1.0")
        return
    suite, element = sys.argv[2], sys.argv[3] if len(sys.argv) > 4 else ""
    assert sys.argv[1] == "bench" and sys.argv[-1] == "--json"
    fail = os.environ.get("FAIL")
    if fail and fail in (suite, element):
        sys.exit(f"error: no {fail} here")
    print(json.dumps({"adapter": "Stand-in", "suite": suite, "rows": rows(suite, element)}))


main()
