//! The textual literals of protocol 0 and the packed integers of protocol 2.

use super::Node;

/// `INT` and `LONG`: decimal, `00`/`01` are booleans, a trailing `L` is allowed.
pub(super) fn integer(line: &[u8]) -> Option<Node> {
    match line {
        b"00" => return Some(Node::Bool(false)),
        b"01" => return Some(Node::Bool(true)),
        _ => {}
    }
    let text = std::str::from_utf8(line).ok()?.trim();
    let digits = text.strip_suffix('L').unwrap_or(text);
    if let Ok(value) = digits.parse() {
        return Some(Node::Int(value));
    }
    let magnitude = digits.strip_prefix('-').unwrap_or(digits);
    let is_number = !magnitude.is_empty() && magnitude.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(Node::Other)
}

/// `LONG1` and `LONG4`: little-endian two's complement of any length.
pub(super) fn packed_integer(bytes: &[u8]) -> Node {
    const WIDTH: usize = size_of::<i64>();
    if bytes.len() > WIDTH {
        return Node::Other;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; WIDTH];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

/// `FLOAT`: as `repr(float)` writes it.
pub(super) fn float(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// `STRING`: quoted, with Python's escapes.
pub(super) fn quoted(line: &[u8]) -> Option<Node> {
    let (first, last) = (*line.first()?, *line.last()?);
    if line.len() < 2 || first != last || !matches!(first, b'"' | b'\'') {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line[1..line.len() - 1].iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next()? {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'x' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                out.push((high * 16 + low) as u8);
            }
            other @ (b'\\' | b'\'' | b'"') => out.push(other),
            other => out.extend([b'\\', other]),
        }
    }
    Some(string(&out))
}

/// `UNICODE`: raw-unicode-escape, that is Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let digits = match (byte, line.get(at + 1)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => 0,
        };
        if digits == 0 {
            out.push(char::from(byte));
            at += 1;
            continue;
        }
        let hex = std::str::from_utf8(line.get(at + 2..at + 2 + digits)?).ok()?;
        out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
        at += 2 + digits;
    }
    Some(out)
}

/// A Python 2 string: text when it is UTF-8, bytes otherwise.
pub(super) fn string(bytes: &[u8]) -> Node {
    match std::str::from_utf8(bytes) {
        Ok(text) => Node::Text(text.to_owned()),
        Err(_) => Node::Bytes(bytes.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, integer, packed_integer, quoted, raw_unicode};

    #[test]
    fn integers_of_every_protocol_are_read() {
        assert_eq!(integer(b"-12"), Some(Node::Int(-12)));
        assert_eq!(integer(b"12L"), Some(Node::Int(12)));
        assert_eq!(integer(b"01"), Some(Node::Bool(true)));
        assert_eq!(integer(b"99999999999999999999L"), Some(Node::Other));
        assert_eq!(integer(b"1x"), None);
        assert_eq!(packed_integer(&[]), Node::Int(0));
        assert_eq!(packed_integer(&[0xff]), Node::Int(-1));
        assert_eq!(
            packed_integer(&[0x6c, 0xfc, 0x9c, 0x46]),
            Node::Int(0x469c_fc6c)
        );
        assert_eq!(packed_integer(&[1; 9]), Node::Other);
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(quoted(br"'a\x41\n'"), Some(Node::Text("aA\n".into())));
        assert_eq!(quoted(br"'open"), None);
        assert_eq!(quoted(br"'"), None);
        assert_eq!(raw_unicode(br"\u00e9\U0001F600x").as_deref(), Some("é😀x"));
        assert_eq!(raw_unicode(br"\u00"), None);
    }
}
