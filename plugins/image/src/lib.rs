//! Detector corrections, reductions and peaks of images.
//!
//! All stages take frames `[y x]` in a stream of chunks `[n y x]`. In a mask, 0 is a good pixel and anything else a
//! bad one; in floating-point images a NaN is a bad pixel too.

mod frames;
mod pixel;
mod prepared;
mod simd;

mod bin;
mod correct;
mod crop;
mod mask;
mod median;
mod orient;
mod repair;
mod single;
mod threshold;

mod accumulate;
mod extreme;
mod histogram;
mod std;
mod sum;

mod label;
mod peaks;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod tester;
