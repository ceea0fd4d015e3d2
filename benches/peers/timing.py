"""GPU time in PyTorch: a CUDA graph of enough runs for one measurement, so that the time is the GPU's and not Python's."""
import math
import sys

MEASUREMENT_MS = 20.0


def prepared():
    """torch, set up so that f32 is f32 and sums of f16 are f32; ends the program where there is no CUDA device."""
    try:
        import torch
    except ImportError:
        sys.exit("no torch here")
    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = True
    return torch


def milliseconds(torch, action):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    action()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def captured(torch, run, measurement_ms=MEASUREMENT_MS):
    """The graph, and how many runs it holds."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(10):  # cuDNN tries its algorithms here, and may not during the capture
            run()
        side.synchronize()
        once = milliseconds(torch, lambda: [run() for _ in range(10)]) / 10
    torch.cuda.current_stream().wait_stream(side)
    turns = max(1, min(2000, math.ceil(measurement_ms / max(once, 1e-3))))
    graph = torch.cuda.CUDAGraph()
    # Where it ran before: autograd goes back on the stream on which it went forward.
    with torch.cuda.graph(graph, stream=side):
        for _ in range(turns):
            run()
    return graph, turns
