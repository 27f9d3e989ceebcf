//! Values over a connection: small ones in the message, big arrays where they are.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::load::isolate::memory::{Imports, Shared};
use crate::load::isolate::wire::{FDS, Lost, Patience, Wire};
use crate::value::share::{self, Known};
use crate::value::{Array, Dict, FarArray, Pool, Value, decode_far, encode_far};

/// What the messages are.
pub(super) mod kind {
    /// New segments of the sender; their descriptors are beside it.
    pub const SHARE: u32 = 1;
    /// Segments that the sender has no more.
    pub const FORGET: u32 = 2;
    /// The first message of both sides.
    pub const HELLO: u32 = 3;
    /// One operation.
    pub const REQUEST: u32 = 4;
    /// What it came to.
    pub const REPLY: u32 = 5;
    /// What the stage asks of the engine during an operation.
    pub const ASK: u32 = 6;
    /// What the engine answers.
    pub const ANSWER: u32 = 7;
}

/// Arrays up to this many bytes travel in the message.
const INLINE: usize = 16 << 10;

/// A connection over which values travel; one question and one answer at a time.
pub(super) struct Channel {
    wire: Wire,
    imports: Imports,
    shared: Arc<Shared>,
    /// Arrays that the other side reads, until it gives them back.
    exports: HashMap<u64, Array>,
    next: u64,
    /// Segments that the other side has.
    told: HashSet<u64>,
    forgotten: u64,
    /// Where arrays are copied that do not lie in shared memory.
    pool: Pool,
    body: Vec<u8>,
}

impl Channel {
    /// A connection; `shared` belongs to all connections with the same process.
    pub fn new(wire: Wire, shared: Arc<Shared>, pool: Pool) -> Channel {
        Channel {
            wire,
            imports: Imports::default(),
            shared,
            exports: HashMap::new(),
            next: 1,
            told: HashSet::new(),
            forgotten: share::forgotten(),
            pool,
            body: vec![],
        }
    }

    /// Sends a message; `pack` puts its content.
    pub fn send(
        &mut self,
        kind: u32,
        fds: &[OwnedFd],
        patience: Patience<'_>,
        pack: impl FnOnce(&mut Pack<'_>) -> Result<()>,
    ) -> std::result::Result<(), Lost> {
        self.forget(patience)?;
        let mut content = Pack {
            out: vec![],
            imports: &self.imports,
            exports: &mut self.exports,
            next: &mut self.next,
            pool: &self.pool,
            used: vec![],
            fault: None,
        };
        pack(&mut content)?;
        let Pack { out, used, fault, .. } = content;
        if let Some(fault) = fault {
            return Err(fault.into());
        }
        let new: Vec<Arc<Known>> = used.into_iter().filter(|known| self.told.insert(known.id)).collect();
        for some in new.chunks(FDS) {
            let mut body = vec![];
            some.iter().for_each(|k| body.extend([k.id, k.len as u64].iter().flat_map(|w| w.to_le_bytes())));
            let fds: Vec<_> = some.iter().map(|k| k.fd.as_fd()).collect();
            self.wire.send(kind::SHARE, &body, &fds, patience)?;
        }
        let gone = self.imports.take_gone();
        let mut body = Vec::with_capacity(8 * gone.len() + 8 + out.len());
        body.extend((gone.len() as u64).to_le_bytes());
        gone.iter().for_each(|id| body.extend(id.to_le_bytes()));
        body.extend(out);
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.wire.send(kind, &body, &fds, patience)
    }

    /// Tells of segments that are gone.
    fn forget(&mut self, patience: Patience<'_>) -> std::result::Result<(), Lost> {
        let now = share::forgotten();
        if std::mem::replace(&mut self.forgotten, now) == now {
            return Ok(());
        }
        let gone: Vec<u64> = self.told.iter().copied().filter(|id| !share::is_known(*id)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.told.retain(|id| !gone.contains(id));
        let body: Vec<u8> = gone.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.wire.send(kind::FORGET, &body, &[], patience)
    }

    /// Receives a message; `read` takes its content.
    pub fn receive<T>(
        &mut self,
        patience: Patience<'_>,
        read: impl FnOnce(u32, &mut Unpack<'_>) -> Result<T>,
    ) -> std::result::Result<T, Lost> {
        let mut body = std::mem::take(&mut self.body);
        loop {
            let came = self.wire.receive(&mut body, patience)?;
            let words =
                || body.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")));
            match came.kind {
                kind::SHARE => {
                    let words: Vec<u64> = words().collect();
                    for (word, fd) in words.chunks_exact(2).zip(came.fds) {
                        self.imports.map(&self.shared, word[0], word[1], fd)?;
                    }
                }
                kind::FORGET => words().for_each(|id| self.imports.forget(id)),
                kind => {
                    let mut content =
                        Unpack { rest: &body, imports: &self.imports, exports: &self.exports, fds: came.fds };
                    let gone = content.words()?;
                    let result = read(kind, &mut content);
                    // Only now: what comes back may be among what is given back.
                    gone.iter().for_each(|id| drop(self.exports.remove(id)));
                    body.clear();
                    body.shrink_to(1 << 20);
                    self.body = body;
                    return Ok(result?);
                }
            }
        }
    }

    /// How many arrays the other side still reads.
    #[cfg(test)]
    pub fn lent(&self) -> usize {
        self.exports.len()
    }

    /// Ends the connection.
    pub fn hang_up(&self) {
        // The other side may have ended it already.
        let _ = self.wire.hang_up();
    }
}

/// The content of a message that is made.
pub(super) struct Pack<'a> {
    out: Vec<u8>,
    imports: &'a Imports,
    exports: &'a mut HashMap<u64, Array>,
    next: &'a mut u64,
    pool: &'a Pool,
    used: Vec<Arc<Known>>,
    fault: Option<Error>,
}

impl Pack<'_> {
    /// Puts a code.
    pub fn code(&mut self, code: u32) {
        self.out.extend(code.to_le_bytes());
    }

    /// Puts a number.
    pub fn word(&mut self, word: u64) {
        self.out.extend(word.to_le_bytes());
    }

    /// Puts a text.
    pub fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        self.out.extend(text.as_bytes());
    }

