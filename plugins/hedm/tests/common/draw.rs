//! Random numbers of a known seed.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::f64::consts::TAU;

use isard_orientation::Quat;

/// Random numbers.
pub struct Draw(pub u64);

impl Draw {
    /// A number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number up to so much either side of nothing.
    pub fn about(&mut self, far: f64) -> f64 {
        far * (2.0 * self.unit() - 1.0)
    }

    /// A number between two.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A number below another.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 16) as usize % n
    }

    /// The generator of Steele, Lea and Flood (OOPSLA 2014).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the normal distribution.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// Any orientation.
    pub fn rotation(&mut self) -> Quat {
        Quat::from_euler([TAU * self.unit(), self.about(1.0).acos(), TAU * self.unit()])
    }
}
