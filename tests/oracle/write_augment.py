#!/usr/bin/python3
"""Writes what Pillow makes of small pictures, and how two public readings of AutoAugment number its levels, for tests/augment.rs.

    /usr/bin/python3 tests/oracle/write_augment.py        # Debian 12: apt-get install python3-pil (9.4) python3-numpy

Of every result the digest is stored (FNV-1a, 32 bits). Whole policies and crops are drawn from SplitMix64 in the order that
`Reading::draw` and `random_crop` say. Seeded: equal files each time.
"""

import json
import math
import os

import numpy
import PIL
from PIL import Image, ImageEnhance, ImageOps

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "augment.json")
MASK = (1 << 64) - 1
FILTERS = {
    "Nearest": Image.Resampling.NEAREST,
    "Bilinear": Image.Resampling.BILINEAR,
    "Bicubic": Image.Resampling.BICUBIC,
}
MOVES = ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"]
ENHANCES = ["Color", "Contrast", "Brightness", "Sharpness"]


class Random:
    """SplitMix64::of(words) of src/train/batches.rs."""

    def __init__(self, *words):
        self.state = 0
        for word in words:
            self.state = self.bits() ^ word
        self.state = self.bits()

    def bits(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, bound):
        return (self.bits() * bound) >> 64

    def between(self, least, most):
        return least + (most - least) * ((self.bits() >> 11) / (1 << 53))


def digest(array):
    state = 0x811C9DC5
    for byte in array.tobytes():
        state = ((state ^ byte) * 0x1000193) & 0xFFFFFFFF
    return f"{state:08x}"


def pictures():
    """Arrays [height, width, channels] by name."""
    random = numpy.random.RandomState(7)
    noise = lambda *shape: random.randint(0, 256, shape).astype(numpy.uint8)
    y, x = numpy.mgrid[0:40, 0:52]
    waves = [128 + 90 * numpy.sin(x / 7 + channel) * numpy.cos(y / (5 + channel)) + random.normal(0, 6, x.shape) for channel in range(3)]
    garment = noise(28, 28, 1) // 2 + 90
    garment[:4], garment[:, 20:] = 0, 0
    return {
        "waves": numpy.clip(numpy.stack(waves, 2), 0, 255).astype(numpy.uint8),
        "garment": garment,
        "noise": noise(13, 17, 3),
        "gray noise": noise(19, 8, 1),
        "square": noise(9, 9, 3),
        "pixel": noise(1, 1, 3),
        "row": noise(1, 9, 3),
        "column": noise(8, 1, 1),
        "flat": numpy.full((7, 5, 3), (3, 200, 77), numpy.uint8),
        "black and white": numpy.where(noise(12, 10, 1) < 99, 0, 255).astype(numpy.uint8),
        "two values": numpy.where(noise(24, 16, 3) < 70, 100, 101).astype(numpy.uint8),
        # The last of its values are so few that Equalize would go beyond 255.
        "steep": numpy.where(noise(23, 33, 1) < 250, noise(23, 33, 1) % 3, 9).astype(numpy.uint8),
    }


def image_of(array):
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def array_of(image):
    array = numpy.asarray(image)
    return array if array.ndim == 3 else array[:, :, None]


def changed(image, operation, by, kernel):
    fill = 128 if image.mode == "L" else (128, 128, 128)
    affine = lambda *numbers: image.transform(image.size, Image.Transform.AFFINE, numbers, FILTERS[kernel], fillcolor=fill)
    if operation == "ShearX":
        return affine(1, by, 0, 0, 1, 0)
    if operation == "ShearY":
        return affine(1, 0, 0, by, 1, 0)
    if operation == "TranslateX":
        return affine(1, 0, by * image.size[0], 0, 1, 0)
    if operation == "TranslateY":
        return affine(1, 0, 0, 0, 1, by * image.size[1])
    if operation == "Rotate":
        turned = image.rotate(by, FILTERS[kernel], fillcolor=fill)
        if kernel == "Nearest":
            # DeepVoltaire's way, which only gray 128 can take: see-through beyond the border, and laid on gray.
            clear = image.convert("RGBA").rotate(by)
            laid = Image.composite(clear, Image.new("RGBA", clear.size, (128,) * 4), clear).convert(image.mode)
            assert laid.tobytes() == turned.tobytes()
        return turned
    if operation in ENHANCES:
        return getattr(ImageEnhance, operation)(image).enhance(by)
    if operation == "Posterize":
        return ImageOps.posterize(image, int(by))
    if operation == "Solarize":
        return ImageOps.solarize(image, by)
    return getattr(ImageOps, operation.lower())(image)


