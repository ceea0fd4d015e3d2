#!/usr/bin/env python3
"""Draws how time and memory of tokenizer and projector grow with the pixels of a map.

Usage: growth.py OURS.json OUT.svg [PEER.json]

OURS.json is what `vistok bench vt-pixels f16 --json` says, PEER.json what `benches/peers/pytorch.py` says of it.
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, PANEL = 860, 400, 66, 56, 330
COLOURS = {"tokenizer": "#1f6fb2", "projector": "#c2561a"}


def rows(path):
    with open(path, encoding="utf-8") as file:
        document, _ = json.JSONDecoder().raw_decode(file.read())
    return document


def kinds(document, of):
    """Which part → pixels → the sum of `of` over forward and backward."""
    found = {}
    for row in document["rows"]:
        shapes = [tensor["shape"] for tensor in row["inputs"]]
        pixels = max(shape[1] for shape in shapes[:2])
        part = "tokenizer" if shapes[0][1] < shapes[1][1] else "projector"
        value = of(row)
        if value is not None:
            found.setdefault(part, {}).setdefault(pixels, []).append(value)
    return {part: {pixels: sum(both) for pixels, both in sorted(all.items()) if len(both) == 2} for part, all in found.items()}


class Panel:
    """Two logarithmic axes."""

    def __init__(self, at, title, unit, low, high):
        self.x0, self.low, self.high = LEFT + at * (PANEL + 88), low, high
        self.parts = [f'<text x="{self.x0}" y="{TOP - 26}" class="title">{title}</text>',
                      f'<text x="{self.x0}" y="{TOP - 10}">{unit}</text>']
        for power in range(2, 7):
            x = self.x(10**power)
            self.parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{TOP + 270}" class="grid"/>')
            self.parts.append(f'<text x="{x:.1f}" y="{TOP + 288}" text-anchor="middle">10<tspan dy="-5" font-size="9">{power}</tspan></text>')
        for power in range(low, high + 1):
            y = self.y(10.0**power)
            self.parts.append(f'<line x1="{self.x0}" y1="{y:.1f}" x2="{self.x0 + PANEL}" y2="{y:.1f}" class="grid"/>')
            said = f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
            self.parts.append(f'<text x="{self.x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>')
        self.parts.append(f'<text x="{self.x0 + PANEL / 2}" y="{TOP + 308}" text-anchor="middle">pixels of the map</text>')

    def x(self, pixels):
        return self.x0 + (math.log10(pixels) - 2) / 4 * PANEL

    def y(self, value):
        return TOP + 270 - (math.log10(value) - self.low) / (self.high - self.low) * 270

    def curve(self, points, colour, dashed=False):
        places = [(self.x(pixels), self.y(value)) for pixels, value in points.items() if value]
        style = f'fill="none" stroke="{colour}" stroke-width="2"' + (' stroke-dasharray="5 4"' if dashed else "")
        self.parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" {style}/>')
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places if not dashed]


def main():
    ours = rows(sys.argv[1])
    peer = rows(sys.argv[3]) if len(sys.argv) > 3 else {"rows": []}
    time = Panel(0, "Time, forward and backward", "microseconds", 0, 4)
    memory = Panel(1, "Memory, the backward pass", "MiB", -1, 4)
    microseconds = lambda row: row.get("median_ms") and 1e3 * row["median_ms"]
    for part, points in kinds(peer, microseconds).items():
        time.curve(points, COLOURS[part], dashed=True)
    for part, points in kinds(ours, microseconds).items():
        time.curve(points, COLOURS[part])
    backward = {"rows": [row for row in ours["rows"] if row["op"] == "attend_backward"] * 2}
    for part, points in kinds(backward, lambda row: row["held_bytes"] / 2 / 2**20).items():
        memory.curve(points, COLOURS[part])
    legend, y = [], HEIGHT - 18
    for at, (part, colour) in enumerate(COLOURS.items()):
        legend.append(f'<text x="{LEFT + 150 * at + 26}" y="{y}">{part}</text>')
        legend.append(f'<line x1="{LEFT + 150 * at}" y1="{y - 4}" x2="{LEFT + 150 * at + 20}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>')
    if peer["rows"]:
        legend.append(f'<line x1="{LEFT + 300}" y1="{y - 4}" x2="{LEFT + 320}" y2="{y - 4}" stroke="#555" stroke-width="2" stroke-dasharray="5 4"/>')
        legend.append(f'<text x="{LEFT + 326}" y="{y}">{peer["name"].split(",")[0]}, the better of launched and CUDA graph</text>')
    style = ("text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold } .grid { stroke: #ddd } "
             "rect { fill: #fff }")
    body = "\n".join([*time.parts, *memory.parts, *legend])
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">\n'
                   f"<style>{style}</style>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n{body}\n</svg>\n")


if __name__ == "__main__":
    main()
