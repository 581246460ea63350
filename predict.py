"""Classifies images with a network that `main.py --export DIR` wrote.

    python predict.py DIR/network.onnx photo.jpg photos/
    find photos -name '*.jpg' | python predict.py DIR/network.onnx - --csv
    python predict.py DIR/network.onnx labelled/ --measure     # labelled/<class>/photo.jpg

Another machine needs only this file and the network, Python 3.11 or later, and
`pip install onnxruntime numpy pillow`. A folder stands for all images below it, - for a list of
paths on standard input. If the network has a threshold, the answer is "not sure" if the
probability of the likeliest class is below it.

Exit codes: 0 success, 1 an image could not be read (the others are answered), 2 invalid input.
"""

import argparse
import csv
import importlib.util
import itertools
import json
import os
import re
import sys

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp"),
    *(".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".tif", ".tiff"),
)
CROPS = ("centre", "pad", "stretch")
PACKAGES = {"onnxruntime": "onnxruntime", "numpy": "numpy", "PIL": "pillow"}
BATCH = 64  # images
NOT_SURE = "not sure"
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # orientation in EXIF -> Pillow's transpose


class Mistake(ValueError):
    """Invalid user input; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """Raises a Mistake of one sentence."""

    def error(self, message):
        """Raises argparse's own errors as a Mistake."""
        flags = ", ".join(f for f in self._option_string_actions if f.startswith("--"))
        raise Mistake(f"{message.removeprefix('argument ')}; the flags are {flags}")


class Network:
    """An exported network: `classes`, `image_size`, `crop`, `threshold` (or None), `answer`."""

    def __init__(self, path):
        import onnxruntime

        if not os.path.isfile(path):
            raise Mistake(f"there is no file {path}; name the network.onnx of main.py --export")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        try:
            providers = ["CPUExecutionProvider"]
            self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime has a dozen error types
            words = str(error).splitlines()[0]
            raise Mistake(f"{path} is not a network that ONNX Runtime can read: {words}") from None
        facts = self.session.get_modelmeta().custom_metadata_map
        try:
            self.classes = json.loads(facts["classes"])
            self.image_size = int(facts["image_size"])
            self.crop = facts.get("crop", "centre")
            self.threshold = float(facts["threshold"]) if facts.get("threshold") else None
        except (KeyError, ValueError) as error:
            words = f"its metadata has no usable {error}"
            raise Mistake(f"{path} is not a network of main.py --export: {words}") from None
        if self.crop not in CROPS:
            raise Mistake(f"{path}: crop is {self.crop!r}; allowed is {', '.join(CROPS)}")

    def answer(self, files, top):
        """{"file", "answer", "classes"} for each (path, pixels), with the `top` likeliest."""
        import numpy as np

        pixels = np.stack([image for _, image in files])
        for (path, _), row in zip(files, self._probabilities(pixels), strict=True):
            order = np.argsort(-row, kind="stable")
            sure = self.threshold is None or row[order[0]] >= self.threshold
            yield {
                "file": path,
                "answer": self.classes[order[0]] if sure else NOT_SURE,
                "classes": [
                    {"class": self.classes[i], "probability": round(float(row[i]), 6)}
                    for i in order[:top]
                ],
            }

    def _probabilities(self, pixels):
        return self.session.run(["probabilities"], {"pixels": pixels})[0]


