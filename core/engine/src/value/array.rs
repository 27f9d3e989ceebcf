//! Frozen, shared arrays and their only writable form.

use std::ffi::c_void;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, Weak};

use bytemuck::{Pod, Zeroable};
use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use crate::dispatch;
use crate::error::{Error, Result};
use crate::value::map::Slot;
use crate::value::pool::Shelves;
use crate::value::{Dtype, Element, Pool, Value};

/// The extents of an array, slowest axis first; at most eight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dims {
    len: u8,
    dims: [usize; 8],
}

impl Dims {
    /// The extents of a slice.
    pub fn new(dims: &[usize]) -> Result<Self> {
        let mut out = Dims { len: dims.len() as u8, dims: [0; 8] };
        match out.dims.get_mut(..dims.len()) {
            Some(room) => room.copy_from_slice(dims),
            None => return Err(Error::data(format!("an array has at most 8 axes, found {}", dims.len()))),
        }
        Ok(out)
    }

    /// How many elements they span, or an error when that overflows.
    pub fn elements(&self) -> Result<usize> {
        self.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or_else(|| {
            Error::new(crate::Blame::Resources, format!("an array of shape {self:?} does not fit in memory"))
        })
    }
}

impl Deref for Dims {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.len as usize]
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One cache line: buffers are made of these, so every array starts on a 64-byte boundary.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

/// Memory that a pool hands out.
pub(crate) enum Memory {
    /// Of this process alone.
    Own(Vec<Line>),
    /// Shared with others.
    Shared(Slot),
}

impl Memory {
    /// No memory at all.
    const NONE: Memory = Memory::Own(vec![]);

    /// How many cache lines it has.
    pub fn lines(&self) -> usize {
        match self {
            Memory::Own(lines) => lines.len(),
            Memory::Shared(slot) => slot.len() / size_of::<Line>(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Own(lines) => bytemuck::cast_slice(lines),
            Memory::Shared(slot) => slot.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Own(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Shared(slot) => slot.bytes_mut(),
        }
    }
}

/// Who keeps the bytes of an array.
pub(crate) enum Buffer {
    /// Memory of the pool; goes back to it when the last array lets go.
    Pooled { memory: Memory, home: Weak<Shelves> },
    /// A read-only mapping of a closed file.
    Mapped(memmap2::Mmap),
    /// Memory of a loaded plugin.
    Foreign(Foreign),
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        match self {
            Buffer::Pooled { memory, .. } => memory.bytes(),
            Buffer::Mapped(map) => map,
            // SAFETY: `Foreign::new` promises that `len` bytes at `ptr` stay readable and unchanged until released.
            Buffer::Foreign(f) => unsafe { std::slice::from_raw_parts(f.ptr, f.len) },
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Buffer::Pooled { memory, home } = self
            && let Some(home) = home.upgrade()
        {
            home.give(std::mem::replace(memory, Memory::NONE));
        }
    }
}

/// Bytes that another library keeps for us.
pub(crate) struct Foreign {
    ptr: *const u8,
    len: usize,
    lender: Lender,
}

/// Who keeps the bytes of another library, and how they are let go.
pub(crate) struct Lender {
    /// How the other library keeps arrays.
    pub keeper: *const c_void,
    /// What it keeps this one by.
    pub handle: *const c_void,
    /// Lets the handle go.
    pub release: unsafe fn(keeper: *const c_void, handle: *const c_void),
}

// SAFETY: the bytes are read-only from here on, and a lender lets them go from any thread.
unsafe impl Send for Foreign {}
// SAFETY: as above; shared reading of unchanging bytes.
unsafe impl Sync for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: whoever made the array promised that its lender can be called, once, from any thread.
        unsafe { (self.lender.release)(self.lender.keeper, self.lender.handle) }
    }
}

/// A frozen, shared, C-ordered array; cloning it counts a reference.
#[derive(Clone)]
pub struct Array {
    buffer: Arc<Buffer>,
    offset: usize,
    dtype: Dtype,
    dims: Dims,
}

impl Array {
    /// An array of the given elements, copied.
    pub fn of<T: Element>(shape: &[usize], elements: &[T]) -> Result<Array> {
        let mut out = Pool::unpooled().take(T::DTYPE, shape)?;
        if out.as_slice_mut::<T>()?.len() != elements.len() {
            let found = elements.len();
            return Err(Error::data(format!("an array of shape {shape:?} cannot hold {found} elements")));
        }
        out.as_slice_mut::<T>()?.copy_from_slice(elements);
        Ok(out.freeze())
    }

    /// A one-dimensional array of the given elements, copied.
    pub fn from_slice<T: Element>(elements: &[T]) -> Array {
        Array::of(&[elements.len()], elements).expect("the shape is made from the elements")
    }

    /// An array over bytes at `offset` of a mapping.
    pub fn over_map(map: memmap2::Mmap, offset: usize, dtype: Dtype, shape: &[usize]) -> Result<Array> {
        Array::over(Arc::new(Buffer::Mapped(map)), offset, dtype, shape)
    }

