//! Record tokens: 32 lower-case hexadecimal digits in 16 bytes, anything else as text.
//!
//! nuScenes has millions of tokens; stored as digits they would need four times the memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

const HEX_DIGITS: usize = 32;

/// The primary key of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    /// 32 lower-case hexadecimal digits.
    Hex([u8; HEX_DIGITS / 2]),
    /// Any other text; empty where a record refers to nothing.
    Text(Box<str>),
}

impl Token {
    pub(super) fn new(text: &str) -> Self {
        hex(text.as_bytes()).map_or_else(|| Self::Text(text.into()), Self::Hex)
    }

    /// Whether it refers to no record.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

fn hex(text: &[u8]) -> Option<[u8; HEX_DIGITS / 2]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let mut bytes = [0; HEX_DIGITS / 2];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Token;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token (string)")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Token, E> {
                Ok(Token::new(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::Token;
    use proptest::prelude::{prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn a_token_is_shown_as_it_was_written(text in "[0-9a-fA-F]{30,34}|[0-9a-f]{32}|.{0,8}") {
            prop_assert_eq!(Token::new(&text).to_string(), text);
        }
    }

    #[test]
    fn a_hexadecimal_token_takes_no_memory_of_its_own() {
        assert!(matches!(
            Token::new("ca9a282c9e77460f8360f564131a8af5"),
            Token::Hex(_)
        ));
        assert_eq!(size_of::<Token>(), 24);
        assert!(Token::new("").is_none());
    }
}