    /// Puts a dictionary.
    pub fn dict(&mut self, dict: &Dict) {
        let mut out = std::mem::take(&mut self.out);
        encode_far(&Value::Dict(dict.clone()), &mut out, &mut |array| self.place(array));
        self.out = out;
    }

    /// Where an array is for the other side; none for one that travels in the message.
    fn place(&mut self, array: &Array) -> Option<FarArray> {
        if array.bytes().len() <= INLINE {
            return None;
        }
        if let Some(back) = self.imports.returned(array) {
            return Some(back);
        }
        let (array, (known, offset)) = match share::find(array.bytes()) {
            Some(place) => (array.clone(), place),
            None => match self.copied(array) {
                Ok(found) => found,
                Err(fault) => {
                    self.fault.get_or_insert(fault);
                    return None;
                }
            },
        };
        let id = *self.next;
        *self.next += 1;
        self.exports.insert(id, array);
        let place = FarArray { back: false, id, segment: known.id, offset: offset as u64 };
        self.used.push(known);
        Some(place)
    }

    fn copied(&self, array: &Array) -> Result<(Array, (Arc<Known>, usize))> {
        let mut copy = self.pool.take(array.dtype(), array.shape())?;
        copy.bytes_mut().copy_from_slice(array.bytes());
        let copy = copy.freeze();
        let place = share::find(copy.bytes());
        let place = place.ok_or_else(|| Error::internal("a shared buffer that is not in shared memory"))?;
        Ok((copy, place))
    }
}

/// The content of a message that came.
pub(super) struct Unpack<'a> {
    rest: &'a [u8],
    imports: &'a Imports,
    exports: &'a HashMap<u64, Array>,
    /// The descriptors beside it.
    pub fds: Vec<OwnedFd>,
}