def read_image(path, size, crop="centre"):
    """An image, upright, antialiased to uint8 (size, size, 3), RGB, exactly as in training.

    crop: how it becomes a square. "centre" keeps the central square, "pad" keeps the whole image
    between black bars, "stretch" keeps it all without its proportions. Mistake if the file is not
    an image.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as file:
            kind, image = file.format, upright(file)
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_eight_bits(np.asarray(image), image.mode, kind))
        if image.has_transparency_data:  # shown on white, as on paper
            drawn = image.convert("RGBA")
            if drawn.getextrema()[3][1]:  # else nothing would be seen: an unused channel
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), drawn)
        return np.array(_square(image.convert("RGB"), size, crop))
    except Exception as error:  # Pillow's readers raise nearly anything on a broken file
        raise Mistake(f"{path} cannot be decoded as an image ({error})") from None


def upright(image):
    """A copy, rotated by its EXIF orientation. Pillow's own function fails at odd EXIF entries."""
    image.load()  # this rotates a TIFF, and updates its orientation
    turn = _TURNS.get(image.getexif().get(0x0112))  # the orientation; 1 is upright
    return image.copy() if turn is None else image.transpose(turn)


def _square(image, size, crop):
    """See `read_image`. Pillow's bilinear filter antialiases when it reduces."""
    from PIL import Image

    width, height = size, size
    if crop == "centre":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    elif crop == "pad":
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if (width, height) == (size, size):
        return image
    framed = Image.new("RGB", (size, size))
    framed.paste(image, ((size - width) // 2, (size - height) // 2))
    return framed


def _eight_bits(pixels, mode, kind):
    """Pixels of 16 or 32 bits as uint8; Pillow itself would clip them to black or white.

    A file of 32 bits does not define white: fractions count as shares of it, whole numbers as 16
    bits. ValueError for anything else.
    """
    least, most = pixels.min(), pixels.max()
    words = f"its pixels of 32 bits go from {least:g} to {most:g}"
    if mode == "F":
        if not (0 <= least and most <= 1):  # nor if one is NaN
            raise ValueError(f"{words}; allowed are fractions from 0 to 1, or 8 or 16 bits")
        return (pixels * 255).round().astype("uint8")
    unsure = mode == "I" and kind != "PPM" and 0 < most <= 255  # white would be nearly black
    if least < 0 or most > 65535 or unsure:
        raise ValueError(f"{words}; allowed is up to 65535, and more than 255, or 8 or 16 bits")
    return (pixels // 257).astype("uint8")


def find_images(places):
    """The files that the places stand for; Mistake if there are none."""
    found = []
    for place in places:
        if place == "-":
            found += [line for line in sys.stdin.read().splitlines() if line.strip()]
        elif os.path.isdir(place):
            found += _below(place)
        else:
            found.append(place)
    if not found:
        raise Mistake(f"no image in {', '.join(places)}; allowed are {' '.join(SUFFIXES)}")
    return found


def _below(folder):
    """Images of a folder and its subfolders, in natural order, without hidden ones."""
    found, seen = [], set()
    for where, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:  # a link to a folder that was read
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((n for n in folders if not n.startswith(".")), key=natural)
        images = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
        found += [os.path.join(where, name) for name in sorted(images, key=natural)]
    return found


def natural(name):
    """Sort key that puts image_2 before image_10; the name itself breaks ties."""
    return [int(p) if i % 2 else p for i, p in enumerate(re.split(r"([0-9]+)", name))], name


def read_all(network, files, bad):
    """Batches of (path, pixels); reports bad files on standard error and adds them to `bad`."""

    def readable():
        for path in files:
            try:
                if not os.path.isfile(path):
                    raise Mistake(f"there is no file {path}")
                yield path, read_image(path, network.image_size, network.crop)
            except Mistake as error:
                bad.append(path)
                print(f"predict.py: {error}; it is skipped", file=sys.stderr)

    images = readable()
    while batch := list(itertools.islice(images, BATCH)):
        yield batch


def write_table(answers, files, classes):
    """Prints columns: file, answer, and the likeliest classes with their probabilities."""
    wide, broad = (max(map(len, [*words, NOT_SURE])) for words in (files, classes))
    print(f"{'file':{wide}}  {'answer':{broad}}  probabilities")
    for one in answers:
        shares = [f"{part['class']} {part['probability']:.4f}" for part in one["classes"]]
        print(f"{one['file']:{wide}}  {one['answer']:{broad}}  {', '.join(shares)}")


def write_json(answers, *_):
    """Prints one JSON list of objects."""
    print(json.dumps(list(answers), indent=1, ensure_ascii=False))


def write_csv(answers, *_):
    """Prints a CSV with a header: file, answer, class_1, probability_1, ..."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, one in enumerate(answers):
        if number == 0:
            ranks = range(1, len(one["classes"]) + 1)
            names = (f"{name}_{rank}" for rank in ranks for name in ("class", "probability"))
            writer.writerow(["file", "answer", *names])
        pairs = [value for part in one["classes"] for value in part.values()]
        writer.writerow([one["file"], one["answer"], *pairs])


def write_measures(answers, _, classes):
    """Prints precision and recall of each class, their means, and top-1; folders name classes."""
    import numpy as np

    counts = np.zeros((len(classes), len(classes)), int)  # class, likeliest class
    for one in answers:
        name = os.path.basename(os.path.dirname(os.path.abspath(one["file"])))
        if name not in classes:
            known = ", ".join(classes)
            raise Mistake(f"{one['file']}: its folder {name!r} is no class; allowed are {known}")
        counts[classes.index(name), classes.index(one["classes"][0]["class"])] += 1
    images, right = counts.sum(1), counts.diagonal()
    shares = np.stack([right / np.maximum(counts.sum(0), 1), right / np.maximum(images, 1)])
    rows = [*zip(classes, images, *shares, strict=True)]
    if images.any():
        rows.append(("mean", images.sum(), *shares[:, images > 0].mean(1)))
    wide = max(map(len, [*classes, "mean"]))
    print(f"{'class':{wide}}  images  precision  recall")
    for name, count, precision, recall in rows:
        print(f"{name:{wide}}  {count:6}  {precision:9.4f}  {recall:6.4f}")
    print(f"top-1: {right.sum() / max(images.sum(), 1):.4f}")


FORMATS = {"json": write_json, "csv": write_csv, "measure": write_measures}


def run(argv=None):
    """Reads, predicts, prints; returns the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=raw)
    parser.add_argument("model", metavar="MODEL", help="network.onnx or network.int8.onnx")
    parser.add_argument("images", metavar="IMAGE_OR_FOLDER", nargs="+", help="- reads a list")
    parser.add_argument("--top", type=int, metavar="N", help="classes to show [3]")
    for name, write in FORMATS.items():
        parser.add_argument(f"--{name}", action="store_true", help=write.__doc__)
    given = parser.parse_intermixed_args(argv)
    chosen = [name for name in FORMATS if getattr(given, name)]
    if len(chosen) > 1:
        raise Mistake(f"--{chosen[0]} cannot go with --{chosen[1]}; allowed is one of them")
    missing = [package for name, package in PACKAGES.items() if not importlib.util.find_spec(name)]
    if missing:
        raise Mistake(f"{missing[0]} is not installed; run: pip install {' '.join(missing)}")
    network, bad = Network(given.model), []
    count = len(network.classes)
    top = min(3, count) if given.top is None else given.top
    if not 1 <= top <= count:
        words = f"allowed is 1 to {count}; the nearest is {min(max(top, 1), count)}"
        raise Mistake(f"--top cannot be {top}; {words}")
    if hasattr(sys.stdin, "reconfigure"):  # file names may not be valid text
        sys.stdin.reconfigure(errors="surrogateescape")
    if hasattr(sys.stdout, "reconfigure"):  # Windows writes other encodings to files
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    files = find_images(given.images)
    batches = read_all(network, files, bad)
    answers = itertools.chain.from_iterable(network.answer(batch, top) for batch in batches)
    write = FORMATS[chosen[0]] if chosen else write_table
    write(answers, files, network.classes)
    sys.stdout.flush()
    return 1 if bad else 0


def main(argv=None):
    """The command line; returns the exit code."""
    try:
        return run(argv)
    except Mistake as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("predict.py: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
