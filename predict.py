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
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

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
        rows = self.session.run(["probabilities"], {"pixels": pixels})[0]
        for (path, _), row in zip(files, rows, strict=True):
            order = np.argsort(-row, kind="stable")
            sure = self.threshold is None or row[order[0]] >= self.threshold
            answer = self.classes[order[0]] if sure else NOT_SURE
            ranked = [(self.classes[i], round(float(row[i]), 6)) for i in order[:top]]
            classes = [{"class": name, "probability": share} for name, share in ranked]
            yield {"file": path, "answer": answer, "classes": classes}


def read_image(path, size, crop="centre"):
    """An image, upright, antialiased to uint8 (size, size, 3), RGB, exactly as in training.

    crop: how it becomes a square. "centre" keeps the central square, "pad" keeps the whole image
    between black bars, "stretch" keeps it all without its proportions. Mistake if the file is not
    an image.
    """
    import numpy as np
    from PIL import Image

    Image.init()  # `open` would load formats as needed, which is not safe in threads
    try:
        with Image.open(path) as file:
            file.draft(None, (4 * size, 4 * size))  # decodes a large JPEG at a reduced scale
            kind, image = file.format, upright(file)
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_eight_bits(np.asarray(image), image.mode, kind))
        if image.has_transparency_data:  # shown on white, as on paper
            drawn = image.convert("RGBA")
            if drawn.getextrema()[3][1]:  # else nothing would be seen: an unused channel
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), drawn)
        return np.array(_square(image.convert("RGB"), size, crop))
    except Exception as error:  # Pillow's readers raise nearly anything on a broken file
        if isinstance(error, MemoryError):  # which says nothing about the file
            raise
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
        images = sorted((n for n in names if n.lower().endswith(SUFFIXES)), key=natural)
        found += [os.path.join(where, name) for name in images if not name.startswith(".")]
    return found


def natural(name):
    """Sort key that puts image_2 before image_10; the name itself breaks ties."""
    return [int(p) if i % 2 else p for i, p in enumerate(re.split(r"([0-9]+)", name))], name


def read_all(network, files, bad):
    """Batches of (path, pixels); reports bad files on standard error and adds them to `bad`."""

    def read(path):
        try:
            if not os.path.isfile(path):
                raise Mistake(f"there is no file {path}")
            return read_image(path, network.image_size, network.crop)
        except Mistake as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), BATCH):
            some, batch = files[start : start + BATCH], []
            for path, result in zip(some, pool.map(read, some), strict=True):
                if isinstance(result, Mistake):
                    bad.append(path)
                    print(f"predict.py: {result}; it is skipped", file=sys.stderr)
                else:
                    batch.append((path, result))
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


def write_measures(answers, files, classes):
    """Prints precision and recall of each class, their means, and top-1; folders name classes."""
    import numpy as np

    folders = {path: os.path.basename(os.path.dirname(os.path.abspath(path))) for path in files}
    for path, name in folders.items():
        if name not in classes:
            known = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise Mistake(f"{path}: its folder {name!r} is no class; allowed are {known}")
    counts = np.zeros((len(classes), len(classes)), int)  # class, likeliest class
    for one in answers:
        answer = one["classes"][0]["class"]
        counts[classes.index(folders[one["file"]]), classes.index(answer)] += 1
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
    formats = parser.add_mutually_exclusive_group()
    for name, write in FORMATS.items():
        formats.add_argument(f"--{name}", action="store_true", help=write.__doc__)
    given = parser.parse_intermixed_args(argv)
    missing = [package for name, package in PACKAGES.items() if not importlib.util.find_spec(name)]
    if missing:
        raise Mistake(f"{missing[0]} is not installed; run: pip install {' '.join(missing)}")
    network, bad = Network(given.model), []
    count = len(network.classes)
    top = min(3, count) if given.top is None else given.top
    if top != (near := min(max(top, 1), count)):
        raise Mistake(f"--top cannot be {top}; allowed is 1 to {count}; the nearest is {near}")
    for stream in (sys.stdin, sys.stdout):  # file names may not be valid text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    files = find_images(given.images)
    batches = filter(None, read_all(network, files, bad))
    answers = (one for batch in batches for one in network.answer(batch, top))
    write = next((FORMATS[name] for name in FORMATS if getattr(given, name)), write_table)
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
