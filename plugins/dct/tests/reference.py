"""Random small scans and what the plain reference makes of them, for tests/reference.rs.

  python reference.py FOLDER_OF_THE_REFERENCE OUTPUT FIRST LAST
"""
import json, sys, types
import numpy as np

sys.path.insert(0, sys.argv[1])
from ref_chain import chain
from ref_dthr import double_threshold


def blobs(rng, n, ny, nx, wrap):
    z, y, x = np.indices((n, ny, nx)).astype(np.float64)
    vol = np.zeros((n, ny, nx))
    for _ in range(rng.integers(1, 9)):
        c = [rng.uniform(0, n), rng.uniform(0, ny), rng.uniform(0, nx)]
        dz = np.abs(z - c[0])
        dz = np.minimum(dz, n - dz) if wrap else dz
        r = rng.uniform(0.5, 2.0), rng.uniform(1, 4), rng.uniform(1, 4)
        peak = rng.choice([150.0, 900.0, 30000.0, 90000.0])
        vol += peak * np.exp(-(dz / r[0]) ** 2 - ((y - c[1]) / r[1]) ** 2 - ((x - c[2]) / r[2]) ** 2)
    return vol


def case(k, out):
    rng = np.random.default_rng(1000 + k)
    float_path = k % 3 == 2
    edge = ["wrap", "shift", "reflect", "nearest"][rng.integers(4)]
    wrap = edge == "wrap"
    window = int(rng.choice([1, 3, 5, 9, 21]))
    n = int(rng.integers(max(window, 4), 34))
    ny, nx = int(rng.integers(1, 20)), int(rng.integers(1, 75))
    vol = 300 + 20 * np.sin(np.arange(n))[:, None, None] + blobs(rng, n, ny, nx, wrap) + rng.normal(0, 5, (n, ny, nx))
    if rng.random() < 0.3:
        vol[:, rng.integers(ny), rng.integers(nx)] = 65535                      # a pixel that is always full
    if rng.random() < 0.2:
        vol[rng.integers(n)] = rng.choice([0, 65535])                           # a frame that is all zero or all full
    bad = rng.random((ny, nx)) < (0.05 if rng.random() < 0.5 else 0)
    dark = boxes = exclude = None
    norm = "none"
    if float_path:
        raw = np.clip(vol, -1000, 65535).astype(np.float32) + np.float32(0.25)
        raw[rng.random(raw.shape) < 0.01] = np.nan
        if rng.random() < 0.5:
            dark = rng.integers(90, 110, (int(rng.integers(1, 6)), ny, nx)).astype(np.uint16)
        if rng.random() < 0.6:
            norm = "margin"
            boxes = [(0, 0, max(1, ny // 3), max(1, nx // 4))]
            raw[rng.random(n) < 0.1] = 0
            raw *= rng.uniform(0.8, 1.2, (n, 1, 1)).astype(np.float32)
    else:
        raw = np.clip(np.rint(vol), 0, 65535).astype(np.uint16)
    numbers = np.arange(n)
    if rng.random() < 0.5:
        numbers = rng.permutation(np.concatenate([numbers[rng.random(n) > 0.12], rng.integers(0, n, 2)]))
    if len(numbers) == 0:
        numbers = np.arange(n)
    frames = raw[numbers].copy()
    a = types.SimpleNamespace(window=window, edge=edge, norm=norm, filt=[int(rng.choice([1, 3, 5])), int(rng.choice([1, 3]))],
                              dark_reduce=str(rng.choice(["mean", "median"])))
    # The first frame in the order of the ring that there is has to have beam: it is the target.
    if norm == "margin":
        first = int(np.argmin(numbers))
        frames[numbers == numbers[first]] = np.float32(400.0)
    p, b, fac, at = chain(frames, dark, numbers, n, a, bad, boxes, None, None)
    v = p.copy()
    if rng.random() < 0.3 and ny > 3 and nx > 3:
        exclude = [1, int(ny // 2), 1, int(nx // 2)]
        y0, y1, x0, x1 = exclude
        v[:, y0:y1, x0:x1] = np.where(np.isfinite(v[:, y0:y1, x0:x1]), 0, v[:, y0:y1, x0:x1])
    gap = str(rng.choice(["split", "bridge"]))
    back = np.flatnonzero(at >= 0) if gap == "bridge" else np.arange(n)
    s = dict(threshold=float(rng.choice([30.0, 60.0, 400.0])), tolerance=float(rng.choice([0.0, 0.1, 0.2, 0.6, 1.0])),
             bb_max=[int(rng.integers(0, 6)), int(rng.integers(1, 12)), int(rng.integers(1, 12))],
             connectivity=int(rng.choice([6, 18, 26])), overlap=str(rng.choice(["keep", "suppress", "exclusive"])),
             min_seed_voxels=int(rng.choice([1, 1, 3])))
    low = float(rng.choice([12.0, 25.0])) if rng.random() < 0.5 else None
    high = float(rng.choice([40.0, 200.0])) if rng.random() < 0.4 else None
    if s["tolerance"] * s["threshold"] < 12 and low is None:
        low = 12.0
    found = double_threshold(v[back], s["threshold"], s["tolerance"], tuple(s["bb_max"]), s["connectivity"], wrap,
                             s["overlap"], s["min_seed_voxels"], low, high) if len(back) else []
    rows = [[q["M"], back[q["seed"][0]], *q["seed"][1:], q["thr"], back[q["origin"][0] % len(back)], *q["origin"][1:], *q["size"],
             q["voxels"], q["area"], q["integral"], *q["centroid"], q["edge"], q["oversize"]] for q in found]
    frames.tofile(f"{out}/{k}.frames")
    p.astype(np.float32).tofile(f"{out}/{k}.expected")
    np.array(rows, np.float64).tofile(f"{out}/{k}.blobs")
    np.concatenate([q["mask"].ravel() for q in found] or [np.zeros(0)]).astype(np.uint8).tofile(f"{out}/{k}.masks")
    bad.astype(np.uint8).tofile(f"{out}/{k}.bad")
    if dark is not None:
        dark.tofile(f"{out}/{k}.dark")
    json.dump(dict(n=n, ny=ny, nx=nx, float=float_path, numbers=[int(i) for i in numbers], window=window, edge=edge, norm=norm,
                   boxes=boxes, darks=0 if dark is None else len(dark), dark_reduce=a.dark_reduce, filt=a.filt, exclude=exclude,
                   gap=gap, wrap=wrap, t_low=low, t_high=high, **s), open(f"{out}/{k}.json", "w"))


for k in range(int(sys.argv[3]), int(sys.argv[4])):
    case(k, sys.argv[2])
