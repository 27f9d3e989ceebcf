//! A look at the directories before anything is made of them: no tag may announce more values than the file has bytes.

use std::io::{self, Read, Seek, SeekFrom};

/// Checks the chain of directories; `Err` is the page and what is wrong there.
pub(super) fn check<R: Read + Seek>(
    reader: &mut R,
    big: bool,
    length: u64,
) -> std::result::Result<(), (usize, String)> {
    let mut magic = [0; 2];
    let cut = |page| move |e: io::Error| (page, format!("directory: {e}"));
    reader.seek(SeekFrom::Start(0)).and_then(|_| reader.read_exact(&mut magic)).map_err(cut(0))?;
    let mut words = Words { reader, little: magic == *b"II" };
    let mut at = words.seek(if big { 8 } else { 4 }).and_then(|()| words.number(if big { 8 } else { 4 }));
    let mut page = 0;
    // Every directory takes some bytes: a chain with more of them runs in a circle.
    let most = length / 6;
    loop {
        let begin = at.map_err(cut(page))?;
        if begin == 0 && page > 0 {
            return Ok(());
        }
        if begin >= length || page as u64 > most {
            return Err((page, format!("directory: lies at {begin}, the file has {length} bytes")));
        }
        words.seek(begin).map_err(cut(page))?;
        let entries = words.number(if big { 8 } else { 2 }).map_err(cut(page))?;
        if entries.saturating_mul(if big { 20 } else { 12 }) > length {
            return Err((page, format!("directory: announces {entries} tags, the file has {length} bytes")));
        }
        for _ in 0..entries {
            let tag = words.number(2).map_err(cut(page))?;
            let kind = words.number(2).map_err(cut(page))?;
            let count = words.number(if big { 8 } else { 4 }).map_err(cut(page))?;
            words.number(if big { 8 } else { 4 }).map_err(cut(page))?;
            let size = match kind {
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16 | 17 | 18 => 8,
                _ => 1,
            };
            if count.saturating_mul(size) > length {
                let text =
                    format!("directory: tag {tag} announces {count} values, the file has {length} bytes");
                return Err((page, text));
            }
        }
        at = words.number(if big { 8 } else { 4 });
        page += 1;
    }
}

/// Numbers in the byte order of a file.
struct Words<'a, R> {
    reader: &'a mut R,
    little: bool,
}

impl<R: Read + Seek> Words<'_, R> {
    fn seek(&mut self, at: u64) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(at)).map(|_| ())
    }

    fn number(&mut self, bytes: usize) -> io::Result<u64> {
        let mut word = [0; 8];
        self.reader.read_exact(&mut word[..bytes])?;
        let order = |value, byte: &u8| value << 8 | u64::from(*byte);
        Ok(match self.little {
            true => word[..bytes].iter().rev().fold(0, order),
            false => word[..bytes].iter().fold(0, order),
        })
    }
}
