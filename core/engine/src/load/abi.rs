//! The C form of everything that crosses between host and library; `include/isard.h` says the same in C.
//!
//! Whatever is handed over is lent for the length of the call: texts, lists, dictionaries and tables are copied by
//! whoever keeps them, arrays are kept through their [`Keeper`] without a copy.

use std::ffi::c_void;

/// The first eight bytes of every plugin structure.
pub const MAGIC: u64 = u64::from_le_bytes(*b"isardplg");
/// The version of this interface; host and library must have the same.
pub const VERSION: u32 = 1;
/// The name of the one symbol a library exports.
pub const SYMBOL: &str = "isard_plugin";

// Extents and lengths are 64-bit numbers on the wire and lent without conversion.
const _: () = assert!(size_of::<usize>() == 8, "isard runs on 64-bit machines");

/// What a call came to.
pub type Status = i32;
/// It went well.
pub const OK: Status = 0;
/// It failed; what was put describes the error.
pub const ERROR: Status = 1;
/// There is nothing to show, or a source is at its end.
pub const NONE: Status = 2;
/// A source has nothing now; `wait` says for how many nanoseconds.
pub const WAIT: Status = 3;

/// UTF-8 bytes, not terminated.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Text {
    /// The bytes.
    pub data: *const u8,
    /// How many.
    pub len: u64,
}

/// How an array is kept beyond the call it came with.
#[repr(C)]
pub struct Keeper {
    /// Gives a handle that keeps the elements until it is released; from any thread.
    pub retain: unsafe extern "C" fn(owner: *const c_void) -> *const c_void,
    /// Lets a handle go; from any thread, once.
    pub release: unsafe extern "C" fn(handle: *const c_void),
}

/// A C-ordered array.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Array {
    /// The elements.
    pub data: *const c_void,
    /// The extents, slowest axis first.
    pub shape: *const u64,
    /// What `retain` takes.
    pub owner: *const c_void,
    /// How to keep it; none means that the receiver copies.
    pub keeper: *const Keeper,
    /// The code of the dtype.
    pub dtype: u32,
    /// How many axes, at most eight.
    pub ndim: u32,
}

/// Values in order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct List {
    /// The values.
    pub items: *const Value,
    /// How many.
    pub len: u64,
}

/// Named values in order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Dict {
    /// The entries.
    pub entries: *const Entry,
    /// How many.
    pub len: u64,
}

/// One entry of a dictionary.
#[repr(C)]
pub struct Entry {
    /// Its name.
    pub key: Text,
    /// Its value.
    pub value: Value,
}

/// The kinds of a [`Value`], in the order of their codes.
#[allow(missing_docs)]
pub mod kind {
    pub const NONE: u32 = 0;
    pub const BOOL: u32 = 1;
    pub const INT: u32 = 2;
    pub const FLOAT: u32 = 3;
    pub const TEXT: u32 = 4;
    pub const LIST: u32 = 5;
    pub const ARRAY: u32 = 6;
    pub const TABLE: u32 = 7;
    pub const DICT: u32 = 8;
}

/// One dynamic value.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Value {
    /// One of [`kind`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The member that the kind names.
    pub as_: Any,
}

/// The content of a [`Value`].
#[allow(missing_docs)]
#[derive(Clone, Copy)]
#[repr(C)]
pub union Any {
    pub int: i64,
    pub float: f64,
    pub text: Text,
    pub list: List,
    pub array: Array,
    pub table: *const Table,
    pub dict: Dict,
}

/// Columns of equal length.
#[repr(C)]
pub struct Table {
    /// How many rows.
    pub rows: u64,
    /// The record number of each row, not falling; none outside a stream.
    pub records: *const u64,
    /// The columns.
    pub columns: *const Column,
    /// How many columns.
    pub len: u64,
}

/// The kinds of a [`Column`].
#[allow(missing_docs)]
pub mod column {
    pub const ARRAY: u32 = 0;
    pub const TEXT: u32 = 1;
    pub const RAGGED: u32 = 2;
}

/// One column of a table.
#[repr(C)]
pub struct Column {
    /// Its name.
    pub name: Text,
    /// One of [`mod@column`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The numbers of an array column; the elements of all rows of a ragged one.
    pub array: Array,
    /// The texts of a text column.
    pub texts: *const Text,
    /// Where each row of a ragged column ends.
    pub ends: *const u64,
}

