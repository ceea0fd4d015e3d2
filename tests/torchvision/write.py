#!/usr/bin/env python3
"""Writes what torchvision says of ResNet-18 and ResNet-50, and of pictures, for tests/torchvision.rs.

    python3 tests/torchvision/write.py        # Debian: apt-get install python3-torchvision

No weights are stored: every number of a state dict and of a batch is drawn by a counter (`drawn`), here and in Rust, from its
tensor's name. What is stored is small: names, types and shapes of the whole state dict, all logits, and of every gradient and
every running average after a step in training a few numbers at fixed places, in torchvision's own layouts. Computed in f64 from
numbers that f32 holds exactly. Seeded: equal files each time.
"""

import json
import os

import numpy
import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional as transforms

FOLDER = os.path.dirname(os.path.abspath(__file__))
SEED, CLASSES, BATCH, SIZE, SAMPLES = 7, 10, 2, 64, 4
STEP = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def mixed(z):
    """SplitMix64's mix, of numpy's u64, which wrap around."""
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return z ^ (z >> numpy.uint64(31))


def drawn(name, count):
    """`count` numbers of [0, 1) for a name: `Random::named(SEED, name)` of src/reference/random.rs."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    first = numpy.array([((SEED ^ state) + STEP) & MASK], dtype=numpy.uint64)
    first = int(mixed(first)[0])
    words = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(STEP) + numpy.uint64(first)
    return (mixed(words) >> numpy.uint64(11)).astype(numpy.float64) / float(1 << 53)


def between(name, shape, low, high):
    numbers = low + (high - low) * drawn(name, int(numpy.prod(shape)))
    return torch.from_numpy(numbers.astype(numpy.float32).astype(numpy.float64)).reshape(shape)


def bounds(name, shape):
    """From where to where a tensor of a state dict is drawn."""
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return 0.5, 1.5
    if len(shape) == 1:
        return -0.2, 0.2
    # The variance that keeps the size of values behind ReLUs, 2 / fan, is that of a uniform number up to sqrt(6 / fan).
    reach = (6.0 / numpy.prod(shape[1:])) ** 0.5
    return -reach, reach


def start(model):
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(between(name, tuple(tensor.shape), *bounds(name, tuple(tensor.shape))))


def sampled(name, tensor):
    """Where, and what: a few places of a tensor, and its largest absolute value."""
    flat = tensor.detach().double().reshape(-1)
    places = [int(place * flat.numel()) for place in drawn("places " + name, SAMPLES)]
    return {"largest": float(flat.abs().max()), "at": places, "is": [float(flat[place]) for place in places]}


def network(name):
    model = getattr(torchvision.models, name)(num_classes=CLASSES).double()
    start(model)
    state = [[key, str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in model.state_dict().items()]
    images = between("images", (BATCH, SIZE, SIZE, 3), -2.0, 2.0).permute(0, 3, 1, 2)
    labels = torch.tensor([3, 8])
    found = {"model": name, "seed": SEED, "classes": CLASSES, "images": [BATCH, SIZE, SIZE, 3], "labels": labels.tolist()}
    with torch.no_grad():
        found["logits"] = model.eval()(images).tolist()
    loss = torch.nn.functional.cross_entropy(model.train()(images), labels)
    loss.backward()
    found["loss"] = float(loss.detach())
    found["gradients"] = {key: sampled(key, value.grad) for key, value in model.named_parameters()}
    averages = {key: value for key, value in model.named_buffers() if "running" in key}
    found["averages"] = {key: sampled(key, value) for key, value in averages.items()}
    found["state"] = state
    with open(os.path.join(FOLDER, f"{name}.json"), "w") as file:
        lines = ",\n".join(f"{json.dumps(key)}: {rows(value)}" for key, value in found.items())
        file.write("{\n" + lines + "\n}\n")


def rows(value):
    """JSON, an entry a line where there are many."""
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(inner)}" for key, inner in value.items()) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + ",\n".join(json.dumps(inner) for inner in value) + "\n]"
    return json.dumps(value)


def picture(width, height):
    """Waves and edges in all three channels, neither square nor even."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.float64)
    red = 127.5 + 127.4 * numpy.sin(x / 3.1 + y / 17.0)
    green = 255.0 * ((x // 7 + y // 5) % 2)
    blue = 255.0 * x * y / ((width - 1) * (height - 1))
    return Image.fromarray(numpy.stack([red, green, blue], axis=2).astype(numpy.uint8), "RGB")


# Height and width of the picture; shorter side behind the resize; height and width of the crop.
VIEWS = [((61, 97), 32, (28, 28)), ((97, 61), 37, (28, 32)), ((20, 31), 48, (41, 41)), ((32, 32), 32, (32, 32))]


def pictures():
    """`pictures.json`: what torchvision's transforms make of pictures that Rust draws, too, and files of a picture."""
    cases = []
    for (height, width), resize, crop in VIEWS:
        noise = (256 * drawn(f"picture {height} {width}", height * width * 3)).astype(numpy.uint8)
        image = Image.fromarray(noise.reshape(height, width, 3), "RGB")
        view = transforms.center_crop(transforms.resize(image, [resize]), list(crop))
        gray = numpy.asarray(view.convert("L")).reshape(-1)
        numbers = transforms.normalize(transforms.to_tensor(view), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        cases.append({
            "picture": [height, width], "resize": resize, "crop": list(crop),
            "pixels": numpy.asarray(view).reshape(-1).tolist(),
            "gray_sum": int(gray.astype(int).sum()), "gray": gray[:64].tolist(),
            "numbers": numbers.permute(1, 2, 0).reshape(-1)[:96].tolist(),
        })
    image = picture(123, 91)
    image.save(os.path.join(FOLDER, "waves.png"), optimize=True)
    image.save(os.path.join(FOLDER, "waves.jpg"), quality=90, subsampling=0)
    Image.fromarray(numpy.asarray(image)[:, :, 1]).save(os.path.join(FOLDER, "gray.png"), optimize=True)
    decoded = numpy.asarray(Image.open(os.path.join(FOLDER, "waves.jpg")).convert("RGB"))
    seen = classified(image)
    with open(os.path.join(FOLDER, "pictures.json"), "w") as file:
        jpeg = {"size": [91, 123], "rows": decoded[::30].reshape(-1).tolist()}
        entries = {"views": cases, "waves": numpy.asarray(image)[::30].reshape(-1).tolist(), "jpeg": jpeg, "resnet18": seen}
        file.write("{\n" + ",\n".join(f"{json.dumps(key)}: {rows(value)}" for key, value in entries.items()) + "\n}\n")


def classified(image):
    """The logits that ResNet-18 gives `waves.png`, seen at 64x64 behind a resize to 73."""
    model = torchvision.models.resnet18(num_classes=CLASSES).double()
    start(model)
    view = transforms.center_crop(transforms.resize(image, [73]), [64, 64])
    numbers = transforms.normalize(transforms.to_tensor(view), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = model.eval()(numbers[None].double())[0]
    return {"resize": 73, "crop": [64, 64], "logits": logits.tolist()}


if __name__ == "__main__":
    for name in ("resnet18", "resnet50"):
        network(name)
    pictures()
