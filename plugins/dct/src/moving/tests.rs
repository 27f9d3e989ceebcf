use super::*;
use isard_core::Pool;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}

fn alone(n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    (0..n).try_for_each(work)
}

/// Frames to write to as the pool gives them: vectors go past the cache where frames begin at whole lines.
fn pooled(dtype: Dtype, n: usize, pixels: usize) -> Vec<ArrayMut> {
    (0..n).map(|_| Pool::unpooled().take(dtype, &[pixels]).unwrap()).collect()
}

fn slices<O: Element>(frames: &mut [ArrayMut]) -> Vec<&mut [O]> {
    frames.iter_mut().map(|f| f.as_slice_mut().unwrap()).collect()
}

/// The median of a sorted window, in double precision.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { f64::NAN } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
}

#[test]
fn windows_at_the_ends_by_hand() {
    let window = |edge, length, stride| Window { length, stride, edge };
    let around = |edge, k| window(edge, 5, 1).around(k, 7);
    assert_eq!(around(Edge::Wrap, 0), [5, 6, 0, 1, 2]);
    assert_eq!(around(Edge::Shift, 0), [0, 1, 2, 3, 4]);
    assert_eq!(around(Edge::Shift, 6), [2, 3, 4, 5, 6]);
    assert_eq!(around(Edge::Reflect, 0), [1, 0, 0, 1, 2]);
    assert_eq!(around(Edge::Reflect, 6), [4, 5, 6, 6, 5]);
    assert_eq!(around(Edge::Nearest, 1), [0, 0, 1, 2, 3]);
    // A window longer than the scan takes all of it.
    assert_eq!(window(Edge::Shift, 9, 1).around(2, 4), [0, 1, 2, 3]);
    // With a stride the window keeps to the frames it can reach.
    assert_eq!(window(Edge::Shift, 3, 3).around(1, 10), [1, 4, 7]);
    assert_eq!(window(Edge::Shift, 3, 3).around(9, 10), [3, 6, 9]);
    assert_eq!(window(Edge::Wrap, 3, 3).around(1, 10), [8, 1, 4]);
}

fn random(dice: &mut Dice) -> (Window, usize, Vec<bool>) {
    let frames = 1 + dice.below(40);
    let mut length = [1, 3, 5, 11, 21, 51][dice.below(6)];
    let edge = [Edge::Wrap, Edge::Shift, Edge::Reflect, Edge::Nearest][dice.below(4)];
    let stride = 1 + dice.below(3);
    while edge == Edge::Wrap && length > frames {
        length -= 2;
    }
    let often = 1 + dice.below(9);
    let missing = (0..frames).map(|_| often > 5 && dice.below(often) == 0).collect();
    (Window { length, stride, edge }, frames, missing)
}

fn wanted(window: Window, missing: &[bool]) -> Vec<(usize, Vec<Option<usize>>)> {
    // Frames are kept without holes: place of each that is there.
    let place = |f: usize| (!missing[f]).then(|| missing[..f].iter().filter(|m| !**m).count());
    let around = |k: usize| window.around(k, missing.len()).into_iter().map(place).collect();
    (0..missing.len()).filter_map(|k| Some((place(k)?, around(k)))).collect()
}

