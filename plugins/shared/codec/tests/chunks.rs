//! Chunks that h5py 3.16 and hdf5plugin 7.1 wrote, decoded bit for bit.
//!
//! A line of `data/chunks.txt` is a name, the dtype, the number of elements, the mask of filters left out, filters
//! with their parameters, and the chunk as `Dataset.id.read_direct_chunk` gives it, in hex. Element i is
//! `i * i / 50 % 97` in whole numbers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use isard_codec::{Filter, Pipeline, Scratch, number, undo};

struct Chunk {
    name: String,
    size: usize,
    mask: u32,
    filters: Vec<Filter>,
    packed: Vec<u8>,
    wanted: Vec<u8>,
}

fn chunks() -> Vec<Chunk> {
    include_str!("data/chunks.txt").lines().map(chunk).collect()
}

fn chunk(line: &str) -> Chunk {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, dtype, n, mask, filters, hex] = words[..] else { panic!("{line}") };
    let size: usize = dtype[dtype.len() - 1..].parse().unwrap();
    let filter = |text: &str| {
        let (number, values) = text.split_once(':').unwrap();
        let values = values.split(',').filter(|v| !v.is_empty()).map(|v| v.parse().unwrap()).collect();
        Filter { number: number.parse().unwrap(), values }
    };
    let n: u64 = n.parse().unwrap();
    Chunk {
        name: format!("{name} {dtype}"),
        size,
        mask: mask.parse().unwrap(),
        filters: filters.split(';').map(filter).collect(),
        packed: (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect(),
        wanted: (0..n).flat_map(|i| (i * i / 50 % 97).to_le_bytes()[..size].to_vec()).collect(),
    }
}

#[test]
fn every_filter_gives_the_elements_back() {
    let mut scratch = Scratch::default();
    let mut seen = std::collections::BTreeSet::new();
    for c in chunks() {
        seen.extend(c.filters.iter().map(|f| f.number));
        let pipeline = Pipeline::new(&c.filters, c.wanted.len(), c.size).unwrap();
        assert!(pipeline.plausible(c.packed.len()), "{}", c.name);
        let mut out = vec![0; c.wanted.len()];
        pipeline
            .decode(c.mask, &c.packed, &mut scratch, &mut out)
            .unwrap_or_else(|e| panic!("{}: {e}", c.name));
        assert!(out == c.wanted, "{}", c.name);
    }
    use number::*;
    let all = [DEFLATE, SHUFFLE, FLETCHER32, LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD];
    assert_eq!(seen, all.into_iter().collect());
}

#[test]
fn single_filters_are_undone_without_a_length() {
    for c in chunks() {
        let own = [number::BLOSC, number::LZ4, number::BITSHUFFLE, number::ZSTD];
        let [filter] = &c.filters[..] else { continue };
        if own.contains(&filter.number) && c.mask == 0 {
            assert!(undo(filter, &c.packed, 1 << 20).unwrap() == c.wanted, "{}", c.name);
            assert!(undo(filter, &c.packed, c.wanted.len() - 1).is_err(), "{}", c.name);
        }
    }
}

#[test]
fn filters_left_out_are_not_undone() {
    let wanted = [7_u8, 1, 7, 1];
    let filters = [number::SHUFFLE, number::LZF].map(|number| Filter { number, values: vec![] });
    let pipeline = Pipeline::new(&filters, 4, 2).unwrap();
    let mut out = [0; 4];
    pipeline.decode(2, &[7, 7, 1, 1], &mut Scratch::default(), &mut out).unwrap();
    assert_eq!(out, wanted);
    pipeline.decode(3, &wanted, &mut Scratch::default(), &mut out).unwrap();
    assert_eq!(out, wanted);
    assert!(pipeline.decode(0, &wanted, &mut Scratch::default(), &mut out).is_err());
    assert!(pipeline.decode(3, &wanted[..3], &mut Scratch::default(), &mut out).is_err());
}

#[test]
fn a_wrong_checksum_is_told() {
    let c = chunks().into_iter().find(|c| c.name.starts_with("sum")).unwrap();
    let pipeline = Pipeline::new(&c.filters, c.wanted.len(), c.size).unwrap();
    let (mut packed, mut out) = (c.packed, vec![0; c.wanted.len()]);
    packed[10] ^= 4;
    let error = pipeline.decode(0, &packed, &mut Scratch::default(), &mut out).unwrap_err();
    assert!(error.to_string().starts_with("the fletcher32 checksum is "), "{error}");
}

#[test]
fn what_is_not_known_gives_no_pipeline() {
    let filter = |number, values: &[u32]| Filter { number, values: values.into() };
    assert!(Pipeline::new(&[filter(32026, &[])], 8, 2).is_none());
    assert!(Pipeline::new(&[filter(number::BITSHUFFLE, &[0, 4, 2, 0, 9])], 8, 2).is_none());
    assert!(Pipeline::new(&[filter(number::LZF, &[]), filter(number::DEFLATE, &[])], 8, 2).is_none());
}
