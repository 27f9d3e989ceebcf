//! Numbers of one precision, and work shared among threads.

use std::ops::{AddAssign, MulAssign, SubAssign};
use std::sync::{Mutex, PoisonError};

use isard_core::{Error, Result};
use isard_fourier::Planned;
use isard_fourier::num_traits::Float;
pub use num_complex::Complex;

/// Single or double precision.
pub trait Real:
    Planned + Float + AddAssign + SubAssign + MulAssign + Default + bytemuck::Pod + isard_core::Element
{
    /// The nearest number of this precision.
    fn of(x: f64) -> Self;
    /// The number in double precision.
    fn wide(self) -> f64;
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// A complex number rounded to this precision.
pub fn narrow<T: Real>(z: Complex<f64>) -> Complex<T> {
    Complex::new(T::of(z.re), T::of(z.im))
}

/// A complex number in double precision.
pub fn wide<T: Real>(z: Complex<T>) -> Complex<f64> {
    Complex::new(z.re.wide(), z.im.wide())
}

/// `exp(i phase)`.
pub fn cis(phase: f64) -> Complex<f64> {
    Complex::new(phase.cos(), phase.sin())
}

/// Piece `k` of some work.
pub type Piece<'a> = &'a (dyn Fn(usize) -> Result<()> + Sync);

/// Runs `piece(0) .. piece(n-1)` in any order: the engine's threads, or the caller alone.
pub type Par<'a> = &'a dyn Fn(usize, Piece) -> Result<()>;

/// Runs all pieces on the caller's thread.
pub fn alone(n: usize, piece: Piece) -> Result<()> {
    (0..n).try_for_each(piece)
}

/// Frames that are worked on side by side, between sums that are made of them in their order.
///
/// Enough that all cores have some, few enough that they are still at hand; no result depends on it.
pub fn side_by_side() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (4 * cores).clamp(8, 128)
}

/// Hands each item to one piece of work.
pub fn each<I: Send>(
    par: Par,
    items: Vec<I>,
    work: impl Fn(usize, &mut I) -> Result<()> + Sync,
) -> Result<()> {
    let slots: Vec<Mutex<I>> = items.into_iter().map(Mutex::new).collect();
    par(slots.len(), &|k| {
        let mut item = slots[k].lock().map_err(|_| Error::internal("a piece of work was done twice"))?;
        work(k, &mut item)
    })
}

/// Things that threads borrow: as many are made as threads work at once.
pub struct Shelf<I> {
    items: Mutex<Vec<I>>,
}

impl<I> Default for Shelf<I> {
    fn default() -> Self {
        Shelf { items: Mutex::default() }
    }
}

impl<I> Shelf<I> {
    /// Lends an item to some work.
    pub fn with<R>(&self, make: impl FnOnce() -> I, work: impl FnOnce(&mut I) -> R) -> R {
        let mut item = self.take().unwrap_or_else(make);
        let result = work(&mut item);
        self.put(item);
        result
    }

    /// An item, if one is there.
    pub fn take(&self) -> Option<I> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts an item back.
    pub fn put(&self, item: I) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }
}