    /// An array over bytes that another library keeps until its lender is told to let go.
    ///
    /// # Safety
    /// `len` bytes at `ptr` must stay readable and unchanged until `release` is called, once, from any thread.
    pub(crate) unsafe fn over_foreign(
        ptr: *const u8,
        len: usize,
        dtype: Dtype,
        shape: &[usize],
        lender: Lender,
    ) -> Result<Array> {
        let foreign = Foreign { ptr, len, lender };
        Array::over(Arc::new(Buffer::Foreign(foreign)), 0, dtype, shape)
    }

    /// Who keeps the bytes, when that is another library.
    pub(crate) fn lender(&self) -> Option<&Lender> {
        if let Buffer::Foreign(foreign) = &*self.buffer { Some(&foreign.lender) } else { None }
    }

    fn over(buffer: Arc<Buffer>, offset: usize, dtype: Dtype, shape: &[usize]) -> Result<Array> {
        let dims = Dims::new(shape)?;
        let wanted = dims.elements()? * dtype.size();
        let found = buffer.bytes().len().saturating_sub(offset);
        if found < wanted {
            return Err(Error::data(format!("{dtype} {shape:?} takes {wanted} bytes, found {found}")));
        }
        if !(buffer.bytes().as_ptr() as usize + offset).is_multiple_of(dtype.size().min(8)) {
            return Err(Error::data(format!("{dtype} elements do not start on a multiple of their size")));
        }
        Ok(Array { buffer, offset, dtype, dims })
    }

    /// Another array over the same memory: `offset` bytes in, with its own shape.
    pub fn part(&self, offset: usize, shape: &[usize]) -> Result<Array> {
        let end = offset + Dims::new(shape)?.elements()? * self.dtype.size();
        if end > self.bytes().len() {
            return Err(Error::internal(format!(
                "bytes {offset}..{end} of an array of {}",
                self.bytes().len()
            )));
        }
        Array::over(self.buffer.clone(), self.offset + offset, self.dtype, shape)
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The extents, slowest axis first.
    pub fn shape(&self) -> &[usize] {
        &self.dims
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, in the machine's order.
    pub fn bytes(&self) -> &[u8] {
        let len = self.len() * self.dtype.size();
        &self.buffer.bytes()[self.offset..self.offset + len]
    }

    /// The elements, when they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::plugin(format!("an array of {} was read as {}", self.dtype, T::DTYPE)));
        }
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// An `ndarray` view, when the elements are of type `T`.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>> {
        let slice = self.as_slice::<T>()?;
        ArrayViewD::from_shape(IxDyn(self.shape()), slice).map_err(|e| Error::internal(e.to_string()))
    }

    /// Records `range` of the leading axis; nothing is copied.
    pub fn records(&self, range: Range<usize>) -> Result<Array> {
        let Some((&n, rest)) = self.dims.split_first() else {
            return Err(Error::internal("a number was cut like an array"));
        };
        if range.end > n || range.start > range.end {
            return Err(Error::internal(format!("records {range:?} of an array of {n}")));
        }
        let step = rest.iter().product::<usize>() * self.dtype.size();
        let mut dims = self.dims;
        dims.dims[0] = range.len();
        Ok(Array {
            buffer: self.buffer.clone(),
            offset: self.offset + range.start * step,
            dtype: self.dtype,
            dims,
        })
    }

    /// Record `index` of the leading axis, without that axis; nothing is copied.
    pub fn record(&self, index: usize) -> Result<Array> {
        let one = self.records(index..index + 1)?;
        let rest = one.dims[1..].to_vec();
        one.reshape(&rest)
    }

    /// The same elements under another shape; nothing is copied.
    pub fn reshape(&self, shape: &[usize]) -> Result<Array> {
        let dims = Dims::new(shape)?;
        if dims.elements()? != self.len() {
            return Err(Error::data(format!("{:?} cannot be given the shape {shape:?}", self.dims)));
        }
        Ok(Array { dims, ..self.clone() })
    }

    /// The same array with a leading axis of one.
    pub fn lead(&self) -> Array {
        let mut shape = vec![1];
        shape.extend_from_slice(self.shape());
        self.reshape(&shape).expect("a leading axis of one keeps the number of elements")
    }

    /// One element of a flat array as a number.
    #[allow(clippy::unnecessary_cast, reason = "the macro writes this for every dtype, `f64` among them")]
    pub fn scalar(&self, index: usize) -> Result<Value> {
        if index >= self.len() {
            return Err(Error::internal(format!("element {index} of an array of {}", self.len())));
        }
        dispatch!(self.dtype, T => {
            let x = self.as_slice::<T>()?[index];
            match self.dtype.is_integer() {
                true => i64::try_from(x as i128).map(Value::Int)
                    .map_err(|_| Error::data(format!("{x} does not fit in a signed 64-bit integer"))),
                false => Ok(Value::Float(x as f64)),
            }
        }, complex => Ok(Value::Array(self.records(index..index + 1)?)))
    }

