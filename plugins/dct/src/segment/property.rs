//! Streaming is offline: thousands of small random volumes, both ways.

use isard_core::Pool;
use isard_core::prelude::*;

use super::offline::{Plain, Volume, segment};
use super::{Blob, Connectivity, Overlap, Plane, Rules, Segmenter, Spill};

/// Repeatable random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Case {
    volume: Volume,
    rules: Rules,
    missing: Vec<bool>,
    begin: usize,
}

fn case(seed: u64) -> Case {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let shape = [1 + dice.below(14), 1 + dice.below(7), 1 + dice.below(9)];
    let count: usize = shape.iter().product();
    let dense = 2 + dice.below(6);
    let mut values: Vec<f32> =
        (0..count).map(|_| if dice.one_in(dense) { dice.below(40) as f32 } else { 0.0 }).collect();
    if dice.one_in(3) {
        // A plateau of saturated voxels, and a pixel that never closes.
        values.iter_mut().for_each(|v| *v = if *v > 30.0 { 35.0 } else { *v });
        let pixel = dice.below(shape[1] * shape[2]);
        (0..shape[0]).for_each(|z| values[z * shape[1] * shape[2] + pixel] = 12.0 + (z % 3) as f32);
    }
    if dice.one_in(4) {
        let at = dice.below(count);
        values[at] = f32::NAN;
    }
    let missing: Vec<bool> = if dice.one_in(3) {
        let often = 2 + dice.below(6);
        (0..shape[0]).map(|_| dice.one_in(often)).collect()
    } else {
        vec![false; shape[0]]
    };
    let wrap = dice.one_in(2);
    let rules = Rules {
        threshold: [8.0, 15.0, 24.5][dice.below(3)],
        tolerance: [0.0, 0.2, 0.5, 0.8, 1.0][dice.below(5)],
        low: dice.one_in(3).then(|| 3.0 + dice.below(25) as f64),
        high: dice.one_in(3).then(|| 10.0 + dice.below(20) as f64),
        limit: [dice.below(4), 1 + dice.below(4), 1 + dice.below(4)],
        connectivity: [Connectivity::Faces, Connectivity::Edges, Connectivity::Corners][dice.below(3)],
        overlap: [Overlap::Keep, Overlap::Suppress, Overlap::Exclusive][dice.below(3)],
        least: [1, 1, 2, 4][dice.below(4)],
        wrap,
        bridge: dice.one_in(2),
        delay: None,
        dense: None,
    };
    let begin = if wrap { dice.below(shape[0]) } else { 0 };
    Case { volume: Volume { shape, values }, rules, missing, begin }
}

fn frame(volume: &Volume, z: usize) -> Array {
    let [_, ny, nx] = volume.shape;
    Array::of(&[ny, nx], &volume.values[z * ny * nx..(z + 1) * ny * nx]).unwrap()
}

/// The blobs of the stream, with a stop and a start from saved state after `stop` frames.
fn stream(case: &Case, stop: Option<usize>) -> Vec<Blob> {
    let Case { volume, rules, missing, begin } = case;
    let [nz, ny, nx] = volume.shape;
    // Every third scan keeps one frame in memory and reads the others back.
    let rules = &Rules { dense: (nz % 3 == 0).then_some(1), ..rules.clone() };
    let spill = rules.dense.map(|_| Spill::new(&std::env::temp_dir()).unwrap());
    let mut segmenter = Segmenter::new(rules.clone(), [ny, nx], None).with_spill(spill.clone());
    // Whole numbers may come as words, which are kept as bytes.
    let words = nz % 2 == 0 && volume.values.iter().all(|v| v.fract() == 0.0);
    // Where the ring is turned the number of frames has been heard of.
    segmenter.missing_until(if rules.wrap { nz as u64 } else { 0 });
    let mut blobs = vec![];
    for (pushed, z) in (0..nz).map(|k| (k + begin) % nz).filter(|z| !missing[*z]).enumerate() {
        if stop == Some(pushed) {
            let state = segmenter.save().unwrap();
            segmenter = Segmenter::new(rules.clone(), [ny, nx], None).with_spill(spill.clone());
            segmenter.load(&state).unwrap();
        }
        let mut image = frame(volume, z);
        if words {
            let pixels: Vec<i16> = image.as_slice::<f32>().unwrap().iter().map(|v| *v as i16).collect();
            image = Array::of(image.shape(), &pixels).unwrap();
        }
        let plane = Plane::of_image(z as u64, &image, rules.floor(), None).unwrap();
        let plane = plane.with_bytes(image, None, Pool::unpooled()).unwrap();
        blobs.extend(segmenter.push(plane).unwrap());
        let most = 3 * (2 * rules.limit[0] + 2) + 2;
        if !rules.wrap && rules.limit[0] == 0 && rules.overlap == Overlap::Keep {
            assert!(segmenter.resident() <= most, "{} frames are kept", segmenter.resident());
        }
    }
    blobs.extend(segmenter.finish(nz as u64).unwrap());
    blobs.sort_by(|a, b| a.seed.rank(&b.seed));
    blobs
}

