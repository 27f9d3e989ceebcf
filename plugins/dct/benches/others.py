"""What other programs take for the same steps on one core, for orientation beside `cargo bench -p isard-dct`.

  python others.py          (needs numpy, scipy, bottleneck, opencv-python-headless, connected-components-3d)

Frames of 2048 x 2048 of 16 bits in memory, noise with six spots a frame; times are those of the processor.
"""
import os
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
import time
import numpy as np

SIDE, WINDOW = 2048, 21


rates = {}


def rate(what, frames, work):
    best = 1e9
    for _ in range(2):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    rates[what.split(",")[0]] = frames / best
    print(f"{what:44s} {frames / best:8.1f} frames/s", flush=True)


def scan(n, side):
    rng = np.random.default_rng(1)
    stack = rng.integers(300, 360, (n, side, side), dtype=np.uint16)
    y, x = np.mgrid[:60, :60] - 30.0
    spot = (600 / (1 + np.exp((np.hypot(y, x) - 20) / 2))).astype(np.uint16)
    for k in range(n):
        for _ in range(max(1, 6 * side * side // SIDE**2)):
            r, c = rng.integers(0, side - 60, 2)
            stack[k, r:r + 60, c:c + 60] += spot
    return stack


# A sixteenth of the detector, for what is slow; frames of the whole one take sixteen times as long.
small, part = scan(48, SIDE // 4), 16
try:
    import bottleneck
    rate("bottleneck.move_median, window 21", 48 / part, lambda: bottleneck.move_median(small.astype(np.float32), WINDOW, axis=0))
except ImportError:
    print("bottleneck is not there")
rate("numpy.median of windows of 21", 4 / part, lambda: [np.median(small[k:k + WINDOW], axis=0) for k in range(4)])
try:
    from scipy import ndimage
    rate("scipy.ndimage.median_filter, window 21", 24 / part, lambda: ndimage.median_filter(small[:24], (WINDOW, 1, 1)))
    rate("scipy.ndimage.median_filter, 3 x 3", 8 / part, lambda: [ndimage.median_filter(f, 3) for f in small[:8]])
    lit = small > 420
    rate("scipy.ndimage.label, 26 neighbours", 48 / part, lambda: ndimage.label(lit, np.ones((3, 3, 3))))
except ImportError:
    print("scipy is not there")
frames = scan(4, SIDE)
room = np.empty_like(frames[0])
rate("numpy.copyto, what the memory allows", 40, lambda: [np.copyto(room, f) for _ in range(10) for f in frames])
try:
    import cv2
    cv2.setNumThreads(1)
    rate("cv2.medianBlur, 3 x 3", 40, lambda: [cv2.medianBlur(f, 3) for _ in range(10) for f in frames])
except ImportError:
    print("cv2 is not there")
try:
    import cc3d
    lit = np.concatenate([frames, frames, frames, frames]) > 420
    rate("cc3d.connected_components, 26 neighbours", 16, lambda: cc3d.connected_components(lit, connectivity=26))
except ImportError:
    print("cc3d is not there")
steps = [rates.get(name) for name in ("bottleneck.move_median", "cv2.medianBlur", "cc3d.connected_components")]
if all(steps):
    print(f"{'these three one after the other':44s} {1 / sum(1 / r for r in steps):8.1f} frames/s")