def deep_voltaire():
    """Numbers of levels 0 to 9: what ranges that repository gives numpy."""
    line = lambda start, end: numpy.linspace(start, end, 10)
    return {
        **{name: line(0, 0.3) for name in MOVES[:2]},
        **{name: line(0, 150 / 331) for name in MOVES[2:4]},
        "Rotate": line(0, 30),
        **{name: line(0.0, 0.9) for name in ENHANCES},
        "Posterize": numpy.round(line(8, 4), 0).astype(int),
        "Solarize": line(256, 0),
    }


def timm():
    """The same of timm: PosterizeOriginal, Solarize, the enhancing ones that do not increase, translations by a share of the picture."""
    line = lambda number: [number(level / 10.0) for level in range(10)]
    return {
        **{name: line(lambda part: part * 0.3) for name in MOVES[:2]},
        **{name: line(lambda part: part * 0.45) for name in MOVES[2:4]},
        "Rotate": line(lambda part: part * 30.0),
        **{name: line(lambda part: part * 1.8 + 0.1) for name in ENHANCES},
        "Posterize": line(lambda part: int(part * 4) + 4),
        "Solarize": line(lambda part: int(part * 256)),
    }


MAGNITUDES = {"DeepVoltaire": deep_voltaire(), "Timm": timm()}

# As both repositories list them: operation, probability, level.
POLICY = """
Posterize .4 8, Rotate .6 9; Solarize .6 5, AutoContrast .6 5; Equalize .8 8, Equalize .6 3; Posterize .6 7, Posterize .6 6;
Equalize .4 7, Solarize .2 4; Equalize .4 4, Rotate .8 8; Solarize .6 3, Equalize .6 7; Posterize .8 5, Equalize 1. 2;
Rotate .2 3, Solarize .6 8; Equalize .6 8, Posterize .4 6; Rotate .8 8, Color .4 0; Rotate .4 9, Equalize .6 2;
Equalize .0 7, Equalize .8 8; Invert .6 4, Equalize 1. 8; Color .6 4, Contrast 1. 8; Rotate .8 8, Color 1. 2;
Color .8 8, Solarize .8 7; Sharpness .4 7, Invert .6 8; ShearX .6 5, Equalize 1. 9; Color .4 0, Equalize .6 3;
Equalize .4 7, Solarize .2 4; Solarize .6 5, AutoContrast .6 5; Invert .6 4, Equalize 1. 8; Color .6 4, Contrast 1. 8;
Equalize .8 8, Equalize .6 3
"""


def policy():
    entry = lambda name, part, level: [name, round(float(part) * 10), int(level)]
    return [[entry(*words.split()) for words in line.split(",")] for line in POLICY.split(";")]


def applied(image, reading, random):
    """A whole policy, drawn as `Reading::draw` says."""
    for operation, tenths, level in policy()[random.below(25)]:
        if random.below(10) >= tenths:
            continue
        by = MAGNITUDES[reading].get(operation, [0] * 10)[level]
        signed = lambda: -by if random.below(2) == 1 else by
        if operation in MOVES:
            by = signed()
        elif operation in ENHANCES and reading == "DeepVoltaire":
            by = 1 + signed()
        if reading == "Timm":
            kernel = ["Bilinear", "Bicubic"][random.below(2)] if operation in MOVES else None
        else:
            kernel = "Bicubic" if operation.startswith("Shear") else "Nearest"
        image = changed(image, operation, by, kernel)
    return image