/// The volume that the offline rules see: missing frames are empty, or not there at all.
fn seen(case: &Case) -> (Volume, Vec<usize>) {
    let [nz, ny, nx] = case.volume.shape;
    let there: Vec<usize> = (0..nz).filter(|z| !case.missing[*z]).collect();
    let mut values = vec![];
    let frames: Vec<usize> = if case.rules.bridge { there } else { (0..nz).collect() };
    for z in &frames {
        match case.missing[*z] {
            true => values.resize(values.len() + ny * nx, f32::NEG_INFINITY),
            false => values.extend_from_slice(&case.volume.values[z * ny * nx..(z + 1) * ny * nx]),
        }
    }
    (Volume { shape: [frames.len(), ny, nx], values }, frames)
}

fn plain(blob: &Blob, frames: &[usize]) -> Plain {
    let z = frames.iter().position(|f| *f as u64 == blob.seed.number).unwrap();
    Plain {
        max: blob.seed.max,
        seed: [z, blob.seed.row as usize, blob.seed.column as usize],
        seed_voxels: blob.seed.voxels,
        threshold: blob.threshold,
        origin: [z as i64 + blob.origin[0], blob.origin[1], blob.origin[2]],
        size: blob.size,
        mask: blob.mask.clone(),
        data: blob.data.clone(),
        edge: blob.edge,
        oversize: blob.oversize,
    }
}

fn same(a: &[Plain], b: &[Plain]) -> bool {
    // NaN outside the mask is the same on both sides, but not equal to itself.
    let bits = |p: &Plain| p.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let bare = |p: &Plain| Plain { data: vec![], ..p.clone() };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bare(a) == bare(b) && bits(a) == bits(b))
}

fn run(cases: std::ops::Range<u64>) -> usize {
    let mut blobs = 0;
    for seed in cases {
        let case = case(seed);
        let (volume, frames) = seen(&case);
        if volume.shape[0] == 0 {
            assert!(stream(&case, None).is_empty());
            continue;
        }
        let wanted = segment(&volume, &case.rules);
        let found: Vec<Plain> = stream(&case, None).iter().map(|b| plain(b, &frames)).collect();
        assert!(
            same(&found, &wanted),
            "case {seed}: {:?} in {:?}, missing {:?}, from {}\nfound  {found:#?}\nwanted {wanted:#?}",
            case.rules,
            case.volume.shape,
            case.missing,
            case.begin
        );
        let stop = Some(seed as usize % volume.shape[0]);
        let resumed: Vec<Plain> = stream(&case, stop).iter().map(|b| plain(b, &frames)).collect();
        assert!(same(&resumed, &wanted), "case {seed} differs when resumed after {stop:?}");
        blobs += wanted.len();
    }
    blobs
}

#[test]
fn streaming_is_offline_over_thousands_of_volumes() {
    let blobs = run(0..6000);
    assert!(blobs > 20_000, "{blobs} blobs are too few to mean much");
}

