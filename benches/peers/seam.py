#!/usr/bin/env python3
"""PyTorch's time for the rows of benches/seam.rs: products of matrices and 3x3 convolutions, f32 (no TF32) and f16.

Usage: seam.py [--json FILE] [--rounds N]
"""
import argparse
import json
import statistics

from timing import captured, milliseconds, prepared

SQUARES = [4096, 1024]
# images, height, width, channels, outputs
CONVOLUTIONS = [(32, 56, 56, 64, 64), (32, 28, 28, 128, 128), (32, 14, 14, 256, 256)]
WARM_UP_MS = 500.0


def work(torch):
    """Yields (shape, elem, floating-point operations, a function that does the work once)."""
    for elem, dtype in [("f32", torch.float32), ("f16", torch.float16)]:
        def draw(*shape):
            return (torch.rand(*shape, device="cuda") * 2 - 1).to(dtype)

        for size in SQUARES:
            a, b, out = draw(size, size), draw(size, size), draw(size, size)
            yield f"gemm {size}", elem, 2 * size**3, lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
        for images, height, width, channels, outputs in CONVOLUTIONS:
            x = draw(images, channels, height, width).to(memory_format=torch.channels_last)
            weight = draw(outputs, channels, 3, 3).to(memory_format=torch.channels_last)
            flops = 2 * images * height * width * outputs * channels * 9
            shape = f"conv3x3 {images}x{height}x{width}x{channels}->{outputs}"
            yield shape, elem, flops, lambda x=x, weight=weight: torch.nn.functional.conv2d(x, weight, padding=1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments = arguments.parse_args()
    torch = prepared()
    print(f"{torch.cuda.get_device_name()} (PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()})")

    with torch.inference_mode():
        todo = list(work(torch))  # holds the inputs: a captured graph does not keep them alive
        rows = [(shape, elem, flops, *captured(torch, run), []) for shape, elem, flops, run in todo]
        warm = 0.0
        while warm < WARM_UP_MS:
            warm += sum(milliseconds(torch, graph.replay) for _, _, _, graph, _, _ in rows)
        for _ in range(arguments.rounds):
            for _, _, _, graph, turns, times in rows:
                times.append(milliseconds(torch, graph.replay) * 1e3 / turns)

    lines = []
    for shape, elem, flops, _, _, times in rows:
        median, least = statistics.median(times), min(times)
        tflops = flops / median / 1e6
        print(f"{'pytorch':<34} {shape:<30} {elem:>4} {median:>11.2f} {least:>11.2f} {tflops:>9.1f}")
        lines.append({"name": "pytorch", "shape": shape, "elem": elem, "median_us": median, "min_us": least,
                      "tflops": tflops})
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
