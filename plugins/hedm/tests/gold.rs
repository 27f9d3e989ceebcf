//! The gold example, against the files that the existing programs made of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;

use common::{bytes, projector, reference, text, unpacked};
use isard_hedm::bits::{BitWriter, Painter, Scorer, light};
use isard_hedm::files::{
    SpotFiles, read_binary_mic, read_grid, read_printed_seeds, read_reflections, read_seeds, read_spot_files,
    read_text_mic, spot_files, write_grid, write_reflections, write_seeds, write_text_mic,
};
use isard_hedm::map::{GrainSearch, Pixels, find_grains, read_map, write_grains};
use isard_hedm::model::{Grid, Layout, Rules, reflections};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};
use sha2::{Digest, Sha256};

const CELL: [f64; 6] = [4.08, 4.08, 4.08, 90.0, 90.0, 90.0];

#[test]
fn reflections_are_those_of_the_list() {
    let Some(file) = reference("reflections_are_those_of_the_list", "hkls.csv") else { return };
    let text = std::fs::read_to_string(file).unwrap();
    let wanted = read_reflections(&text).unwrap();
    let again = read_reflections(&write_reflections(&wanted)).unwrap();
    assert!(
        again.iter().zip(&wanted).all(|(a, b)| (a.theta - b.theta).abs() < 1e-15 && a.g == b.g && a.d == b.d)
    );
    let cell = Cell::new(CELL).unwrap();
    let group = SpaceGroup::of(225, &cell).unwrap();
    // The list maker takes the last distance of the parameter file, and indices up to 10.
    let mut found = reflections(&cell, &group, 0.172979, 10290.724494, 2800.0, Some(10)).unwrap();
    assert_eq!(found.len(), wanted.len());
    for w in &wanted {
        let at = found.iter().position(|r| r.hkl == w.hkl).unwrap();
        let r = found.swap_remove(at);
        assert_eq!(r.ring, w.ring, "{:?}", r.hkl);
        let pairs = [
            (r.d, w.d),
            (r.theta, w.theta),
            (r.radius, w.radius),
            (r.g[0], w.g[0]),
            (r.g[1], w.g[1]),
            (r.g[2], w.g[2]),
        ];
        assert!(pairs.iter().all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs().max(1e-3)), "{pairs:?}");
    }
}

#[test]
fn the_grid_and_the_seeds_are_those_of_the_files() {
    let Some(file) = reference("the_grid_and_the_seeds_are_those_of_the_files", "grid.txt") else { return };
    let folder = file.parent().unwrap();
    let wanted = text(folder, "grid.txt");
    let grid = Grid { radius: 50.0, size: 2.5, edge: 1.0, layout: Layout::Midas };
    assert_eq!(write_grid(&grid.voxels()), wanted);
    assert_eq!(read_grid(&wanted).unwrap().len(), 3456);

    let wanted = text(folder, "seedOrientations.txt");
    let seeds = isard_hedm::files::read_grains(&text(folder, "grs.csv")).unwrap();
    assert_eq!(write_seeds(&seeds, &Cell::new(CELL).unwrap()), wanted);
    for (a, b) in seeds.iter().zip(read_seeds(&wanted).unwrap()) {
        assert!(a.angle_to(&b) < 3e-6);
    }
}