#[test]
fn sums_are_those_of_the_masked_values() {
    let case = case(11);
    for blob in stream(&case, None) {
        let masked: Vec<f64> =
            blob.data.iter().zip(&blob.mask).map(|(v, m)| f64::from(*v) * f64::from(*m)).collect();
        assert_eq!(blob.integral, masked.iter().sum::<f64>());
        assert_eq!(blob.voxels, blob.mask.iter().map(|m| u64::from(*m)).sum::<u64>());
        let pixels = blob.size[1] * blob.size[2];
        let covered = (0..pixels).filter(|p| blob.mask.iter().skip(*p).step_by(pixels).any(|m| *m != 0));
        assert_eq!(blob.area, covered.count() as u64);
        for (axis, step) in [pixels, blob.size[2], 1].into_iter().enumerate() {
            let index = |k: usize| (k / step % blob.size[axis]) as f64;
            let mean = masked.iter().enumerate().map(|(k, v)| index(k) * v).sum::<f64>() / blob.integral;
            assert!((blob.centroid[axis] - mean).abs() < 1e-12 || mean.is_nan());
        }
    }
}

/// Every voxel has one owner, so that what the spots sum to is what their voxels do.
#[test]
fn in_exclusive_no_voxel_counts_twice() {
    let mut shared = 0;
    for seed in 0..1500 {
        let mut case = case(seed);
        case.rules.overlap = Overlap::Exclusive;
        let [nz, ny, nx] = case.volume.shape;
        let mut owners = vec![0u32; nz * ny * nx];
        let mut sum = 0.0;
        let frames = seen(&case).1;
        for blob in stream(&case, None).iter().map(|b| (plain(b, &frames), b.integral)) {
            let (blob, integral) = blob;
            sum += integral;
            for k in (0..blob.mask.len()).filter(|k| blob.mask[*k] != 0) {
                let [z, y, x] =
                    [k / (blob.size[1] * blob.size[2]), k / blob.size[2] % blob.size[1], k % blob.size[2]];
                let z = frames[(blob.origin[0] + z as i64).rem_euclid(frames.len() as i64) as usize];
                owners[(z * ny + blob.origin[1] as usize + y) * nx + blob.origin[2] as usize + x] += 1;
            }
        }
        assert!(owners.iter().all(|n| *n <= 1), "case {seed}: a voxel is in two spots");
        let owned: f64 = owners
            .iter()
            .zip(&case.volume.values)
            .filter(|(n, _)| **n == 1)
            .map(|(_, v)| f64::from(*v))
            .sum();
        assert!((owned - sum).abs() < 1e-6 * owned.abs().max(1.0), "case {seed}: {sum}, wanted {owned}");
        case.rules.overlap = Overlap::Keep;
        shared += usize::from(stream(&case, None).iter().map(|b| b.integral).sum::<f64>() > 1.001 * owned);
    }
    assert!(shared > 50, "{shared} volumes have spots that share voxels otherwise");
}

#[test]
fn a_jump_of_the_angle_parts_what_it_cuts() {
    let rules = Rules {
        threshold: 1.0,
        tolerance: 0.5,
        low: None,
        high: None,
        limit: [4, 1, 1],
        connectivity: Connectivity::Corners,
        overlap: Overlap::Suppress,
        least: 1,
        wrap: false,
        bridge: true,
        delay: None,
        dense: None,
    };
    let mut segmenter = Segmenter::new(rules, [1, 1], None);
    let mut blobs = vec![];
    for (z, omega) in [-67.0, -66.0, -65.0, 65.0, 66.0].into_iter().enumerate() {
        let plane = Plane::of_pixels(z as u64, [1, 1], vec![(0, 0, 5.0)], 0.5).unwrap();
        blobs.extend(segmenter.push(plane.with_omega(omega)).unwrap());
    }
    blobs.extend(segmenter.finish(5).unwrap());
    let found: Vec<_> = blobs.iter().map(|b| (b.first_frame, b.last_frame, b.omega)).collect();
    assert_eq!(found, [(0, 2, -66.0), (3, 4, 65.5)]);
}

