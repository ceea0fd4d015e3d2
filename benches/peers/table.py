#!/usr/bin/env python3
"""One table from the JSON lines that benches/on_gpu.sh collects: every row beside PyTorch's time for the same work.

Usage: table.py FOLDER
"""
import collections
import json
import pathlib
import statistics
import sys


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    times = collections.defaultdict(lambda: collections.defaultdict(list))
    tera = {}
    for file in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            work = row["shape"], row["elem"]
            times[work][row["name"]].append(row["median_us"])
            tera[work] = row["tflops"] * row["median_us"]  # operations / 10^6, the same in every row
    if not times:
        sys.exit(f"table.py: no rows in {sys.argv[1]}")
    print(f"\n{'shape':<30} {'elem':>4} {'name':<42} {'median_us':>11} {'spread':>7} {'TFLOP/s':>9} {'of PyTorch':>10}")
    for work, names in times.items():
        peer = statistics.median(names["pytorch"]) if "pytorch" in names else None
        for name, runs in sorted(names.items(), key=lambda entry: statistics.median(entry[1])):
            median = statistics.median(runs)
            spread = (max(runs) - min(runs)) / median
            ratio = f"{peer / median:>10.2f}" if peer else f"{'-':>10}"
            print(f"{work[0]:<30} {work[1]:>4} {name:<42} {median:>11.2f} {spread:>7.1%} {tera[work] / median:>9.1f} {ratio}")
    print("median_us: the median of the alternations' medians; spread: of those medians; of PyTorch: its time over ours.")


if __name__ == "__main__":
    main()
