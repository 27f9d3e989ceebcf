"""Random runs of pyFAI, each in a folder of the form that the reference cases have.

  python runs.py FOLDER RUNS SEED

What `docs/azimuthal.md` says pyFAI has wrong is not asked for.
"""
import json
import logging
import os
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    # On one thread: what sigma clipping drops from bins depends on their order.
    os.environ[name] = "1"

import numpy as np
import pyFAI
from pyFAI.detectors import Detector
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

logging.disable(logging.CRITICAL)
FAST = ["q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm", "r_m"]
SLOW = ["d*2_nm^-2", "d*2_A^-2", "log(1+q.nm)_None", "log(1+q.A)_None", "arcsinh(q.nm)_None", "arcsinh(q.A)_None",
        "log10(q.m)_None", "log(q.nm)_None", "d_A", "qx_nm^-1", "qy_nm^-1"]


def geometry(rng):
    """A detector in its place: mostly upright, sometimes far beside the beam or strongly tilted."""
    shape = [int(n) for n in rng.integers(20, 90, 2)]
    pixel = [float(p) for p in rng.choice([75e-6, 1e-4, 172e-6], 2)]
    name, config = "Detector", {"pixel1": pixel[0], "pixel2": pixel[1], "max_shape": shape}
    if rng.random() < 0.15:
        name, config, shape, pixel = "Pilatus100k", {}, [195, 487], [172e-6, 172e-6]
    config["orientation"] = int(rng.choice([1, 2, 3, 3, 3, 4]))
    beam = rng.uniform(-0.3, 1.3, 2) if rng.random() < 0.7 else rng.uniform(-3, 4, 2)
    tilt = rng.choice([0, 0.05, 0.6]) * rng.uniform(-1, 1, 3)
    return {
        "detector": name, "config": config, "shape": shape,
        "dist": float(rng.uniform(0.02, 0.3)), "poni1": float(beam[0] * shape[0] * pixel[0]),
        "poni2": float(beam[1] * shape[1] * pixel[1]), "rots": [float(t) for t in tilt],
        "wavelength": float(rng.choice([1e-10, 0.3e-10, 2.1e-10])),
    }


def poni(g):
    keys = ["Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3", "Wavelength"]
    values = [g["dist"], g["poni1"], g["poni2"], *g["rots"], g["wavelength"]]
    lines = ["poni_version: 2.1", f"Detector: {g['detector']}", f"Detector_config: {json.dumps(g['config'])}"]
    return "\n".join(lines + [f"{k}: {v!r}" for k, v in zip(keys, values)]) + "\n"


def camera(g):
    """Anew for each question: what pyFAI has answered changes what it answers next."""
    if g["detector"] == "Detector":
        detector = Detector(**g["config"])
    else:
        detector = pyFAI.detector_factory(g["detector"], g["config"])
    return AzimuthalIntegrator(g["dist"], g["poni1"], g["poni2"], *g["rots"], detector=detector,
                               wavelength=g["wavelength"])


def arrays(rng, g, r):
    """Frames and what belongs to them; some pixels stand out, some are invalid."""
    shape, whole = g["shape"], r["kind"] == "medfilt1d"
    counts = rng.poisson(rng.uniform(0.5, 200), shape)
    counts[rng.random(shape) < 0.01] *= 50
    frame = counts.astype(rng.choice(["int32", "uint16", "uint32", "float32"]))
    if whole:
        # The order of equal pixels is left to chance, too.
        frame = (counts + rng.random(shape)).astype("float32")
    elif r["method"][0] != "full" and rng.random() < 0.3:
        # Not with outlines: their shares are in single precision, and these pixels would show its rounding.
        frame[rng.random(shape) < 0.02] = -2 if frame.dtype.kind != "u" else np.iinfo(frame.dtype).max
    if frame.dtype.kind == "f" and rng.random() < 0.3 and not whole:
        frame[rng.random(shape) < 0.01] = np.nan
    mask = (rng.random(shape) < 0.05).astype("uint8")
    if rng.random() < 0.3:
        mask[: int(rng.integers(1, shape[0]))] = 1
    flat = rng.uniform(0.5, 2, shape).astype("float32")
    if rng.random() < 0.2 and not whole:
        flat[rng.random(shape) < 0.01] = 0
    dark = rng.uniform(0, 5, shape).astype("float32")
    return {"frame": frame, "mask": mask, "flat": flat, "dark": dark,
            "variance": (counts + rng.uniform(0.5, 9, shape)).astype("float32")}


