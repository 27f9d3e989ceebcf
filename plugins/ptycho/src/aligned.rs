//! Values in memory that begin where a line of the cache does.
//!
//! Wide loads and stores that reach over the end of a line take twice as long, and large allocations begin 16 bytes
//! behind one.

use std::ops::{Deref, DerefMut};

/// Bytes of a line of the cache.
pub const LINE: usize = 64;

/// A list of fixed length.
pub struct Aligned<X> {
    all: Vec<X>,
    first: usize,
    len: usize,
}

impl<X: Copy> Aligned<X> {
    /// So many of one value.
    pub fn new(value: X, len: usize) -> Aligned<X> {
        let line = LINE / size_of::<X>().max(1);
        let all = vec![value; len + line];
        // Where the address tells nothing any place will do.
        let first = all.as_ptr().align_offset(LINE).min(line);
        Aligned { all, first, len }
    }
}

impl<X: Copy> Clone for Aligned<X> {
    fn clone(&self) -> Aligned<X> {
        let Some(value) = self.first() else { return Aligned { all: vec![], first: 0, len: 0 } };
        let mut copy = Aligned::new(*value, self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<X> Deref for Aligned<X> {
    type Target = [X];
    fn deref(&self) -> &[X] {
        &self.all[self.first..self.first + self.len]
    }
}

impl<X> DerefMut for Aligned<X> {
    fn deref_mut(&mut self) -> &mut [X] {
        &mut self.all[self.first..self.first + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_copies_begin_at_a_line() {
        for len in [0usize, 1, 100, 65_536] {
            let mut values = Aligned::new(0.0f32, len);
            values.iter_mut().enumerate().for_each(|(k, x)| *x = k as f32);
            let copy = values.clone();
            for list in [&values, &copy] {
                assert!(len == 0 || list.as_ptr().addr().is_multiple_of(LINE), "{:?}", list.as_ptr());
                assert!(list.len() == len && list.iter().enumerate().all(|(k, x)| *x == k as f32));
            }
        }
    }
}