/// What a stage can be asked to do.
///
/// `GAP` of a writer may come with an input: the bytes of a frame that came damaged, as a recorder is given them. One
/// that keeps them, marked so that a reader can tell, puts `kept = true`; one that puts nothing has noted a gap.
#[allow(missing_docs)]
pub mod op {
    pub const CHECK: u32 = 1;
    pub const SHAPES: u32 = 2;
    pub const COST: u32 = 3;
    pub const SAVE: u32 = 4;
    pub const LOAD: u32 = 5;
    pub const OPEN: u32 = 6;
    pub const GAP: u32 = 7;
    pub const FINISH: u32 = 8;
    pub const PULL: u32 = 10;
    pub const APPLY: u32 = 20;
    pub const LAG: u32 = 30;
    pub const PUSH: u32 = 31;
    pub const PART: u32 = 40;
    pub const ADD: u32 = 41;
    pub const MERGE: u32 = 42;
    pub const PEEK: u32 = 43;
    pub const DISCARD: u32 = 44;
    pub const ABSORB: u32 = 50;
    pub const COMPLETE: u32 = 51;
    pub const REFINE: u32 = 52;
    pub const SNAPSHOT: u32 = 53;
    pub const WRITE: u32 = 60;
    pub const COMMIT: u32 = 61;
    pub const RUN: u32 = 70;
}

/// Why frames do not come as data; zero for good ones.
#[allow(missing_docs)]
pub mod reason {
    pub const GOOD: u32 = 0;
    pub const MISSING: u32 = 1;
    pub const CORRUPT: u32 = 2;
    pub const SKIPPED: u32 = 3;
    pub const DROPPED: u32 = 4;
}

/// Records: which, and for a gap why they do not come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Records {
    /// The axis; `frame` for frames.
    pub axis: Text,
    /// The first record.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// One of [`reason`].
    pub reason: u32,
    /// Zero.
    pub reserved: u32,
    /// What happened, for a gap.
    pub why: Text,
}

/// One call to a stage; what an operation does not use is zero.
#[repr(C)]
pub struct Request {
    /// Bytes of this structure.
    pub size: u64,
    /// One of [`op`].
    pub op: u32,
    /// Zero.
    pub reserved: u32,
    /// The records of the input, or the gap.
    pub records: Records,
    /// The input of the stage, or the state to load.
    pub input: *const Dict,
    /// The frame wanted next, for a source.
    pub next: u64,
    /// How many frames are wanted, for a source.
    pub room: u64,
    /// The time to refine for; one step is made at least.
    pub nanoseconds: u64,
    /// The part of a reduction.
    pub part: *mut c_void,
    /// The part to merge in; the stage takes it.
    pub later: *mut c_void,
    /// Where a writer puts its files.
    pub output: *const Output,
}

/// Where the answer of a call goes.
#[repr(C)]
pub struct Out {
    /// Bytes of this structure.
    pub size: u64,
    /// The receiver's own.
    pub this: *mut c_void,
    /// Puts a value under a name.
    pub put: unsafe extern "C" fn(out: *const Out, key: Text, value: *const Value) -> Status,
    /// Makes a writable array under a name, from the receiver's pool; null when it cannot.
    pub array: unsafe extern "C" fn(
        out: *const Out,
        key: Text,
        dtype: u32,
        ndim: u32,
        shape: *const u64,
    ) -> *mut c_void,
    /// Says that what was put since the last time belongs to these records.
    pub end: unsafe extern "C" fn(out: *const Out, records: *const Records) -> Status,
    /// Hands a new part of a reduction over.
    pub part: unsafe extern "C" fn(out: *const Out, part: *mut c_void) -> Status,
}

/// What a stage may ask of the host during a call.
#[repr(C)]
pub struct Host {
    /// Bytes of this structure.
    pub size: u64,
    /// The host's own.
    pub this: *const c_void,
    /// The name of the stage in the recipe.
    pub stage: Text,
    /// The seed of the run.
    pub seed: u64,
    /// Not zero when the run must end; from any thread.
    pub cancelled: unsafe extern "C" fn(host: *const Host) -> i32,
    /// Runs `work(context, 0..n)` on the threads of the run; not `OK` ends it early.
    pub par: unsafe extern "C" fn(
        host: *const Host,
        n: u64,
        work: unsafe extern "C" fn(context: *const c_void, i: u64) -> Status,
        context: *const c_void,
    ) -> Status,
    /// Reads what a path in a recipe names and puts it under `value`.
    pub read: unsafe extern "C" fn(host: *const Host, path: Text, out: *const Out) -> Status,
    /// Gives a frame up: from here on it is a gap.
    pub give_up: unsafe extern "C" fn(host: *const Host, frame: u64, reason: u32, why: Text),
    /// Takes a writable array from the host's pool: `array.data` may be written until the handle is lent.
    pub buffer: unsafe extern "C" fn(
        host: *const Host,
        dtype: u32,
        ndim: u32,
        shape: *const u64,
        array: *mut Array,
    ) -> Status,
}

