//! How fast is a content digest: frames of 512 x 512 u16, sixteen to a chunk?

use divan::counter::BytesCount;
use isard_core::store::{ContentDigest, sha256};
use isard_core::{Array, Chunk, Dict, Span};

fn main() {
    divan::main();
}

#[divan::bench]
fn content(bencher: divan::Bencher) {
    let pixels: Vec<u16> = (0..16 * 512 * 512u32).map(|i| (i ^ (i >> 7)) as u16).collect();
    let image = Array::of(&[16, 512, 512], &pixels).expect("the shape fits");
    let chunk = Chunk::new(Span::frames(0, 16), Dict::new().with("image", image));
    bencher.counter(BytesCount::new(pixels.len() * 2)).bench(|| {
        let mut digest = ContentDigest::new();
        digest.add(&chunk).expect("a chunk of frames");
        digest
    });
}

#[divan::bench]
fn plain_sha256(bencher: divan::Bencher) {
    let bytes = vec![7u8; 8 << 20];
    bencher.counter(BytesCount::new(bytes.len())).bench(|| sha256(&bytes));
}