def run(rng, ai):
    """What is asked for: keys as those of the reference cases."""
    kind = str(rng.choice(["integrate1d", "integrate1d", "integrate2d", "integrate2d", "sigma_clip", "medfilt1d"]))
    split = str(rng.choice(["no", "bbox", "full"]))
    algorithm = str(rng.choice(["csr", "csr", "histogram"])) if kind.startswith("integrate") else "csr"
    pick = rng.random()
    unit = str(rng.choice(FAST)) if pick < 0.6 else str(rng.choice(SLOW)) if pick < 0.92 else "chi_deg"
    # Its table of corners is mirrored twice.
    if unit in SLOW and split == "bbox" and int(ai.detector.orientation) != 3:
        unit = "q_nm^-1"
    if unit == "chi_deg" and kind == "integrate2d":
        unit = "q_nm^-1"
    r = {"kind": kind, "unit": unit, "method": [split, algorithm, "cython"], "npt": int(rng.integers(3, 120)),
         "empty": float(rng.choice([0, 0, -1])), "chi_disc_at_pi": bool(rng.random() < 0.7),
         "correctSolidAngle": bool(rng.random() < 0.7)}
    if kind == "integrate2d":
        r["npt_azim"] = int(rng.integers(2, 90))
    seen = ai.center_array(unit=unit, scale=True)
    seen = seen[np.isfinite(seen)]
    if unit == "chi_deg":
        # Ranges of this unit stay as they are given, and what is beyond the cut is empty.
        seen = seen if r["chi_disc_at_pi"] else seen % 360
    if unit in ("d_A", "log10(q.m)_None", "log(q.nm)_None") or rng.random() < 0.3:
        low, high = np.quantile(seen, np.sort(rng.uniform(0, 1, 2)))
        if high - low > 1e-3 * abs(high):
            r["radial_range"] = [float(low), float(high)]
    if unit != "chi_deg" and rng.random() < 0.3:
        low = float(rng.uniform(-180, 360))
        r["azimuth_range"] = [low, low + float(rng.uniform(10, 200))]
    if split == "full" and unit in ("qx_nm^-1", "qy_nm^-1", "chi_deg"):
        # Outlines have areas of either sign there.
        r["method"][0] = split = "no"
    if algorithm == "histogram" and unit in ("qx_nm^-1", "qy_nm^-1", "chi_deg"):
        # Boxes begin at 0 there, and where all are below it nothing is left.
        r["method"][1] = "csr"
    if split == "full":
        # Outlines astride a cut at 0 are not brought to one side: they are in all sectors, and their shares are twisted.
        r["chi_disc_at_pi"] = True
    if kind == "integrate2d" and "azimuth_range" not in r:
        # The upper half of the azimuths is missing with a cut at 0.
        r["chi_disc_at_pi"] = True
    if rng.random() < 0.3:
        r["polarization_factor"] = float(rng.uniform(-1, 1))
    if rng.random() < 0.3:
        r["normalization_factor"] = float(rng.uniform(0.1, 50))
    # Where invalid pixels end up among the sorted ones is left to chance.
    if rng.random() < 0.3 and kind != "medfilt1d":
        r["dummy"] = float(rng.choice([-2, 0, 3]))
        if rng.random() < 0.5:
            r["delta_dummy"] = float(rng.choice([0.5, 1.5]))
    for key, often in [("mask", 0.4), ("dark", 0.3), ("flat", 0.3)]:
        if rng.random() < often:
            r["use_" + key] = True
    models = {"sigma_clip": ["poisson", "azimuthal", "hybrid"]}.get(kind, [None, "poisson", "azimuthal"])
    if kind in ("integrate2d", "medfilt1d"):
        models = [None, "poisson"]
    model = rng.choice(models + (["variance"] if kind != "sigma_clip" else []))
    if model == "variance":
        r["use_variance"] = True
    else:
        r["error_model"] = model
    if model in ("azimuthal", "hybrid"):
        # It rounds each pixel, and where those of a bin are all but equal their scatter is that rounding.
        r.pop("normalization_factor", None)
    if kind == "sigma_clip":
        r["thres"], r["max_iter"] = float(rng.choice([0, 1.5, 3, 5])), int(rng.integers(1, 7))
    if kind == "medfilt1d":
        middle = [[50, 50], [10, 90], [25, 75], [0, 60]]
        r["percentile"] = middle[int(rng.integers(len(middle)))]
    return r