def crop(height, width, random):
    """torchvision's RandomResizedCrop.get_params, with 53 random bits a number where it has 24."""
    for _ in range(10):
        area = height * width * random.between(0.08, 1.0)
        ratio = math.exp(random.between(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return [random.below(height - h + 1), random.below(width - w + 1), h, w]
    w, h = width, height
    if width / height < 3 / 4:
        h = round(width / (3 / 4))
    elif width / height > 4 / 3:
        w = round(height * (4 / 3))
    return [(height - h) // 2, (width - w) // 2, h, w]


def numbers_of():
    """Rows of operation, number and filter."""
    both = lambda numbers: sorted({sign * number for number in numbers for sign in (-1, 1)})
    shares = both([0, 0.1, 1 / 6, 0.3, 0.45, 150 / 331, 1.5])
    rows = [(name, by, kernel) for kernel in FILTERS for name in MOVES[:4] for by in shares]
    degrees = both([0, 10, 24, 27, 30, 80 / 3, 45, 90, 180]) + [270, 360]
    rows += [("Rotate", by, kernel) for kernel in FILTERS for by in degrees]
    # So far beyond the border that Pillow no longer counts in whole numbers.
    rows += [("ShearX", 4000.3, "Nearest"), ("ShearY", -40000.7, "Nearest")]
    factors = sorted({0, 0.1, 0.46, 0.82, 1, 1.36, 1.54, 1.72, 1.9} | {1 + sign * 0.1 * level for level in range(10) for sign in (-1, 1)})
    rows += [(name, by, "Nearest") for name in ENHANCES for by in factors + [-0.5, 30]]
    rows += [("Posterize", by, "Nearest") for by in range(9)]
    rows += [("Solarize", by, "Nearest") for by in sorted({*MAGNITUDES["DeepVoltaire"]["Solarize"], *MAGNITUDES["Timm"]["Solarize"], 1, 255})]
    return rows + [(name, 0, "Nearest") for name in ("AutoContrast", "Equalize", "Invert")]


def main():
    assert PIL.__version__ == "9.4.0", "another Pillow: look first what it computes otherwise"
    all_pictures = pictures()
    images = [image_of(array) for array in all_pictures.values()]
    changes = [
        [name, float(by), kernel, [digest(array_of(changed(image, name, by, kernel))) for image in images]]
        for name, by, kernel in numbers_of()
    ]
    whole = {
        reading: [digest(array_of(applied(images[seed % len(images)], reading, Random(seed)))) for seed in range(600)]
        for reading in MAGNITUDES
    }
    sizes = [(224, 224), (1, 1), (28, 28), (375, 500), (41, 400), (400, 41), (3, 2), (1, 100), (77, 50)]
    told = {
        "pictures": [[name, *array.shape, array.tobytes().hex()] for name, array in all_pictures.items()],
        "changes": changes,
        "magnitudes": {reading: {name: [float(n) for n in row] for name, row in rows.items()} for reading, rows in MAGNITUDES.items()},
        "policy": policy(),
        "applied": whole,
        "crops": [[*size, seed, crop(*size, Random(seed))] for size in sizes for seed in range(20)],
    }
    rows = lambda kind: ",\n".join(json.dumps(row, separators=(",", ":")) for row in told[kind])
    lists = ",\n".join(f'"{kind}":[\n{rows(kind)}\n]' for kind in ("pictures", "changes", "policy", "crops"))
    rest = ",\n".join(f'"{kind}":{json.dumps(told[kind], separators=(",", ":"))}' for kind in ("magnitudes", "applied"))
    with open(OUT, "w", encoding="utf-8") as file:
        file.write(f"{{\n{lists},\n{rest}\n}}\n")


if __name__ == "__main__":
    main()