#[test]
fn predicted_spots_are_those_of_the_files() {
    let Some(file) = reference("predicted_spots_are_those_of_the_files", "ps_au.txt") else { return };
    let folder = file.parent().unwrap();
    let seeds = read_printed_seeds(&text(folder, "seedOrientations.txt")).unwrap();
    let wanted = SpotFiles {
        spots: bytes(folder, "DiffractionSpots.bin"),
        key: bytes(folder, "Key.bin"),
        matrices: bytes(folder, "OrientMat.bin"),
    };
    let predictor = projector(folder, Rules::Midas).predictor;
    let matrices: Vec<_> = seeds.iter().map(|q| Quat(*q).matrix()).collect();
    let found = spot_files(&predictor, &matrices).unwrap();
    assert_eq!(found.key, wanted.key);
    for (a, b) in read_spot_files(&found).unwrap().into_iter().zip(read_spot_files(&wanted).unwrap()) {
        assert!(a.0.iter().flatten().zip(b.0.iter().flatten()).all(|(x, y)| (x - y).abs() < 1e-15));
        for (s, t) in a.1.iter().zip(&b.1) {
            assert!(
                (s.y - t.y).abs() < 1e-8 && (s.z - t.z).abs() < 1e-8 && (s.omega - t.omega).abs() < 1e-9,
                "{s:?} {t:?}"
            );
        }
    }
}