def call(ai, r, a):
    """The answer of pyFAI."""
    ai.empty = r["empty"]
    if not r["chi_disc_at_pi"]:
        ai.setChiDiscAtZero()
    given = {k: r[k] for k in ("unit", "correctSolidAngle", "radial_range", "azimuth_range", "polarization_factor",
                               "normalization_factor", "dummy", "delta_dummy", "error_model") if r.get(k) is not None}
    given |= {k: a[k] for k in ("mask", "dark", "flat", "variance") if r.get("use_" + k)}
    given["method"] = tuple(r["method"])
    if r["kind"] == "integrate1d":
        return ai.integrate1d(a["frame"], r["npt"], **given)
    if r["kind"] == "integrate2d":
        return ai.integrate2d(a["frame"], r["npt"], r["npt_azim"], **given)
    if r["kind"] == "sigma_clip":
        return ai.sigma_clip(a["frame"], r["npt"], thres=r["thres"], max_iter=r["max_iter"], **given)
    return ai.medfilt1d_ng(a["frame"], r["npt"], percentile=tuple(r["percentile"]), **given)


def blind_first(g, r, a):
    """Makes the first pixel that counts invalid: pyFAI shares it by what stood in memory before."""
    ai = camera(g)
    call(ai, r | {"method": ["full", "csr", "cython"]}, a)
    pixels = np.concatenate([e.engine.indices for e in ai.engines.values() if e.engine is not None])
    if len(pixels):
        a["frame"] = a["frame"].astype("float32")
        a["frame"].flat[pixels.min()] = np.nan


def main(folder, runs, seed):
    if not pyFAI.version.startswith("2026.9"):
        sys.exit(f"pyFAI {pyFAI.version}")
    done, n = 0, -1
    while done < runs:
        n += 1
        rng = np.random.default_rng([seed, n])
        g = geometry(rng)
        r = run(rng, camera(g))
        a = arrays(rng, g, r)
        if r["kind"] == "integrate2d" and r["method"][0] == "full":
            blind_first(g, r, a)
        try:
            found = call(camera(g), r, a)
        except Exception as error:
            print(f"run {n}: {type(error).__name__}: {error}", r)
            continue
        here = os.path.join(folder, f"{n:05d}")
        os.makedirs(here)
        for name, array in a.items():
            np.save(os.path.join(here, name + ".npy"), array)
        with open(os.path.join(here, "geometry.poni"), "w") as file:
            file.write(poni(g))
        sigma = found.sem if found.sigma is None else found.sigma
        values = {"radial": found.radial, "sigma": sigma, "intensity": found.intensity, "std": found.std,
                  "sem": found.sem, "count": found.count, "azimuthal": getattr(found, "azimuthal", None)}
        for name in ("signal", "variance", "normalization", "normalization2"):
            values["sum_" + name] = getattr(found, "sum_" + name)
        values = {k: np.asarray(v) for k, v in values.items() if v is not None}
        np.savez(os.path.join(here, "expected.npz"), **values)
        r |= {"name": f"{n:05d}", "expected": "expected.npz", "empty_used": r.pop("empty")}
        if "error_model" in r and r["error_model"] is not None:
            r["error_model"] = str(r["error_model"])
        with open(os.path.join(here, "case.json"), "w") as file:
            json.dump({"frame": "frame.npy", "runs": [r]}, file)
        done += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