#[test]
fn a_pixel_that_never_closes_keeps_no_frames() {
    let rules = Rules {
        threshold: 1.0,
        tolerance: 0.5,
        low: None,
        high: None,
        limit: [3, 2, 2],
        connectivity: Connectivity::Corners,
        overlap: Overlap::Exclusive,
        least: 1,
        wrap: true,
        bridge: false,
        delay: None,
        dense: None,
    };
    let mut segmenter = Segmenter::new(rules, [64, 64], None);
    let (mut voxels, mut blobs) = (0, 0);
    for z in 0..2000u64 {
        let mut image = vec![0f32; 64 * 64];
        // Twenty pixels that are always lit, each brightest at another time, in frames that are full of noise.
        for hot in 0..20u64 {
            image[(hot * 64 * 3 + hot) as usize] = 10.0 + if z == 90 * hot + 50 { 5.0 } else { 0.0 };
        }
        for k in 0..200 {
            image[(k * 37 + z as usize * 11) % 4096] += 0.9;
        }
        let image = Array::of(&[64, 64], &image).unwrap();
        let plane = Plane::of_image(z, &image, 0.8, None).unwrap().with_pixels(image);
        blobs += segmenter.push(plane).unwrap().len();
        voxels = voxels.max(segmenter.planes.values().map(Plane::lit).sum());
    }
    assert_eq!(segmenter.lasting(), 0, "regions on the seam are not counted");
    blobs += segmenter.finish(2000).unwrap().len();
    assert_eq!(blobs, 20);
    // Some 200 lit pixels a frame: ten frames whole, and of 140 others next to nothing.
    assert!(voxels < 8000, "{voxels} voxels are kept");
}

/// Spots so many that each has a dozen others within reach: what waits for what must not keep frames.
#[test]
fn crowded_scans_keep_no_more_frames_the_longer_they_last() {
    for (overlap, connectivity) in
        [(Overlap::Suppress, Connectivity::Corners), (Overlap::Exclusive, Connectivity::Faces)]
    {
        let rules = Rules {
            threshold: 30.0,
            tolerance: 0.3,
            low: Some(10.0),
            high: None,
            limit: [6, 20, 20],
            connectivity,
            overlap,
            least: 1,
            wrap: true,
            bridge: false,
            delay: None,
            dense: None,
        };
        let (side, frames) = (64, 1500u64);
        let mut dice = Dice(77);
        let spots: Vec<[f32; 4]> = (0..3 * frames)
            .map(|k| {
                let [row, column] = [dice.below(side), dice.below(side)].map(|n| n as f32);
                [(k / 3) as f32, row, column, 40.0 + dice.below(400) as f32]
            })
            .collect();
        let mut segmenter = Segmenter::new(rules.clone(), [side, side], None);
        let mut kept = vec![];
        for z in 0..frames {
            let mut image = vec![0f32; side * side];
            let near = |s: &&[f32; 4]| (s[0] - z as f32).abs() < 5.0;
            for [k, row, column, peak] in spots.iter().filter(near) {
                for (p, pixel) in image.iter_mut().enumerate() {
                    let far = |a: f32, b: f32| (a - b) * (a - b);
                    let all =
                        far(*k, z as f32) + far(*row, (p / side) as f32) + far(*column, (p % side) as f32);
                    if all < 40.0 {
                        *pixel += peak * (-0.3 * all).exp();
                    }
                }
            }
            let image = Array::of(&[side, side], &image).unwrap();
            let plane = Plane::of_image(z, &image, rules.floor(), None).unwrap().with_pixels(image);
            segmenter.push(plane).unwrap();
            let values: usize = segmenter.planes.values().map(|p| p.lit() + p.held()).sum();
            kept.push((segmenter.resident(), segmenter.waiting.len(), values));
        }
        let most = |range: std::ops::Range<usize>| {
            let of =
                |f: fn(&(usize, usize, usize)) -> usize| kept[range.clone()].iter().map(f).max().unwrap();
            [of(|k| k.0), of(|k| k.1), of(|k| k.2)]
        };
        let (early, late) = (most(100..300), most(1300..1500));
        eprintln!("{overlap:?}: frames, regions and pixels kept: {early:?} early, {late:?} late");
        for (early, late) in early.into_iter().zip(late) {
            assert!(late <= early + early / 3, "{late} late, {early} early");
        }
        // Those of the seam, the newest, and those around what is still lit, in other places of the frame.
        assert!(late[0] <= 6 * rules.reach()[0] as usize, "{} frames", late[0]);
    }
}