/// The SHA-256 of `SpotsInfo.bin` stands in the specification of the reference data.
#[test]
fn the_bits_of_the_truth_are_those_of_the_file() {
    let Some(file) = reference("the_bits_of_the_truth_are_those_of_the_file", "Au_txt.mic") else { return };
    let folder = file.parent().unwrap();
    let (_, truth) = read_text_mic(&text(folder, "Au_txt.mic")).unwrap();
    let projector = projector(folder, Rules::Midas);
    let mut painter = Painter::new(&projector);
    for v in truth.iter().filter(|v| v.confidence >= 0.7) {
        painter.add(&projector, &v.voxel, &Quat::from_euler(v.euler));
    }
    let volume = painter.volume().unwrap();
    assert_eq!(volume.lit(), 87_646);

    struct Hash(Sha256, u64);
    impl Write for Hash {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let hash = BitWriter::new(Hash(Sha256::new(), 0), [2048, 2048]).volume(&volume).unwrap();
    assert_eq!(hash.1, 1_509_949_440);
    let text: String = hash.0.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(text, "8ca63652710130fc828ca97cccc113e7332ee92636188738d6d6971145380447");

    // Confidences of the reference map, from its own angles.
    let reference = read_binary_mic(&bytes(folder, "reference_Au_bin_Reconstructed.mic")).unwrap();
    let mut scorer = Scorer::default();
    for v in reference.iter().filter(|v| v.confidence > 0.0) {
        let score = scorer.score(&projector, &volume, &v.voxel, &Quat::from_euler(v.euler).matrix());
        assert!((score.confidence() - v.confidence).abs() < 1e-6, "{v:?}: found {}", score.confidence());
        assert_eq!(score.known, 2 * score.total);
    }
}

#[test]
fn voxels_light_as_many_pixels_as_were_counted_elsewhere() {
    let Some(file) = reference("voxels_light_as_many_pixels_as_were_counted_elsewhere", "Au_txt.mic") else {
        return;
    };
    let folder = file.parent().unwrap();
    let (_, truth) = read_text_mic(&text(folder, "Au_txt.mic")).unwrap();
    let projector = projector(folder, Rules::Midas);
    let mut painter = Painter::new(&projector);
    let mut rows = 0;
    for v in truth.iter().filter(|v| v.confidence >= 0.7) {
        painter.add(&projector, &v.voxel, &Quat::from_euler(v.euler));
        light(&projector, &v.voxel, &Quat::from_euler(v.euler), |_, _, _, _| rows += 1);
    }
    let frames = (0..2).flat_map(|l| (0..1440).map(move |f| (l, f)));
    let hits: Vec<u16> = frames.flat_map(|(l, f)| painter.hits(l, f)).map(|(_, n)| n).collect();
    // A program of its own in numpy, written from the specification alone, lights the same 87646 bits: by 288173 pixels of
    // spots of voxels, 32 of them on the brightest bit, and 28474 bits by one.
    assert_eq!((hits.len(), rows), (87_646, 288_173));
    assert_eq!(hits.iter().map(|n| u64::from(*n)).sum::<u64>(), 288_173);
    assert_eq!((hits.iter().max(), hits.iter().filter(|n| **n == 1).count()), (Some(&32), 28_474));
}

#[test]
fn the_text_map_is_written_as_it_was_read() {
    let Some(file) = reference("the_text_map_is_written_as_it_was_read", "ps_au.txt") else { return };
    let folder = file.parent().unwrap();
    let wanted = text(folder, "reference_Au_txt_Reconstructed.mic");
    let (head, voxels) = read_text_mic(&wanted).unwrap();
    assert_eq!(write_text_mic(&head, &voxels), wanted);
    let binary = read_binary_mic(&bytes(folder, "reference_Au_bin_Reconstructed.mic")).unwrap();
    assert_eq!(write_text_mic(&head, &binary), wanted);
}

#[test]
fn grains_are_those_of_the_lists() {
    let Some(file) = reference("grains_are_those_of_the_lists", "reference_grains_nbr0.csv") else { return };
    let folder = file.parent().unwrap();
    let (head, voxels) = read_text_mic(&text(folder, "reference_Au_txt_Reconstructed.mic")).unwrap();
    let cell = Cell::new(CELL).unwrap();
    let symmetry = Symmetry::of(&SpaceGroup::of(225, &cell).unwrap(), &cell).unwrap();
    for connected in [false, true] {
        let search = GrainSearch { angle: 1.0, confidence: 0.7, connected, edge: head.edge };
        let grains = find_grains(&voxels, &symmetry, &search);
        let from = "reference_Au_txt_Reconstructed.mic";
        let found = write_grains(&grains, &voxels, &cell, 225, &search, head.edge, from);
        let wanted = text(folder, &format!("reference_grains_nbr{}.csv", u8::from(connected)));
        assert_eq!(found.lines().count(), wanted.lines().count(), "connected: {connected}");
        for (f, w) in found.lines().zip(wanted.lines()) {
            if w.starts_with('%') {
                assert_eq!(f, w);
                continue;
            }
            let numbers = |l: &str| l.split(' ').map(|x| x.parse().unwrap()).collect::<Vec<f64>>();
            let (f, w) = (numbers(f), numbers(w));
            assert!(
                f.len() == w.len() && f.iter().zip(&w).all(|(a, b)| (a - b).abs() < 2e-6),
                "{f:?}\n{w:?}"
            );
        }
    }
}

#[test]
fn maps_in_pixels_are_those_of_the_files() {
    let Some(file) = reference("maps_in_pixels_are_those_of_the_files", "reference_Au_bin_Reconstructed.mic")
    else {
        return;
    };
    let folder = file.parent().unwrap();
    let wanted = |ending: &str| {
        read_map(&unpacked(&folder.join(format!("reference_Au_txt_Reconstructed.mic.map{ending}.xz"))))
            .unwrap()
    };
    let voxels = read_binary_mic(&bytes(folder, "reference_Au_bin_Reconstructed.mic")).unwrap();
    let pixels = Pixels::new(&voxels, true);
    let (shape, origin, planes) = wanted("");
    assert_eq!(pixels.shape, shape);
    assert!(pixels.origin.iter().zip(origin).all(|(a, b)| (a - b).abs() < 1e-6));
    let close = |a: &[f64], b: &[f64], by: f64| {
        assert_eq!(a.len(), b.len());
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= by, "found {worst}, wanted at most {by}");
    };
    // The program read the text, which has six digits.
    close(&pixels.planes(&voxels, 1), &planes, 1e-6);
    let cell = Cell::new(CELL).unwrap();
    let symmetry = Symmetry::of(&SpaceGroup::of(225, &cell).unwrap(), &cell).unwrap();
    let texture = pixels.texture(&voxels, &symmetry, 5f64.to_radians());
    close(&texture.kam, &wanted(".kam").2, 1e-5);
    close(&texture.grod, &wanted(".grod").2, 1e-5);
    let grain: Vec<f64> = texture.grain.iter().map(|g| f64::from(*g)).collect();
    close(&grain, &wanted(".grainId").2, 0.0);
}