/// Where a writer puts its files.
#[repr(C)]
pub struct Output {
    /// Bytes of this structure.
    pub size: u64,
    /// What the functions take; to keep it, take the handle that `retain` gives.
    pub this: *const c_void,
    /// How to keep it.
    pub keeper: *const Keeper,
    /// Writes a file that is never touched again.
    pub seal: PutFile,
    /// Writes a file in place of an earlier one, in one step.
    pub replace: PutFile,
    /// Puts what the run is, as JSON, under `record`.
    pub record: unsafe extern "C" fn(this: *const c_void, out: *const Out) -> Status,
}

/// Writes a whole file; what is put describes the error, if any.
pub type PutFile = unsafe extern "C" fn(
    this: *const c_void,
    path: Text,
    bytes: *const c_void,
    len: u64,
    out: *const Out,
) -> Status;

/// What the host offers for as long as it runs.
#[repr(C)]
pub struct Services {
    /// Bytes of this structure.
    pub size: u64,
    /// The host's own.
    pub this: *const c_void,
    /// Whether anybody listens at a level: 1 error, 2 warning, 3 information, 4 debugging, 5 tracing.
    pub listens: unsafe extern "C" fn(services: *const Services, level: u32) -> i32,
    /// Writes to the log; `fields` is text like `frame=3 file="a.h5"`. From any thread.
    pub log: unsafe extern "C" fn(
        services: *const Services,
        level: u32,
        target: Text,
        message: Text,
        fields: Text,
    ),
    /// Says that memory can be shared, or with a negative descriptor that it is gone; none where nobody needs it.
    pub share: Option<
        unsafe extern "C" fn(services: *const Services, data: *const c_void, len: u64, descriptor: i32),
    >,
}

/// What a library exports; the first three fields keep their place in every version.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Plugin {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this structure.
    pub size: u32,
    /// Called once, before anything else; may be absent.
    pub start: Option<unsafe extern "C" fn(services: *const Services)>,
    /// The declarations of the stages as JSON; the text stays for good.
    pub declare: Option<unsafe extern "C" fn() -> Text>,
    /// Builds a stage from its parameters, which are JSON.
    pub build: Option<
        unsafe extern "C" fn(name: Text, set: Text, out: *const Out, stage: *mut *mut c_void) -> Status,
    >,
    /// Does one operation.
    pub call: Option<
        unsafe extern "C" fn(
            stage: *mut c_void,
            request: *const Request,
            out: *const Out,
            host: *const Host,
        ) -> Status,
    >,
    /// Ends a stage.
    pub discard: Option<unsafe extern "C" fn(stage: *mut c_void)>,
    /// Puts the example of a stage; may be absent.
    pub example: Option<unsafe extern "C" fn(name: Text, out: *const Out) -> Status>,
}

impl Text {
    /// The bytes of a text, lent.
    pub fn of(text: &str) -> Text {
        Text { data: text.as_ptr(), len: text.len() as u64 }
    }

    /// No text.
    pub const EMPTY: Text = Text { data: std::ptr::null(), len: 0 };
}

impl Records {
    /// No records.
    pub const NONE: Records =
        Records { axis: Text::EMPTY, start: 0, len: 0, reason: reason::GOOD, reserved: 0, why: Text::EMPTY };
}

impl Request {
    /// A request with nothing but its operation.
    pub fn new(op: u32) -> Request {
        use std::ptr::{null, null_mut};
        Request {
            size: size_of::<Request>() as u64,
            op,
            reserved: 0,
            records: Records::NONE,
            input: null(),
            next: 0,
            room: 0,
            nanoseconds: 0,
            part: null_mut(),
            later: null_mut(),
            output: null(),
        }
    }
}
