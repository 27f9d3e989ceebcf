"""Random small scans and what the plain reference makes of them, for tests/reference.rs.

  python reference.py FOLDER_OF_THE_REFERENCE OUTPUT FIRST LAST

Every setting of section 9 of the specification is drawn at random. The reference knows neither strides, intervals,
windows longer than the scan nor monitors: for those its windows and frames are written down here, as section 4 and 3.6
say them.
"""
import json, sys, types
import numpy as np

sys.path.insert(0, sys.argv[1])
import ref_chain
from ref_chain import chain
from ref_dthr import double_threshold, seeds_of
from gen_dct import Scan

KINDS = ["counts", "raw", "stages", "counts", "generated", "raw", "stages"]


def pick(rng, *of):
    return of[rng.integers(len(of))]


def windows(stride, interval):
    """The frames of a window, section 4.2, 4.4 and 4.6."""
    def window(k, h, n, edge):
        c = k if interval is None else k // interval * interval + interval // 2
        if edge == "shift":
            own = np.arange(c % stride, n, stride)              # the samples there are at this stride
            first = min(max(c // stride - h, 0), max(0, len(own) - 2 * h - 1))
            return own[first:first + 2 * h + 1]
        w = c + np.arange(-h, h + 1) * stride
        if edge == "wrap":
            return w % n
        if edge == "nearest":
            return np.clip(w, 0, n - 1)
        w = w % (2 * n)                                         # mirrored again and again, the edge repeated
        return np.where(w < n, w, 2 * n - 1 - w)
    return window


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


def volume(rng, n, ny, nx, wrap):
    vol = 300 + 20 * np.sin(np.arange(n))[:, None, None] + blobs(rng, n, ny, nx, wrap) + rng.normal(0, 5, (n, ny, nx))
    if rng.random() < 0.3:
        vol[:, rng.integers(ny), rng.integers(nx)] = 65535                      # a pixel that is always full
    if rng.random() < 0.2:
        vol[:, rng.integers(ny), rng.integers(nx)] = 0                          # a dead pixel
    if rng.random() < 0.2:
        vol[rng.integers(n)] = rng.choice([0, 65535])                           # a frame that is all zero or all full
    return vol


def typed(rng, vol):
    """The volume in a dtype other than that of 16-bit counts."""
    name = pick(rng, "f32", "f32", "f32", "u8", "i16", "u32", "i32", "f64")
    if name[0] == "f":
        raw = np.clip(vol, -1000, 65535).astype({"f32": np.float32, "f64": np.float64}[name]) + 0.25
        raw[rng.random(raw.shape) < 0.01] = np.nan
        raw[rng.random(raw.shape) < 0.002] = np.inf
        if rng.random() < 0.3:
            raw[rng.integers(len(raw))] = np.nan                                # a frame of nothing
        return name, raw
    kind = {"u8": np.uint8, "i16": np.int16, "u32": np.uint32, "i32": np.int32}[name]
    vol = vol - 280 if name == "u8" else vol
    return name, np.clip(np.rint(vol), np.iinfo(kind).min, min(np.iinfo(kind).max, 100000)).astype(kind)


def spots(rng, v, back, at, wrap, s, omega, full):
    low, high = s["t_low"], s["t_high"]
    found = double_threshold(v[back], s["threshold"], s["tolerance"], tuple(s["bb_max"]), s["connectivity"], wrap,
                             s["overlap"], s["min_seed_voxels"], low, high) if len(back) else []
    counts = {q[1:4]: q[4] for q in seeds_of(v[back], s["threshold"], s["connectivity"], wrap)} if len(back) else {}
    # Section 6.1, rule 7: what is left out of those found.
    wanted = lambda q: (all(a >= b for a, b in zip(q["size"], s["min_blob_size"]))
                        and (s["max_blob_size"] is None or all(a <= b for a, b in zip(q["size"], s["max_blob_size"])))
                        and not (s["drop_oversize"] and q["oversize"]) and not (s["drop_edge"] and q["edge"]))
    found = [q for q in found if wanted(q)]
    rows, boxes = [], []
    for q in found:
        (z, y, x), (sz, sy, sx) = q["origin"], q["size"]
        frames = back[np.arange(z, z + sz) % len(back)]
        data = np.where(np.isfinite(q["data"]), q["data"], np.float32(0))
        weight = np.where(q["mask"], data, 0).astype(np.float64).sum((1, 2))
        turned = omega[frames] - omega[frames[0]]
        if wrap:
            turned = (turned + 180) % 360 - 180
        # Values below 0 in a mask may leave a sum of next to nothing, whose mean says nothing.
        steady = abs(weight.sum()) > 0.01 * np.abs(weight).sum()
        mean = omega[frames[0]] + (turned * weight).sum() / weight.sum() if steady else np.nan
        inside = full[frames, y:y + sy, x:x + sx] & q["mask"] & (at[frames] >= 0)[:, None, None]
        rows.append([q["M"], frames[q["seed"][0] - z], *q["seed"][1:], q["thr"], frames[0], y, x, sz, sy, sx,
                     q["voxels"], q["area"], q["integral"], *q["centroid"], q["edge"], q["oversize"],
                     counts[q["seed"]], mean % 360 if wrap else mean, inside.sum()])
        boxes.append(data)
    return found, rows, boxes


def case(k, out):
    rng = np.random.default_rng(1000 + k)
    kind = KINDS[k % len(KINDS)]
    edge = pick(rng, "wrap", "shift", "reflect", "nearest")
    wrap = edge == "wrap"
    method, interval, stride = "moving", None, int(pick(rng, 1, 1, 1, 2, 3))
    window = int(rng.choice([1, 3, 5, 9, 11, 21]))
    least = (window - 1) * stride + 1
    n = int(rng.integers(max(least, 4), least + 30)) if wrap or rng.random() < 0.7 else int(rng.integers(1, least + 3))
    if rng.random() < 0.12:
        method, interval = "interval", int(rng.integers(1, 6))
        stride, half = interval, int(rng.integers(0, 4))
        window = 2 * half + 1
        n = interval * int(rng.integers(2 * half + 1, 2 * half + 6))
    ny, nx = int(rng.integers(1, 20)), int(rng.integers(1, 75))
    scan = None
    if kind == "generated":
        window, stride, method, interval = int(pick(rng, 5, 11, 21)), 1, "moving", None
        n = int(rng.integers(22, 36)) if wrap else int(rng.integers(41, 48))     # the generator's longest spot is 40 frames
        ny, nx = int(rng.integers(64, 84)), int(rng.integers(64, 100))
        scan = Scan(n, ny, nx, 1000 + k, int(rng.integers(5, 20)), wrap=wrap, drift=float(pick(rng, 0.0, 0.06)))
        raw, dtype = np.stack([scan.frame(i) for i in range(n)]), "u16"
    elif kind == "stages":
        dtype, raw = typed(rng, volume(rng, n, ny, nx, wrap))
    else:
        raw, dtype = np.clip(np.rint(volume(rng, n, ny, nx, wrap)), 0, 65535).astype(np.uint16), "u16"
    bad = rng.random((ny, nx)) < (0.05 if rng.random() < 0.5 else 0)
    dark = flats = boxes = exclude = i0 = monitor = monitor_ref = None
    norm = target = "none"
    if kind != "counts":
        if scan is not None:
            dark = np.stack([scan.dark(i) for i in range(5)])
        elif rng.random() < 0.6:
            dark = rng.integers(90, 110, (int(rng.integers(1, 6)), ny, nx)).astype(np.uint16)
        norm = pick(rng, "none", "margin", "margin", "monitor")
    if norm == "margin":
        boxes = [(0, 0, max(1, ny // 3), max(1, nx // 4))]
        if ny > 4 and rng.random() < 0.4:
            boxes.append((ny - 2, nx // 2, ny, nx))
        boxes = boxes if scan is None else [tuple(b) for b in scan.margins]
        target = pick(rng, "first", "first", "reference", "number")
    if scan is None and norm != "none":
        lost = rng.random(n) < 0.1
        bright = rng.uniform(0.8, 1.2, (n, 1, 1))
        with np.errstate(invalid="ignore"):
            raw = np.where(lost[:, None, None], 0, np.clip(raw * bright, -30000, 65535 if dtype == "u16" else 100000)).astype(raw.dtype)
    numbers = np.arange(n)
    if rng.random() < 0.5:
        numbers = rng.permutation(np.concatenate([numbers[rng.random(n) > 0.12], rng.integers(0, n, 2)]))
    if len(numbers) == 0:
        numbers = np.arange(n)
    frames = raw[numbers].copy()
    a = types.SimpleNamespace(window=window, edge=edge, norm="margin" if norm == "margin" else "none",
                              filt=[int(rng.choice([1, 3, 5, 7])), int(rng.choice([1, 3, 5]))],
                              dark_reduce=str(rng.choice(["mean", "median"])))
    flat = None
    if dark is not None:
        flat = (dark.mean(0, dtype=np.float64) if a.dark_reduce == "mean" else np.median(dark, 0)).astype(np.float32)
    good = lambda: np.float32(0) if flat is None else flat
    if norm == "margin":
        # The first frame in the order of the ring that there is has to have beam: it may be the target.
        first = int(np.argmin(numbers))
        if scan is None:
            frames[numbers == numbers[first]] = frames.dtype.type(200 if dtype == "u8" else 400)
        if target == "reference":
            flats = rng.integers(350, 450, (int(rng.integers(1, 4)), ny, nx)).astype(np.uint16)
            area = np.zeros((ny, nx), int)
            for y0, x0, y1, x1 in boxes:
                area[y0:y1, x0:x1] += 1
            weight = np.where(bad, 0, area)
            i0 = float(((flats - good()).astype(np.float64) * weight).sum() / (weight.sum() * len(flats))) if weight.sum() else np.nan
        if target == "number":
            i0 = float(rng.uniform(200, 2000))
    given, given_dark, used = frames, dark, numbers
    if norm == "monitor":
        # Section 3.6: the frame's factor is the reference over its monitor; too little of it, and there is no beam.
        monitor = rng.uniform(80, 120, len(numbers))
        monitor[rng.random(len(numbers)) < 0.1] = 0.0
        firsts = [int(np.flatnonzero(numbers == q)[0]) for q in np.unique(numbers)]
        monitor[firsts[0]] = 100.0
        monitor_ref = None if rng.random() < 0.5 else 90.0
        ref = 100.0 if monitor_ref is None else monitor_ref
        keep = [i for i in firsts if monitor[i] > 0.05 * ref]
        by = np.array([ref / monitor[i] for i in keep]).astype(np.float32)[:, None, None]
        with np.errstate(invalid="ignore"):
            given = (frames[keep].astype(np.float32) - good()) * by
        given_dark, used = None, numbers[keep]
    ref_chain.window = windows(stride, interval)
    p, b, fac, at = chain(given, given_dark, used, n, a, bad, boxes, i0, None)
    v = p.copy()
    if scan is not None:
        e = scan.beam_box
        exclude = [e[0] - 2, e[1] + 2, e[2] - 2, e[3] + 2]
    elif rng.random() < 0.3 and ny > 3 and nx > 3:
        exclude = [1, int(ny // 2), 1, int(nx // 2)]
    if exclude is not None:
        y0, y1, x0, x1 = exclude
        v[:, y0:y1, x0:x1] = np.where(np.isfinite(v[:, y0:y1, x0:x1]), 0, v[:, y0:y1, x0:x1])
    gap = pick(rng, "split", "bridge")
    back = np.flatnonzero(at >= 0) if gap == "bridge" else np.arange(n)
    box = [int(rng.integers(0, 6)), int(rng.integers(1, 12)), int(rng.integers(1, 12))]
    s = dict(threshold=float(pick(rng, 30.0, 60.0, 400.0)), tolerance=float(pick(rng, 0.0, 0.1, 0.2, 0.6, 1.0)),
             bb_max=box if scan is None else [8, 20, 20], connectivity=int(pick(rng, 6, 18, 26)),
             overlap=pick(rng, "keep", "suppress", "exclusive"), min_seed_voxels=int(pick(rng, 1, 1, 3)),
             min_blob_size=[int(q) for q in rng.integers(0, 4, 3)] if rng.random() < 0.25 else [0, 0, 0],
             max_blob_size=[int(q) for q in rng.integers(4, 12, 3)] if rng.random() < 0.25 else None,
             drop_oversize=bool(rng.random() < 0.15), drop_edge=bool(rng.random() < 0.15))
    low = float(pick(rng, 12.0, 25.0)) if rng.random() < 0.5 else None
    s["t_high"] = float(pick(rng, 40.0, 200.0)) if rng.random() < 0.4 else None
    s["t_low"] = 12.0 if s["tolerance"] * s["threshold"] < 12 and low is None else low
    step = 360.0 / n if wrap else float(pick(rng, 0.25, -1.0))
    omega = (float(rng.uniform(0, 360)) + step * np.arange(n)) % 360 if wrap else 10.0 + step * np.arange(n)
    full = np.zeros((n, ny, nx), bool)
    if dtype[0] != "f":
        most = np.iinfo(frames.dtype).max
        for q in range(n):
            there = np.flatnonzero(numbers == q)
            if len(there):
                full[q] = frames[there[0]] == most
    found, rows, data = spots(rng, v, back, at, wrap, s, omega, full)
    frames.tofile(f"{out}/{k}.frames")
    p.astype(np.float32).tofile(f"{out}/{k}.expected")
    np.array(rows, np.float64).tofile(f"{out}/{k}.blobs")
    np.concatenate([q["mask"].ravel() for q in found] or [np.zeros(0)]).astype(np.uint8).tofile(f"{out}/{k}.masks")
    np.concatenate([d.ravel() for d in data] or [np.zeros(0)]).astype(np.float32).tofile(f"{out}/{k}.data")
    bad.astype(np.uint8).tofile(f"{out}/{k}.bad")
    if dark is not None:
        dark.tofile(f"{out}/{k}.dark")
    if flats is not None:
        flats.tofile(f"{out}/{k}.flats")
    json.dump(dict(kind=kind, n=n, ny=ny, nx=nx, dtype=dtype, numbers=[int(i) for i in numbers], window=window, edge=edge,
                   stride=stride, method=method, interval=interval, norm=norm, target=i0 if target == "number" else target,
                   boxes=boxes, darks=0 if dark is None else len(dark), flats=0 if flats is None else len(flats),
                   monitor=None if monitor is None else [float(m) for m in monitor], monitor_ref=monitor_ref,
                   dark_reduce=a.dark_reduce, filt=a.filt, exclude=exclude, gap=gap, wrap=wrap,
                   omega=[float(w) for w in omega], **s), open(f"{out}/{k}.json", "w"))


for k in range(int(sys.argv[3]), int(sys.argv[4])):
    case(k, sys.argv[2])