impl<'a> Unpack<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| {
            Error::plugin(format!("a message ends early: wanted {n} bytes, found {}", self.rest.len()))
        })?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes a code.
    pub fn code(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into().expect("four bytes were taken")))
    }

    /// Takes a number.
    pub fn word(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into().expect("eight bytes were taken")))
    }

    fn words(&mut self) -> Result<Vec<u64>> {
        let n = self.word()?.min(self.rest.len() as u64);
        (0..n).map(|_| self.word()).collect()
    }

    /// Takes a text.
    pub fn text(&mut self) -> Result<&'a str> {
        let n = self.word()?.min(usize::MAX as u64) as usize;
        let bytes = self.bytes(n)?;
        std::str::from_utf8(bytes)
            .map_err(|e| Error::plugin(format!("a text in a message is not UTF-8: {e}")))
    }

    /// Takes a dictionary.
    pub fn dict(&mut self) -> Result<Dict> {
        let (imports, exports) = (self.imports, self.exports);
        let mut find = |place: FarArray, dtype: crate::value::Dtype, shape: &[usize]| match place.back {
            false => imports.array(place, dtype, shape),
            true => match exports.get(&place.id) {
                Some(own) if own.dtype() == dtype => own.part(place.offset as usize, shape),
                _ => Err(Error::plugin(format!("array {} came back and was never given", place.id))),
            },
        };
        let (value, len) = decode_far(self.rest, &mut find)?;
        self.rest = &self.rest[len..];
        match value {
            Value::Dict(dict) => Ok(dict),
            other => Err(Error::plugin(format!("a message holds {}, wanted a dict", other.describe()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait() -> Result<()> {
        Ok(())
    }

    fn pair() -> (Channel, Channel) {
        let (a, b) = Wire::pair().unwrap();
        let channel = |socket| Channel::new(Wire::patient(socket), Arc::default(), Pool::shared(1 << 28));
        (channel(a), channel(b))
    }

    fn pass(a: &mut Channel, b: &mut Channel, dict: &Dict) -> Dict {
        a.send(kind::REQUEST, &[], &mut wait, |p| {
            p.dict(dict);
            Ok(())
        })
        .unwrap();
        b.receive(&mut wait, |_, u| u.dict()).unwrap()
    }

    #[test]
    fn big_arrays_stay_where_they_are_and_are_given_back() {
        let (mut a, mut b) = pair();
        let pool = Pool::shared(1 << 28);
        let mut image = pool.take(crate::Dtype::U16, &[3, 512, 512]).unwrap();
        image.as_slice_mut::<u16>().unwrap().iter_mut().enumerate().for_each(|(i, x)| *x = i as u16);
        let image = image.freeze();
        let loose = Array::from_slice(&vec![1.5f64; 50_000]);
        let dict = Dict::new()
            .with("image", image.clone())
            .with("cut", image.records(1..3).unwrap())
            .with("loose", loose.clone())
            .with("small", Array::from_slice(&[1u8, 2]))
            .with("text", "as it was");
        let came = pass(&mut a, &mut b, &dict);
        assert_eq!(came, dict);
        assert_eq!(a.lent(), 3);
        // What comes back, or a part of it, is the very array that was given.
        let Some(Value::Array(far)) = came.get("image") else { panic!("an image") };
        assert_ne!(far.bytes().as_ptr(), image.bytes().as_ptr());
        let part = Dict::new().with("part", far.record(2).unwrap());
        let back = pass(&mut b, &mut a, &part);
        let Some(Value::Array(back)) = back.get("part") else { panic!("a part") };
        assert_eq!(back.bytes().as_ptr(), image.record(2).unwrap().bytes().as_ptr());
        drop((came, part));
        pass(&mut b, &mut a, &Dict::new());
        assert_eq!((a.lent(), b.lent()), (0, 0));
    }

    #[test]
    fn segments_that_are_gone_are_forgotten_on_both_sides() {
        let (mut a, mut b) = pair();
        for round in 0..5u8 {
            let pool = Pool::shared(1 << 20);
            let mut image = pool.take(crate::Dtype::U8, &[100_000]).unwrap();
            image.bytes_mut().fill(round);
            let came = pass(&mut a, &mut b, &Dict::new().with("image", image.freeze()));
            let Some(Value::Array(far)) = came.get("image") else { panic!("an image") };
            assert!(far.bytes().iter().all(|x| *x == round));
            drop(came);
            pass(&mut b, &mut a, &Dict::new());
        }
        drop(pass(&mut a, &mut b, &Dict::new()));
        assert_eq!((a.told.len(), b.imports.len()), (0, 0));
    }
}
