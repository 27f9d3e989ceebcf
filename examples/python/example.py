"""A stage of each of the seven roles; `isard list --plugin examples/python/example.py` shows them."""

import numpy as np

import isard

IMAGES = (np.arange(6 * 3 * 4).reshape(6, 3, 4) * 7919 % 1000).astype(np.uint16)


class Beat:
    """Plays frames whose brightness rises and falls.

    Args:
        frames: How many frames there are.
        size: Pixels along y and x.
    """

    def __init__(self, *, frames: int = 10, size: list[int] = [4, 6]):
        self.count, self.size = frames, size

    def open(self):
        return {"frames": self.count, "head": {"size": self.size}}

    def frames(self, start) -> {"image": isard.Array["u16", "y x"]}:
        for number in range(start, self.count):
            yield {"image": np.full(self.size, 100 + number % 5, np.uint16)}


isard.source("python.beat", example={"set": "frames = 5"})(Beat)


@isard.map("python.threshold", example={"set": "above = 300.0", "frames": {"image": IMAGES}})
def threshold(
    image: isard.Array["u16", "y x"], *, above: float = 10.0
) -> {"mask": isard.Array["u8", "y x"], "count": int}:
    """Marks and counts the pixels above a limit.

    Args:
        image: The image.
        above: The limit; pixels above it are marked.

    Returns:
        mask: One where the pixel is above the limit.
        count: How many pixels are above the limit.
    """
    mask = image > above
    return {"mask": mask, "count": int(mask.sum())}


@isard.fold("python.change", example={"frames": {"image": IMAGES}})
class Change:
    """Gives the difference of each frame to the one before it."""

    def __init__(self):
        self.before = None

    def push(self, image: isard.Array["u16", "y x"]) -> {"change": isard.Array["f64", "y x"]}:
        now = image.astype(np.float64)
        change = np.zeros_like(now) if self.before is None else now - self.before
        self.before = now
        return {"change": change}

    def save(self):
        return {"before": self.before}

    def load(self, state):
        self.before = state["before"]


@isard.reduce("python.maximum", example={"frames": {"image": IMAGES}})
class Maximum:
    """Keeps the brightest value that each pixel had."""

    def __init__(self):
        self.most = None

    def add(self, image: isard.Array["u16", "y x"]):
        # A copy: the image is isard's memory and is used again after the call.
        self.most = image.copy() if self.most is None else np.maximum(self.most, image)

    def merge(self, later):
        if later.most is not None:
            self.most = later.most if self.most is None else np.maximum(self.most, later.most)

    def peek(self):
        return None if self.most is None else self.finish()

    def finish(self) -> {"most": isard.Array["u16", "y x"]}:
        if self.most is None:
            raise isard.DataError("no frame came, wanted one at least")
        return {"most": self.most}

    def save(self):
        return {"most": self.most}

    def load(self, state):
        self.most = None if state["most"] is None else state["most"].copy()


@isard.fit("python.level", example={"frames": {"image": IMAGES}, "tolerance": [{"port": "level", "absolute": 1e-9}]})
class Level:
    """Finds the level that all pixels have in common, in steps of half the way.

    The answer is that of all frames at once within 1e-9.
    """

    def __init__(self):
        self.sum, self.count, self.level = 0.0, 0, 0.0

    def absorb(self, image: isard.Array["u16", "y x"]):
        self.sum += float(image.sum(dtype=np.float64))
        self.count += image.size

    def refine(self):
        if not self.count:
            return 0.0, False
        off = self.sum / self.count - self.level
        self.level += off / 2
        return off * off, abs(off) > 1e-12

    def snapshot(self) -> {"level": float}:
        return {"level": self.level} if self.count else None

    def save(self):
        return {"sum": self.sum, "count": self.count, "level": self.level}

    def load(self, state):
        self.sum, self.count, self.level = state["sum"], state["count"], state["level"]


@isard.writer("python.lines", example={"set": 'path = "lines.txt"', "frames": {"image": IMAGES}})
class Lines:
    """Writes for each frame its number, its least and its greatest value as a line.

    Args:
        path: The file.
    """

    def __init__(self, *, path: isard.OutputPath = "lines.txt"):
        self.path, self.lines = path, []

    def open(self, output, committed):
        self.output, self.lines = output, list((committed or {}).get("lines", []))

    def write(self, cx, image: isard.Array["u16", "y x"]):
        self.lines.append(f"{cx.frame} {image.min()} {image.max()}")

    def commit(self):
        self.output.replace(self.path, "".join(line + "\n" for line in self.lines).encode())
        return {"lines": self.lines}

    def finish(self):
        self.commit()


@isard.task("python.histogram", example={"set": "bins = 4", "fixed": {"image": IMAGES[0]}})
def histogram(
    image: isard.Array("u16", "y x", fixed=True), *, bins: int = 16
) -> {"counts": isard.Array("i64", "bin", fixed=True), "mean": float}:
    """Counts the values of an image; a job can run it.

    Args:
        image: The image.
        bins: How many bins there are between the least and the greatest value.
    """
    counts, _ = np.histogram(image, bins)
    return {"counts": counts, "mean": float(image.mean())}
