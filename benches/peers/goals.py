"""What is wanted of the kernels beside PyTorch, and whether it was reached: rows of both in, a table out."""
import math

# The best that portable peers did on an H100 with ResNet-50 at 224x224 (ms), and how many times as fast we want to be.
PORTABLE = [
    ("forward", 1, "f16", 4.9, "meganeura 0.3, f32", 5),
    ("forward", 1, "f32", 4.9, "meganeura 0.3, f32", 5),
    ("forward", 64, "f16", 31.7, "ONNX Runtime WebGPU 1.27, f16", 5),
    ("forward", 64, "f32", 38.0, "meganeura 0.3, f32", 5),
    ("training", 32, "f16", 358.0, "meganeura 0.3, f32 without batch norm", 15),
    ("training", 32, "f32", 358.0, "meganeura 0.3, f32 without batch norm", 15),
]
NETWORKS = {"resnet50": "ResNet-50", "vt-resnet50": "VT-ResNet-50",
            "fpn-resnet50": "FPN on ResNet-50, 800x1216", "vt-fpn-resnet50": "VT-FPN on ResNet-50, 800x1216"}
# What share of its floor attention on a map is to reach.
FLOORS = {"COCO-stuff, level 2": 0.8, "COCO-stuff, level 3": 0.8, "COCO-stuff, level 4": 0.6, "LIP, level 2": 0.6}
# The peer's ways that torch.compile made.
COMPILED = ["compile", "autotune"]
MIB = 1 << 20
PASSES = [("conv2d", "forward"), ("conv2d_backward_x", "input gradient"), ("conv2d_backward_weight", "weight gradient")]


def key(row):
    return row["name"], row["shape"], row["element"], row["pass"], str(row.get("attributes"))


def middle(values):
    values = sorted(value for value in values if value is not None)
    if not values:
        return None
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def merged(documents, field):
    """Rows by key, `field` the median of all runs; what no run timed has none."""
    rows = {}
    for document in documents:
        for row in document["rows"]:
            rows.setdefault(key(row), (row, []))[1].append(row.get(field))
    return {name: {**row, field: middle(times), "runs": times} for name, (row, times) in rows.items()}


def ways_of(documents):
    """Of each row the ways of the peer: the median of what was measured; the most memory."""
    ways = {}
    for document in documents:
        for row in document["rows"]:
            for way, found in (row.get("ways") or {}).items():
                ways.setdefault(key(row), {}).setdefault(way, []).append(found)
    return {
        name: {
            way: {
                "ms": middle(one.get("ms") for one in all),
                "peak_bytes": max((one.get("peak_bytes") or 0 for one in all), default=0),
                "error": next((one["error"] for one in all if one.get("error")), None),
            }
            for way, all in found.items()
        }
        for name, found in ways.items()
    }


