#!/usr/bin/env python3
"""A stand-in for benches/peers/pytorch.py: times that are made up from what is asked. Sums of tensors are never done."""
import json
import sys
import time


def ways(row, wanted):
    if "images" not in row:
        size = row["inputs"][0]["shape"][1]
        graph = 0.1 * size * (0.3 if size == 28 else 1.0) if row["op"].startswith("conv") else 0.01
        return {"graph": {"ms": graph}, "eager": {"ms": 0.03}}
    batch, times = row["images"][0], {"eager": 5.0, "graph": 1.2, "compile": 0.9, "pure": 15.0, "amp": 22.0}
    names = ["eager", "graph", "compile"] if row["pass"] == "forward" else ["pure", "amp"]
    known = {name: {"ms": times[name] * (1 if batch == 1 else 2), "peak_bytes": 4000 << 20} for name in names if name in wanted}
    if "graph" in known and batch == 64:
        known["graph"] = {"ms": None, "error": "the graph was not captured"}
    return known


def main():
    rows_file, out = sys.argv[1:3]
    wanted = sys.argv[sys.argv.index("--ways") + 1].split(",") if "--ways" in sys.argv else []
    with open(rows_file, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    done = []
    for row in rows:
        if row.get("op") == "add":
            time.sleep(60)
        done.append({**row, "ways": ways(row, wanted), "median_ms": 1.0})
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"name": "Stand-in for PyTorch", "rows": done}, file)


main()
