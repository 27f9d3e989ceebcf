//! The MD5 digest, which CBF files carry of their compressed bytes.

use md5::{Digest, Md5};

/// The MD5 digest of bytes in base 64, as files write it.
pub fn md5(bytes: &[u8]) -> String {
    base64(&Md5::digest(bytes).into())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Sixteen bytes in base 64.
fn base64(digest: &[u8; 16]) -> String {
    let mut text = String::with_capacity(24);
    for group in digest.chunks(3) {
        let word = group.iter().enumerate().fold(0, |w, (i, byte)| w | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = char::from(DIGITS[(word >> (18 - 6 * i) & 63) as usize]);
            text.push(if i <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_in_base_64() {
        // The example of RFC 1864: sixteen bytes that happen to be text.
        assert_eq!(base64(b"Check Integrity!"), "Q2hlY2sgSW50ZWdyaXR5IQ==");
        // RFC 1321, appendix A.5, put into base 64 by Python's base64.
        assert_eq!(md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(md5(b"message digest"), "+WtpfXy3k41SWi8xqvFh0A==");
    }
}
