//! Frames: how words travel through a pipe, which knows no datagrams.
//!
//! A frame is its length (four bytes, the lowest first), the version of the protocol (one byte), and a text. The
//! length counts version and text. Whoever sends what is no frame is not listened to any more.

/// The version that both sides speak. Another one is another program's.
const VERSION: u8 = 1;

/// What is longer is no frame.
pub const MOST: usize = 64 << 10;

const HEAD: usize = 4;

/// What comes is not what keyrx sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a frame of {0} bytes")]
    Length(usize),
    #[error("a frame of version {0}")]
    Version(u8),
    #[error("a frame that is no text")]
    Text,
}

/// A text as a frame. One that is too long is cut.
pub fn encode(text: &str) -> Vec<u8> {
    let text = text.get(..text.floor_char_boundary(MOST - 1)).unwrap_or_default();
    let length = u32::try_from(text.len().saturating_add(1)).unwrap_or_default();
    [&length.to_le_bytes()[..], &[VERSION], text.as_bytes()].concat()
}

/// Makes frames of the bytes as they come, in whatever pieces.
#[derive(Debug, Default)]
pub struct Decoder(Vec<u8>);

impl Decoder {
    /// Takes some bytes. The texts of all frames that are whole by now.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, Malformed> {
        self.0.extend_from_slice(bytes);
        let mut texts = Vec::new();
        while let Some((head, rest)) = self.0.split_first_chunk::<HEAD>() {
            let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
            if !(1..=MOST).contains(&length) {
                return Err(Malformed::Length(length));
            }
            match rest.first() {
                Some(&VERSION) | None => {}
                Some(&other) => return Err(Malformed::Version(other)),
            }
            let Some((_, text)) = rest.get(..length).and_then(<[u8]>::split_first) else { break };
            texts.push(std::str::from_utf8(text).map_err(|_| Malformed::Text)?.to_owned());
            self.0 = self.0.split_off(length.saturating_add(HEAD));
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_frame_is_refused_as_soon_as_that_is_seen() {
        let refused = |bytes: &[u8]| Decoder::default().take(bytes).unwrap_err();
        assert_eq!(refused(&[0, 0, 0, 0]), Malformed::Length(0));
        assert_eq!(refused(&[1, 0, 1, 0]), Malformed::Length(MOST + 1));
        assert_eq!(refused(&[255; 4]), Malformed::Length(u32::MAX as usize));
        assert_eq!(refused(&[9, 0, 0, 0, 2]), Malformed::Version(2));
        assert_eq!(refused(&[2, 0, 0, 0, 1, 0xff]), Malformed::Text);
        assert_eq!(Decoder::default().take(&[9, 0, 0, 0, 1, b'x']), Ok(Vec::new()));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let text = "ä".repeat(MOST);
        let cut = Decoder::default().take(&encode(&text)).unwrap().remove(0);
        assert_eq!(cut.len(), MOST - 2);
        assert!(text.starts_with(&cut));
    }

    proptest! {
        #[test]
        fn texts_arrive_whole_and_in_order_in_whatever_pieces(
            texts in proptest::collection::vec(".{0,40}", 0..8),
            piece in 1_usize..20,
        ) {
            let bytes = texts.iter().flat_map(|text| encode(text)).collect::<Vec<_>>();
            let mut decoder = Decoder::default();
            let pieces = bytes.chunks(piece).map(|bytes| decoder.take(bytes).unwrap());
            prop_assert_eq!(pieces.flatten().collect::<Vec<_>>(), texts);
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            let _ = decoder.take(&bytes);
            prop_assert!(decoder.0.len() <= bytes.len());
        }
    }
}