    /// Every element as a double-precision number; complex arrays are refused.
    #[allow(clippy::unnecessary_cast, reason = "the macro writes this for every dtype, `f64` among them")]
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        dispatch!(self.dtype, T => Ok(self.as_slice::<T>()?.iter().map(|x| *x as f64).collect()),
            complex => Err(Error::data("complex numbers where real ones are wanted")))
    }

    /// Joins arrays along the leading axis; neighbours in one buffer are joined without a copy.
    pub fn concat(parts: &[&Array], pool: &Pool) -> Result<Array> {
        let [first, rest @ ..] = parts else { return Err(Error::internal("nothing to join")) };
        let mut records = first.dims.first().copied().unwrap_or(0);
        let mut adjacent = true;
        let mut end = first.offset + first.bytes().len();
        for part in rest {
            if part.dtype != first.dtype || part.dims.get(1..) != first.dims.get(1..) || part.dims.is_empty()
            {
                let (a, b) =
                    (Value::Array((*first).clone()).describe(), Value::Array((*part).clone()).describe());
                return Err(Error::data(format!("cannot join {a} with {b}")));
            }
            adjacent &= Arc::ptr_eq(&part.buffer, &first.buffer) && part.offset == end;
            end += part.bytes().len();
            records += part.dims[0];
        }
        let mut dims = first.dims;
        dims.dims[0] = records;
        if adjacent {
            return Ok(Array { dims, ..(*first).clone() });
        }
        let mut out = pool.take(first.dtype, &dims)?;
        let mut at = 0;
        for part in parts {
            let bytes = part.bytes();
            out.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        Ok(out.freeze())
    }

    /// A copy in memory of its own, for whoever keeps an array past the call.
    pub fn detach(&self) -> Result<Array> {
        let mut out = Pool::unpooled().take(self.dtype, self.shape())?;
        out.bytes_mut().copy_from_slice(self.bytes());
        Ok(out.freeze())
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Array) -> bool {
        self.dtype == other.dtype && self.dims == other.dims && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array<{}>{:?}", self.dtype, self.dims)
    }
}

/// The only writable array; unique, made by a [`Pool`], frozen into an [`Array`].
pub struct ArrayMut {
    memory: Memory,
    home: Weak<Shelves>,
    dtype: Dtype,
    dims: Dims,
}

impl ArrayMut {
    pub(crate) fn new(memory: Memory, home: Weak<Shelves>, dtype: Dtype, dims: Dims) -> Self {
        Self { memory, home, dtype, dims }
    }

    /// The extents, slowest axis first.
    pub fn shape(&self) -> &[usize] {
        &self.dims
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The bytes, in the machine's order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.dims.iter().product::<usize>() * self.dtype.size();
        &mut self.memory.bytes_mut()[..len]
    }

    /// The elements as written so far, when they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::plugin(format!("an array of {} was read as {}", self.dtype, T::DTYPE)));
        }
        let len = self.dims.iter().product::<usize>() * self.dtype.size();
        Ok(bytemuck::cast_slice(&self.memory.bytes()[..len]))
    }

    /// The elements, when they are of type `T`.
    pub fn as_slice_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::plugin(format!("an array of {} was written as {}", self.dtype, T::DTYPE)));
        }
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// A writable `ndarray` view, when the elements are of type `T`.
    pub fn view_mut<T: Element>(&mut self) -> Result<ArrayViewMutD<'_, T>> {
        let dims = self.dims;
        let slice = self.as_slice_mut::<T>()?;
        ArrayViewMutD::from_shape(IxDyn(&dims), slice).map_err(|e| Error::internal(e.to_string()))
    }

    /// Ends writing.
    pub fn freeze(mut self) -> Array {
        let memory = std::mem::replace(&mut self.memory, Memory::NONE);
        let home = std::mem::take(&mut self.home);
        Array {
            buffer: Arc::new(Buffer::Pooled { memory, home }),
            offset: 0,
            dtype: self.dtype,
            dims: self.dims,
        }
    }
}

impl Drop for ArrayMut {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.give(std::mem::replace(&mut self.memory, Memory::NONE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_share_memory_and_join_again_without_a_copy() {
        let pool = Pool::new(1 << 20);
        let all = Array::of(&[4, 2], &[0u16, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        let (a, b) = (all.records(0..1).unwrap(), all.records(1..4).unwrap());
        assert_eq!(b.as_slice::<u16>().unwrap(), &[2, 3, 4, 5, 6, 7]);
        let joined = Array::concat(&[&a, &b], &pool).unwrap();
        assert_eq!(joined, all);
        assert_eq!(joined.bytes().as_ptr(), all.bytes().as_ptr());
        let swapped = Array::concat(&[&b, &a], &pool).unwrap();
        assert_eq!(swapped.as_slice::<u16>().unwrap(), &[2, 3, 4, 5, 6, 7, 0, 1]);
    }

    #[test]
    fn reading_as_another_type_is_an_error() {
        let error = Array::from_slice(&[1u16]).as_slice::<f32>().unwrap_err();
        assert_eq!(error.message(), "an array of u16 was read as f32");
    }

    #[test]
    fn an_impossible_shape_is_an_error() {
        assert!(Pool::unpooled().take(Dtype::F64, &[usize::MAX, 8]).is_err());
    }
}
