//! Element types of arrays.

use std::fmt;

use num_complex::Complex;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dtype {
    /// Unsigned 8-bit integer; masks use it too.
    U8 = 1,
    /// Unsigned 16-bit integer.
    U16 = 2,
    /// Unsigned 32-bit integer.
    U32 = 3,
    /// Unsigned 64-bit integer.
    U64 = 4,
    /// Signed 8-bit integer.
    I8 = 5,
    /// Signed 16-bit integer.
    I16 = 6,
    /// Signed 32-bit integer.
    I32 = 7,
    /// Signed 64-bit integer.
    I64 = 8,
    /// Single precision.
    F32 = 9,
    /// Double precision.
    F64 = 10,
    /// Complex of two single-precision numbers.
    C32 = 11,
    /// Complex of two double-precision numbers.
    C64 = 12,
}

impl Dtype {
    /// Every dtype, in the order of its code.
    pub const ALL: [Dtype; 12] = [
        Dtype::U8,
        Dtype::U16,
        Dtype::U32,
        Dtype::U64,
        Dtype::I8,
        Dtype::I16,
        Dtype::I32,
        Dtype::I64,
        Dtype::F32,
        Dtype::F64,
        Dtype::C32,
        Dtype::C64,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::U8 | Dtype::I8 => 1,
            Dtype::U16 | Dtype::I16 => 2,
            Dtype::U32 | Dtype::I32 | Dtype::F32 => 4,
            Dtype::U64 | Dtype::I64 | Dtype::F64 | Dtype::C32 => 8,
            Dtype::C64 => 16,
        }
    }

    /// The name used in recipes, docs and messages.
    pub fn name(self) -> &'static str {
        ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "c32", "c64"][self as usize - 1]
    }

    /// The dtype of a name.
    pub fn named(name: &str) -> Option<Dtype> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// The dtype of a code, as files and the C interface carry it.
    pub fn from_code(code: u8) -> Option<Dtype> {
        Self::ALL.into_iter().find(|d| *d as u8 == code)
    }

    /// Whether elements are whole numbers.
    pub fn is_integer(self) -> bool {
        (self as u8) <= Dtype::I64 as u8
    }

    /// Whether elements are whole numbers without a sign.
    pub fn is_unsigned(self) -> bool {
        (self as u8) <= Dtype::U64 as u8
    }

    /// Whether elements are real floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F32 | Dtype::F64)
    }

    /// Whether elements are complex.
    pub fn is_complex(self) -> bool {
        matches!(self, Dtype::C32 | Dtype::C64)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that can be an array's element.
pub trait Element: bytemuck::Pod + Send + Sync + PartialEq + fmt::Debug {
    /// Its dtype.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $rust { const DTYPE: Dtype = Dtype::$dtype; })*
    };
}
elements! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    f32 => F32, f64 => F64, Complex<f32> => C32, Complex<f64> => C64,
}

/// Runs a block with `T` standing for the Rust type of a real dtype; complex ones give the last arm.
///
/// `dispatch!(array.dtype(), T => sum::<T>(&array), complex => Err(..))`
#[macro_export]
macro_rules! dispatch {
    ($dtype:expr, $t:ident => $body:expr, complex => $complex:expr) => {
        match $dtype {
            $crate::Dtype::U8 => {
                type $t = u8;
                $body
            }
            $crate::Dtype::U16 => {
                type $t = u16;
                $body
            }
            $crate::Dtype::U32 => {
                type $t = u32;
                $body
            }
            $crate::Dtype::U64 => {
                type $t = u64;
                $body
            }
            $crate::Dtype::I8 => {
                type $t = i8;
                $body
            }
            $crate::Dtype::I16 => {
                type $t = i16;
                $body
            }
            $crate::Dtype::I32 => {
                type $t = i32;
                $body
            }
            $crate::Dtype::I64 => {
                type $t = i64;
                $body
            }
            $crate::Dtype::F32 => {
                type $t = f32;
                $body
            }
            $crate::Dtype::F64 => {
                type $t = f64;
                $body
            }
            $crate::Dtype::C32 | $crate::Dtype::C64 => $complex,
        }
    };
}
