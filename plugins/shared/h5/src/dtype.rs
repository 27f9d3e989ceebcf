//! Element types as they lie in memory.

use std::fmt;

/// The type of one number, native byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Float, 32 bits.
    F32,
    /// Float, 64 bits.
    F64,
    /// Complex as `[re, im]` of 32-bit floats.
    C32,
    /// Complex as `[re, im]` of 64-bit floats.
    C64,
}

impl Dtype {
    /// All element types.
    pub const ALL: [Self; 12] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
        Self::C32,
        Self::C64,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::C32 => 8,
            Self::C64 => 16,
        }
    }

    /// The name as numpy spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::C32 => "complex64",
            Self::C64 => "complex128",
        }
    }
}

// Both lists have the same twelve types in the same order; a test below compares their sizes.
impl From<Dtype> for isard_core::Dtype {
    fn from(dtype: Dtype) -> Self {
        Self::ALL[dtype as usize]
    }
}

impl From<isard_core::Dtype> for Dtype {
    fn from(dtype: isard_core::Dtype) -> Self {
        Self::ALL[dtype as usize - 1]
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a dataset is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// Numbers, read as this type in native byte order.
    Number(Dtype),
    /// Strings, fixed or of variable length.
    Text,
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(dtype) => dtype.fmt(f),
            Self::Text => f.write_str("text"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_files_are_those_of_the_engine() {
        for dtype in Dtype::ALL {
            let own = isard_core::Dtype::from(dtype);
            assert_eq!(Dtype::from(own), dtype);
            // numpy counts the bits of a complex number, the engine those of its halves.
            let bits = own.size() * if own.is_complex() { 4 } else { 8 };
            let kind = dtype.name().trim_end_matches(char::is_numeric);
            assert_eq!(own.name(), format!("{}{bits}", &kind[..1]), "{dtype}");
        }
    }
}
