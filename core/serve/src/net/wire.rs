//! Frames of the WebSocket protocol (RFC 6455), the server's side.

use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What came.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Text(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// Why a client is not listened to any more: the code that it is told, and the reason.
#[derive(Debug, PartialEq)]
pub(super) struct Broken(pub u16, pub &'static str);

const GONE: Broken = Broken(1006, "the connection is gone");

/// The answer to the key of a handshake.
pub(super) fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.trim().as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(&hash.finalize())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |all, i| all << 8 | u32::from(*part.get(i).unwrap_or(&0)));
        for i in 0..4 {
            match i <= part.len() {
                true => out.push(DIGITS[(word >> (18 - 6 * i)) as usize & 63] as char),
                false => out.push('='),
            }
        }
    }
    out
}

struct Head {
    last: bool,
    kind: u8,
    length: u64,
    mask: [u8; 4],
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, Broken> {
    let mut two = [0; 2];
    stream.read_exact(&mut two).await.map_err(|_| GONE)?;
    if two[0] & 0x70 != 0 {
        return Err(Broken(1002, "reserved bits are set"));
    }
    if two[1] & 0x80 == 0 {
        return Err(Broken(1002, "a client's frame is not masked"));
    }
    let length = match two[1] & 0x7f {
        126 => u64::from(stream.read_u16().await.map_err(|_| GONE)?),
        127 => stream.read_u64().await.map_err(|_| GONE)?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await.map_err(|_| GONE)?;
    let (last, kind) = (two[0] & 0x80 != 0, two[0] & 0x0f);
    if kind >= 8 && (!last || length > 125) {
        return Err(Broken(1002, "a control frame is long or in pieces"));
    }
    Ok(Head { last, kind, length, mask })
}

/// Reads frames until a message is whole; pieces so far stay in `pieces` when a control frame comes between.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    pieces: &mut Option<Vec<u8>>,
    most: usize,
) -> Result<Message, Broken> {
    loop {
        let head = head(stream).await?;
        let before = pieces.as_ref().map_or(0, Vec::len);
        if head.length.saturating_add(before as u64) > most as u64 {
            return Err(Broken(1009, "the message is too large"));
        }
        // Room grows with what has come: a promise of many bytes costs nothing.
        let mut bytes = Vec::with_capacity((head.length as usize).min(64 << 10));
        let taken = (&mut *stream).take(head.length).read_to_end(&mut bytes).await.map_err(|_| GONE)?;
        if (taken as u64) < head.length {
            return Err(GONE);
        }
        bytes.iter_mut().zip(head.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match (head.kind, pieces.as_mut()) {
            (0, Some(so_far)) => {
                so_far.append(&mut bytes);
                if head.last {
                    return Ok(Message::Text(pieces.take().unwrap_or_default()));
                }
            }
            (0, None) => return Err(Broken(1002, "a piece of no message")),
            (1 | 2, Some(_)) => return Err(Broken(1002, "a message begins within another")),
            // Requests are text; bytes that read as text do no harm.
            (1 | 2, None) if head.last => return Ok(Message::Text(bytes)),
            (1 | 2, None) => *pieces = Some(bytes),
            (8, _) => return Ok(Message::Close),
            (9, _) => return Ok(Message::Ping(bytes)),
            (10, _) => return Ok(Message::Pong),
            _ => return Err(Broken(1002, "an unknown kind of frame")),
        }
    }
}

/// The kinds of frames that a server sends.
pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Sends a frame.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut frame = Vec::with_capacity(bytes.len() + 10);
    frame.push(0x80 | kind);
    match bytes.len() {
        n @ 0..=125 => frame.push(n as u8),
        n @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            frame.push(127);
            frame.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(bytes);
    stream.write_all(&frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, section 1.3.
    #[test]
    fn the_key_is_answered_as_the_standard_shows() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        // RFC 4648, section 10.
        for (plain, coded) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    fn all(bytes: &[u8]) -> (Vec<Message>, Broken) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut bytes, mut pieces, mut messages) = (bytes, None, vec![]);
            loop {
                match read(&mut bytes, &mut pieces, 100).await {
                    Ok(message) => messages.push(message),
                    Err(broken) => return (messages, broken),
                }
            }
        })
    }

    /// The masked "Hello" of RFC 6455, section 5.7, whole and in two pieces with a ping between.
    #[test]
    fn frames_of_the_standard_are_read() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(all(&hello), (vec![Message::Text(b"Hello".to_vec())], GONE));
        let mut cut = vec![0x01, 0x83, 0, 0, 0, 0, b'H', b'e', b'l'];
        cut.extend([0x89, 0x80, 1, 2, 3, 4]);
        cut.extend([0x80, 0x82, 0, 0, 0, 0, b'l', b'o']);
        assert_eq!(all(&cut).0, [Message::Ping(vec![]), Message::Text(b"Hello".to_vec())]);
    }

    #[test]
    fn broken_frames_end_the_talk_with_a_code() {
        assert_eq!(all(&[0x81, 0x05, b'H']).1.0, 1002, "not masked");
        assert_eq!(all(&[0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).1.0, 1009, "a large promise");
        assert_eq!(all(&[0x80, 0x80, 0, 0, 0, 0]).1.0, 1002, "a piece of nothing");
        assert_eq!(all(&[0xc1, 0x80, 0, 0, 0, 0]).1.0, 1002, "a reserved bit");
        assert_eq!(all(&[0x83, 0x80, 0, 0, 0, 0]).1.0, 1002, "an unknown kind");
        assert_eq!(all(&[0x09, 0x80, 0, 0, 0, 0]).1.0, 1002, "a ping in pieces");
    }
}
