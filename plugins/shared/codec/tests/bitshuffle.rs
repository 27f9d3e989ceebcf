//! Bitshuffle there and back, and headers that lie.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use isard_codec::bitshuffle::{self, Codec};
use isard_codec::{Filter, Pipeline, number, undo};

#[test]
fn bitshuffle_goes_there_and_back() {
    let mut scratch = bitshuffle::Scratch::default();
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd(1)] {
        for size in [1, 2, 3, 4, 8, 16] {
            for n in [0, 1, 7, 8, 9, 63, 1000, 4096, 4097, 20_003] {
                let src: Vec<u8> = (0..n * size).map(|i| (i * i / 300 % 11) as u8).collect();
                let (mut packed, mut back) = (vec![9], vec![1; src.len()]);
                bitshuffle::encode(&src, codec, size, &mut scratch, &mut packed).unwrap();
                bitshuffle::decode(&packed[1..], codec, size, 0, &mut scratch, &mut back).unwrap();
                assert!(back == src && packed[0] == 9, "{codec:?} {size} {n}");
            }
        }
    }
    assert!(bitshuffle::encode(&[0; 3], Codec::Lz4, 2, &mut scratch, &mut vec![]).is_err());
}

#[test]
fn headers_that_promise_too_much_are_refused() {
    let mut lz4 = u64::MAX.to_be_bytes().to_vec();
    lz4.extend([255; 8]);
    for (number, values) in [(number::LZ4, vec![]), (number::BITSHUFFLE, vec![0, 4, 2, 0, 2])] {
        let error = undo(&Filter { number, values }, &lz4, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("say that they hold 18446744073709551615"), "{error}");
    }
    let pipeline = Pipeline::new(&[Filter { number: number::LZ4, values: vec![] }], 1 << 30, 2).unwrap();
    assert!(!pipeline.plausible(1000) && pipeline.plausible(8 << 20));
}

#[test]
fn deflate_goes_there_and_back() {
    for n in [0, 1, 1000, 100_000] {
        let src: Vec<u8> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as u8).collect();
        let (mut packed, mut back) = (vec![], vec![1; n]);
        isard_codec::deflate::encode(&src, 4, &mut packed).unwrap();
        isard_codec::deflate::decode(&packed, &mut back).unwrap();
        assert!(back == src, "{n}");
        assert!(isard_codec::deflate::decode(&packed, &mut vec![0; n + 1]).is_err());
        assert!(n == 0 || isard_codec::deflate::decode(&packed, &mut back[1..]).is_err());
        assert!(isard_codec::deflate::decode(&packed[..packed.len() - 1], &mut back).is_err());
    }
}