def geometric(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


class Goals:
    """Goals one by one; each becomes a row of the table."""

    def __init__(self, ours, peers):
        """`ours` and `peers`: suite → documents."""
        self.rows = []
        self.ours, self.peers = ours, peers
        self.models()
        self.gemm()
        self.layers()
        self.memory_bound()
        self.visual_tokens()
        self.portable()

    def add(self, goal, wanted, ours, theirs, ratio, more="", whole=True):
        """`whole`: whether all that the goal is about was measured; of a part nobody knows."""
        reached = None if ratio is None or not whole else ratio >= wanted
        self.rows.append({"goal": goal, "wanted": wanted, "ours": ours, "theirs": theirs, "ratio": ratio,
                          "reached": reached, "beside": more})

    def networks(self, network, passed, batch, element):
        """Our row of a network, and the peer's ways."""
        rows = merged(self.ours.get("models", []), "throughput_ms")
        ways = ways_of(self.peers.get("models", []))
        for name, row in rows.items():
            if (row["name"], row["pass"], row["images"][0], row["element"]) == (network, passed, batch, element):
                return row, ways.get(name, {})
        return None, {}

    def against(self, network, passed, batch, element, wanted, names, said):
        """One row of the networks against the fastest of the peer's ways of these names."""
        row, ways = self.networks(network, passed, batch, element)
        known = {name: ways[name]["ms"] for name in names if ways.get(name, {}).get("ms")}
        best = min(known, key=known.get, default=None)
        ours = row and row["throughput_ms"]
        ratio = known[best] / ours if best and ours else None
        rest = [f"{name} {way['ms']:.2f} ms" for name, way in ways.items() if way["ms"] and name != best]
        rest += [f"{name} not run ({way['error'] or 'no time'})" for name, way in ways.items() if not way["ms"]]
        goal = f"{NETWORKS[network]} {passed}, batch {batch}, {element}, against {said}"
        self.add(goal, wanted, ours and f"{ours:.2f} ms", best and f"{known[best]:.2f} ms ({best})", ratio, ", ".join(rest))
        return row, ways, best

    def models(self):
        self.against("resnet50", "forward", 1, "f16", 1.5, ["graph"], "CUDA graph")
        self.against("resnet50", "forward", 1, "f16", 1.0, COMPILED, "torch.compile")
        self.against("resnet50", "forward", 64, "f16", 1.0, ["eager"], "eager")
        self.against("resnet50", "forward", 64, "f32", 1.1, ["eager", "graph"], "strict f32, the best way")
        self.training("resnet50", "f16", 1.0, ["pure", "amp"], "the best of AMP and pure f16")
        self.training("resnet50", "f32", 0.0, ["pure"], "pure f32 (no goal)")
        self.against("vt-resnet50", "forward", 1, "f16", 1.3, COMPILED, "torch.compile")
        self.against("vt-resnet50", "forward", 64, "f16", 1.0, COMPILED, "torch.compile")
        self.against("vt-resnet50", "forward", 64, "f32", 0.0, ["eager", "graph"], "strict f32, the best way (no goal)")
        self.training("vt-resnet50", "f16", 1.5, ["amp", "tf32"], "the better of AMP and TF32", "amp")
        for network in ["fpn-resnet50", "vt-fpn-resnet50"]:
            self.against(network, "forward", 4, "f16", 1.0, ["eager"], "eager")
            self.against(network, "forward", 4, "f16", 1.0, COMPILED, "torch.compile")
            self.training(network, "f16", 1.0, ["pure", "amp"], "the best of AMP and pure f16", batch=4)

    def training(self, network, element, wanted, names, said, memory=None, batch=64):
        """The time of a training step and its memory, the latter against `memory`'s, or the fastest way's."""
        row, ways, best = self.against(network, "training", batch, element, wanted, names, said)
        self.memory(f"memory of that step, {element}", row, ways, memory or best, wanted)
        if network == "resnet50":
            again, _ = self.networks(network, "training, stem again", 64, element)
            ours, theirs = again and again["throughput_ms"], (ways.get(best) or {}).get("ms")
            self.add(f"that step, {element}, with the stem made again" + ("" if wanted else " (no goal)"), wanted,
                     ours and f"{ours:.2f} ms", theirs and f"{theirs:.2f} ms ({best})",
                     theirs / ours if ours and theirs else None)
            self.memory(f"memory of that step, {element}, with the stem made again", again, ways, memory or best, wanted)

    def memory(self, said, row, ways, way, wanted):
        """The memory of a step against that of one of the peer's ways."""
        ours, theirs = (row or {}).get("peak_bytes"), (ways.get(way) or {}).get("peak_bytes")
        rest = [f"{name} {one['peak_bytes'] / MIB:.0f} MiB" for name, one in ways.items()
                if one["peak_bytes"] and name != way]
        self.add(said + ("" if wanted else " (no goal)"), 1.0 if wanted else 0.0,
                 ours and f"{ours / MIB:.0f} MiB", theirs and f"{theirs / MIB:.0f} MiB ({way})",
                 theirs / ours if ours and theirs else None, ", ".join(rest))

    def gemm(self):
        rows, ways = merged(self.ours.get("gemm", []), "median_ms"), ways_of(self.peers.get("gemm", []))
        for size, element, wanted in [(4096, "f16", 0.5), (1024, "f16", 1.0), (4096, "f32", 0.9), (1024, "f32", 0.9)]:
            found = [name for name, row in rows.items() if squares(row) == size and row["element"] == element]
            row, way = (rows[found[0]], ways.get(found[0], {})) if found else (None, {})
            ours, flops = row and row["median_ms"], 2 * size**3
            rate = {name: one["ms"] and flops / one["ms"] / 1e9 for name, one in way.items()}
            eager, graph = rate.get("eager"), rate.get("graph")
            own = ours and flops / ours / 1e9
            beside = f"CUDA graph {graph:.1f} TFLOP/s: {own / graph:.2f}" if own and graph else ""
            self.add(f"GEMM {size}, {element}, as launched", wanted, own and f"{own:.1f} TFLOP/s",
                     eager and f"{eager:.1f} TFLOP/s (eager)", own / eager if own and eager else None, beside)

    def layers(self):
        rows, ways = merged(self.ours.get("layers", []), "median_ms"), ways_of(self.peers.get("layers", []))
        for element, wanted in [("f16", 0.8), ("f32", 1.0)]:
            for op, said in PASSES:
                ratios, all_layers = {}, 0
                for name, row in rows.items():
                    if row.get("op") != op or row["element"] != element:
                        continue
                    all_layers += 1
                    theirs = (ways.get(name, {}).get("graph") or {}).get("ms")
                    if row["median_ms"] and theirs:
                        ratios[f"{row['shape']} {strides(row)}".strip()] = theirs / row["median_ms"]
                goal = f"ResNet-50's convolutions, batch 64, {element}, {said}"
                mean = geometric(list(ratios.values()))
                least = min(ratios, key=ratios.get, default=None)
                many = f"{len(ratios)} of {all_layers} layers" if all_layers else None
                theirs, whole = "CUDA graph" if ratios else None, len(ratios) == all_layers
                self.add(f"{goal}: geometric mean", wanted, many, theirs, mean, whole=whole)
                if element == "f16":
                    under = sorted((ratio, layer) for layer, ratio in ratios.items() if ratio < 0.4)
                    said = "; ".join(f"{layer}: {ratio:.2f}" for ratio, layer in under)
                    self.add(f"{goal}: the slowest layer", 0.4, least, theirs, ratios.get(least), said, whole or bool(under))

    def memory_bound(self):
        rows = merged(self.ours.get("memory-bound", []), "median_ms").values()
        timed = [row for row in rows if row["median_ms"] and row.get("floor_ms")]
        shares = sorted(((row["floor_ms"] / row["median_ms"], row) for row in timed), key=lambda one: one[0])
        under = [f"{row['name']} {row['shape']} {row['element']} {row['pass']}: {share:.0%}"
                 for share, row in shares if share < 0.85]
        least = shares[0][0] if shares else None
        said = f"{len(timed) - len(under)} of {len(rows)} kernels" if timed else None
        self.add("memory-bound kernels: share of the floor, the least", 0.85, said, "a copy, same run" if timed else None,
                 least, "; ".join(under), len(timed) == len(rows) or bool(under))

    def visual_tokens(self):
        """Attention between tokens and pixels: forward beside its floor, and forward and backward beside the peer's ways."""
        rows, ways = merged(self.ours.get("vt", []), "median_ms"), ways_of(self.peers.get("vt", []))
        cases = {}
        for name, row in rows.items():
            if row["element"] == "f16" and row["median_ms"]:
                # The gradients of a case stand behind it.
                if row["pass"] == "forward":
                    case = cases[len(cases)] = {"rows": [], "names": []}
                case["rows"].append(row)
                case["names"].append(name)
        for case in cases.values():
            forward = case["rows"][0]
            of, what = forward["name"].split("(")[-1].rstrip(")"), kind(forward)
            wanted = FLOORS.get(of, 0.0) if what != "self-attention" else 0.0
            for row in case["rows"]:
                self.add(f"{what}, {of}, {'forward' if row is forward else 'backward'}: share of the floor", wanted,
                         f"{1e3 * row['median_ms']:.1f} us", f"{1e3 * row['floor_ms']:.1f} us (floor)",
                         row["floor_ms"] / row["median_ms"])
            both = [ways.get(name, {}) for name in case["names"]]
            sums = {way: sum(one[way]["ms"] for one in both) for way in ["graph", "eager", "compile"]
                    if all((one.get(way) or {}).get("ms") for one in both)}
            ours = sum(row["median_ms"] for row in case["rows"])
            best = min(sums, key=sums.get, default=None)
            rest = [f"{way} {1e3 * ms:.1f} us" for way, ms in sums.items() if way != best]
            rest += [f"sdpa, forward alone {1e3 * one['sdpa']['ms']:.1f} us" for one in both[:1] if (one.get("sdpa") or {}).get("ms")]
            self.add(f"{what}, {of}, forward and backward", 2.0 if wanted else 1.5, f"{1e3 * ours:.1f} us",
                     best and f"{1e3 * sums[best]:.1f} us ({best})", best and sums[best] / ours, ", ".join(rest))

    def portable(self):
        for passed, batch, element, theirs, who, wanted in PORTABLE:
            row, _ = self.networks("resnet50", passed, batch, element)
            ours = row and row["throughput_ms"]
            self.add(f"ResNet-50 {passed}, batch {batch}, {element}, against the best portable peer", wanted,
                     ours and f"{ours:.2f} ms", f"{theirs} ms ({who})", theirs / ours if ours else None)

    def markdown(self):
        lines = ["| goal | wanted | ours | theirs | ratio | reached | beside |", "|---|---|---|---|---|---|---|"]
        for row in self.rows:
            ratio = "not measured" if row["ratio"] is None else f"{row['ratio']:.2f}"
            reached = {None: "?", True: "yes", False: "**no**"}[row["reached"]] if row["wanted"] else "-"
            wanted = row["wanted"] or "-"
            cells = [row["goal"], wanted, row["ours"] or "", row["theirs"] or "", ratio, reached, row["beside"]]
            lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
        return "\n".join(lines)


def squares(row):
    """The size of a product of two square matrices; None for another."""
    shapes = [given["shape"] for given in row.get("inputs", [])]
    sizes = {size for shape in shapes for size in shape}
    return sizes.pop() if row.get("op") == "matmul" and len(sizes) == 1 and all(len(one) == 2 for one in shapes) else None


def kind(row):
    """What an attention is for, by who asks whom."""
    queries, keys = (given["shape"][1] for given in row["inputs"][:2])
    return "self-attention" if queries == keys else "tokenizer" if queries < keys else "projector"


def strides(row):
    stride = (row.get("attributes") or {}).get("stride")
    return "" if stride in (None, 1, [1, 1]) else f"stride {stride}"