/// A detector of one row, frame after frame; gives the blobs with the newest frame when they came.
fn row(rules: &Rules, frames: &[[f32; 5]]) -> Vec<(usize, Blob)> {
    let mut segmenter = Segmenter::new(rules.clone(), [1, 5], None);
    let mut blobs = vec![];
    for (z, pixels) in frames.iter().enumerate() {
        let image = Array::of(&[1, 5], pixels).unwrap();
        let plane = Plane::of_image(z as u64, &image, rules.floor(), None).unwrap().with_pixels(image);
        blobs.extend(segmenter.push(plane).unwrap().into_iter().map(|b| (z, b)));
    }
    blobs.extend(segmenter.finish(frames.len() as u64).unwrap().into_iter().map(|b| (frames.len(), b)));
    blobs
}

#[test]
fn what_may_not_wait_is_provisional() {
    let rules = Rules {
        threshold: 1.0,
        tolerance: 0.5,
        low: None,
        high: None,
        limit: [3, 2, 2],
        connectivity: Connectivity::Corners,
        overlap: Overlap::Suppress,
        least: 1,
        wrap: false,
        bridge: false,
        delay: None,
        dense: None,
    };
    // A spot in frame 1 beside a brighter pixel that stays lit: the spot may lie in what grows from there.
    let mut frames = vec![[0.0, 0.0, 8.0, 0.0, 0.0]; 30];
    frames[1] = [5.0, 0.0, 9.0, 0.0, 0.0];
    let of = |delay| -> Vec<(usize, u32, bool)> {
        let blobs = row(&Rules { delay, ..rules.clone() }, &frames);
        blobs.iter().map(|(z, b)| (*z, b.seed.column, b.provisional)).collect()
    };
    assert_eq!(of(None), [(30, 2, false), (30, 0, false)]);
    assert_eq!(of(Some(6)), [(7, 0, true), (30, 2, false)]);
    assert_eq!(of(Some(100)), of(None));
}

#[test]
fn frames_past_the_limit_keep_their_lit_pixels_only() {
    let rules = Rules {
        threshold: 1.0,
        tolerance: 0.5,
        low: None,
        high: None,
        limit: [4, 2, 2],
        connectivity: Connectivity::Corners,
        overlap: Overlap::Suppress,
        least: 1,
        wrap: false,
        bridge: false,
        delay: None,
        dense: Some(4),
    };
    // Two spots of which the second is longer than what is kept.
    let mut frames = vec![[0.25; 5]; 20];
    frames[2] = [0.25, 6.0, 0.25, 6.0, 0.25];
    frames[2..4].iter_mut().for_each(|f| f[1] = 6.0);
    frames[10..16].iter_mut().for_each(|f| (f[1], f[2]) = (6.0, 0.5));
    frames[12][2] = 7.0;
    let found = row(&rules, &frames);
    let kept = row(&Rules { dense: None, ..rules.clone() }, &frames);
    assert_eq!(found.len(), kept.len());
    for ((_, found), (_, kept)) in found.iter().zip(&kept) {
        assert!(kept.whole);
        assert_eq!((found.seed, &found.mask, found.integral), (kept.seed, &kept.mask, kept.integral));
        let there = |b: &Blob, on: u8| {
            b.data.iter().zip(&b.mask).filter(|(_, m)| **m == on).map(|(v, _)| *v).collect::<Vec<_>>()
        };
        assert_eq!(there(found, 1), there(kept, 1));
        assert!(!found.whole || there(found, 0) == there(kept, 0));
    }
    assert!(found.iter().any(|(_, b)| !b.whole));
}