#[test]
fn words_are_less_the_middle_of_the_sorted_window() {
    let mut dice = Dice(5);
    for case in 0..200 {
        let (window, _, missing) = random(&mut dice);
        let pixels = [1, 7, 40, 33_000][if case % 50 == 0 { 3 } else { case % 3 }];
        // Counts of all sizes, small ones, and small ones with a few that are too large for the quick way.
        let mut value = || match (case / 3) % 3 {
            0 => dice.below(65536) as u16,
            2 if dice.below(900) == 0 => 40_000 + dice.below(25_536) as u16,
            _ => 300 + dice.below(9) as u16,
        };
        let wanted = wanted(window, &missing);
        let frames: Vec<Vec<u16>> = wanted.iter().map(|_| (0..pixels).map(|_| value()).collect()).collect();
        let batch = Batch { frames: frames.iter().map(Vec::as_slice).collect(), wanted };
        for level in Level::all() {
            let n = frames.len();
            let (mut floats, mut medians) = (vec![vec![0f32; pixels]; n], vec![vec![0f32; pixels]; n]);
            let mut words = pooled(Dtype::I16, n, pixels);
            let out = Into {
                floats: floats.iter_mut().map(Vec::as_mut_slice).collect(),
                words: vec![],
                medians: Some(medians.iter_mut().map(Vec::as_mut_slice).collect()),
            };
            batch.run(level, out, alone).unwrap();
            let out = Into { floats: vec![], words: slices(&mut words), medians: None };
            let Told { over, full } = batch.run(level, out, alone).unwrap();
            let words: Vec<&[i16]> = words.iter().map(|w| w.as_slice().unwrap()).collect();
            for (k, (own, samples)) in batch.wanted.iter().enumerate() {
                let mut fits = true;
                let most = frames[*own].iter().filter(|v| **v == u16::MAX).count();
                assert_eq!(full[k] as usize, most);
                for p in (0..pixels).step_by(if pixels > 1000 { 97 } else { 1 }) {
                    let middle = median(samples.iter().flatten().map(|f| f64::from(frames[*f][p])).collect());
                    let difference = f64::from(frames[*own][p]) - middle;
                    assert_eq!(f64::from(floats[k][p]), difference, "{level:?} {window:?} frame {k}");
                    assert_eq!(f64::from(medians[k][p]), middle);
                    let whole = difference as i16;
                    fits &= f64::from(whole) == difference;
                    assert!(over[k] || words[k][p] == whole);
                }
                assert!(fits || over[k], "{level:?}: frame {k} does not fit, and nobody said so");
                let even = samples.iter().flatten().count() % 2 == 0;
                assert!(pixels > 1000 || even || fits != over[k], "{level:?}: frame {k} fits");
            }
        }
    }
}

#[test]
fn floats_leave_out_what_is_no_number() {
    let mut dice = Dice(6);
    for case in 0..200 {
        let (window, _, missing) = random(&mut dice);
        let pixels = [1, 7, 50][case % 3];
        let odd = case % 2 == 0;
        let mut value = || match dice.below(if odd { 4 } else { 1000 }) {
            0 if odd => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][dice.below(3)],
            _ => (dice.below(2000) as f32 - 1000.0) * 0.37,
        };
        let wanted = wanted(window, &missing);
        let frames: Vec<Vec<f32>> = wanted.iter().map(|_| (0..pixels).map(|_| value()).collect()).collect();
        let batch = Batch { frames: frames.iter().map(Vec::as_slice).collect(), wanted };
        let mut first: Option<Vec<Vec<u32>>> = None;
        for level in Level::all() {
            let n = frames.len();
            let (mut floats, mut medians) = (vec![vec![0f32; pixels]; n], vec![vec![0f32; pixels]; n]);
            let out = Into {
                floats: floats.iter_mut().map(Vec::as_mut_slice).collect(),
                words: vec![],
                medians: Some(medians.iter_mut().map(Vec::as_mut_slice).collect()),
            };
            batch.run(level, out, alone).unwrap();
            for (k, (own, samples)) in batch.wanted.iter().enumerate() {
                for p in 0..pixels {
                    let there = samples.iter().flatten().map(|f| frames[*f][p]);
                    let mut values: Vec<f32> = there.filter(|v| v.is_finite()).collect();
                    values.sort_by(f32::total_cmp);
                    let (m, own) = (values.len(), frames[*own][p]);
                    let middle = match m {
                        0 => f32::NAN,
                        _ => (values[(m - 1) / 2] + values[m / 2]) / 2.0,
                    };
                    let difference = if own.is_finite() { own - middle } else { f32::NAN };
                    assert!(medians[k][p] == middle || (medians[k][p].is_nan() && middle.is_nan()));
                    let found = floats[k][p];
                    assert!(found == difference || (found.is_nan() && difference.is_nan()));
                }
            }
            // Without medians, past the cache.
            let mut again = pooled(Dtype::F32, n, pixels);
            let out = Into { floats: slices(&mut again), words: vec![], medians: None };
            batch.run(level, out, alone).unwrap();
            let bits_of = |f: &[f32]| f.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let bits: Vec<Vec<u32>> = floats.iter().map(|f| bits_of(f)).collect();
            for (again, bits) in again.iter().zip(&bits) {
                assert_eq!(&bits_of(again.as_slice().unwrap()), bits, "{level:?}");
            }
            assert_eq!(first.get_or_insert(bits.clone()), &bits, "{level:?}");
        }
    }
}
