//! PCD files, ASCII and binary, version 0.7.
//!
//! In: the bytes of a file. Out: four columns x, y, z (m), intensity (as stored; 0 where the file has
//! none), in the file's order of points. Fields may stand in any order and have any numeric type;
//! others are skipped. The `VIEWPOINT` is not applied.
//! Source: <https://pointclouds.org/documentation/tutorials/pcd_file_format.html>.

use std::ops::Range;

use super::PointCloud;
use super::points::PointsError;

/// Columns of the cloud, by field name.
const COLUMNS: [&str; 4] = ["x", "y", "z", "intensity"];
/// A header is a few lines; what goes on longer is not one.
const HEADER_LIMIT: usize = 64 * 1024;

/// A numeric type of a PCD field: its `TYPE` letter and `SIZE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PcdField {
    /// `F 4`.
    F32,
    /// `F 8`.
    F64,
    /// `U 1`, `U 2`, `U 4`, `U 8`: bytes.
    Unsigned(usize),
    /// `I 1`, `I 2`, `I 4`, `I 8`: bytes.
    Signed(usize),
}

impl PcdField {
    fn new(letter: &str, size: usize) -> Option<Self> {
        match (letter, size) {
            ("F", 4) => Some(Self::F32),
            ("F", 8) => Some(Self::F64),
            ("U", 1 | 2 | 4 | 8) => Some(Self::Unsigned(size)),
            ("I", 1 | 2 | 4 | 8) => Some(Self::Signed(size)),
            _ => None,
        }
    }

    /// The value of little-endian `bytes`, rounded to float32.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "clouds are float32: rounding to nearest is what a reader of the column expects"
    )]
    fn value(self, bytes: &[u8]) -> f32 {
        let mut word = [0_u8; 8];
        let used = bytes.len().min(word.len());
        word[..used].copy_from_slice(&bytes[..used]);
        let unsigned = u64::from_le_bytes(word);
        match self {
            Self::F32 => f32::from_bits(unsigned as u32),
            Self::F64 => f64::from_bits(unsigned) as f32,
            Self::Unsigned(_) => unsigned as f32,
            Self::Signed(size) => {
                let shift = 64 - 8 * size as u32;
                ((unsigned << shift).cast_signed() >> shift) as f32
            }
        }
    }
}

/// One of [`COLUMNS`] inside a record.
#[derive(Clone, Debug)]
struct Column {
    name: &'static str,
    kind: PcdField,
    /// Bytes of a binary record.
    bytes: Range<usize>,
    /// Number in an ASCII record.
    word: usize,
}

struct Header<'a> {
    columns: [Option<Column>; 4],
    /// Bytes per binary record.
    stride: usize,
    /// Numbers per ASCII record.
    words: usize,
    points: usize,
    encoding: &'a str,
    data: &'a [u8],
}

/// Reads a PCD file.
///
/// # Errors
/// When the header is not one, x, y or z are absent, the data are shorter or longer than the header
/// promises, or the encoding is `binary_compressed`.
pub fn parse_pcd(bytes: &[u8]) -> Result<PointCloud, PointsError> {
    if bytes.is_empty() {
        return Err(PointsError::Empty);
    }
    let header = parse_header(bytes)?;
    let values = match header.encoding {
        "binary" => binary_values(&header)?,
        "ascii" => ascii_values(&header)?,
        "binary_compressed" => return Err(PointsError::Compressed),
        other => return Err(wrong("DATA", "ascii or binary", other)),
    };
    Ok(PointCloud {
        values,
        columns: COLUMNS.len(),
    })
}

fn wrong(key: &'static str, expected: &str, found: &str) -> PointsError {
    let mut found: String = found.chars().take(80).collect();
    if found.is_empty() {
        found.push_str("nothing");
    }
    PointsError::Header {
        key,
        expected: expected.into(),
        found,
    }
}

/// The lines of a header, without comments, and what follows `DATA`.
struct Lines<'a> {
    /// Key and words.
    lines: Vec<(&'a str, &'a str)>,
    data: &'a [u8],
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, PointsError> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().take(HEADER_LIMIT).position(|b| *b == b'\n') {
            let line = str::from_utf8(&rest[..end]).unwrap_or("#").trim();
            rest = &rest[end + 1..];
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, words) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            lines.push((key, words.trim()));
            if key == "DATA" {
                return Ok(Self { lines, data: rest });
            }
            if bytes.len() - rest.len() > HEADER_LIMIT {
                break;
            }
        }
        let start = bytes[..bytes.len().min(16)].escape_ascii();
        let found = format!("no such line (the file starts with \"{start}\")");
        let expected = "a line `DATA ascii` or `DATA binary`";
        Err(wrong("DATA", expected, &found))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        let line = self.lines.iter().find(|(k, _)| *k == key);
        line.map(|(_, words)| *words)
    }

    fn words(&self, key: &str) -> Vec<&'a str> {
        self.get(key)
            .unwrap_or_default()
            .split_whitespace()
            .collect()
    }

    /// The words of a line that has one per field.
    fn per_field(&self, key: &'static str, fields: usize) -> Result<Vec<&'a str>, PointsError> {
        let words = self.words(key);
        if words.len() == fields {
            return Ok(words);
        }
        let found = self.get(key).unwrap_or("no such line");
        Err(wrong(key, &format!("{fields} words, one per field"), found))
    }
}

fn parse_header(bytes: &[u8]) -> Result<Header<'_>, PointsError> {
    let lines = Lines::new(bytes)?;
    let fields = lines.words("FIELDS");
    let sizes = lines.per_field("SIZE", fields.len())?;
    let types = lines.per_field("TYPE", fields.len())?;
    let counts = match lines.get("COUNT") {
        Some(_) => lines.per_field("COUNT", fields.len())?,
        None => vec!["1"; fields.len()],
    };
    let (mut columns, mut stride, mut words) = ([const { None }; 4], 0_usize, 0_usize);
    for (index, field) in fields.iter().enumerate() {
        let size = number("SIZE", sizes[index])?;
        let count = number("COUNT", counts[index])?;
        if let Some(at) = COLUMNS.iter().position(|name| name == field) {
            let kind = PcdField::new(types[index], size).ok_or_else(|| {
                let found = format!("{field} {} {size}", types[index]);
                wrong("TYPE", "F 4, F 8 or U/I with 1, 2, 4, 8", &found)
            })?;
            columns[at] = Some(Column {
                name: COLUMNS[at],
                kind,
                bytes: stride..stride.saturating_add(size),
                word: words,
            });
        }
        stride = stride.saturating_add(size.saturating_mul(count));
        words = words.saturating_add(count);
    }
    if let Some(at) = columns[..3].iter().position(Option::is_none) {
        return Err(wrong("FIELDS", COLUMNS[at], &fields.join(" ")));
    }
    Ok(Header {
        columns,
        stride,
        words,
        points: points(lines.get("POINTS"), lines.get("WIDTH"), lines.get("HEIGHT"))?,
        encoding: lines.get("DATA").unwrap_or_default(),
        data: lines.data,
    })
}

fn number(key: &'static str, word: &str) -> Result<usize, PointsError> {
    let value = word.parse::<usize>().ok().filter(|v| *v > 0);
    value.ok_or_else(|| wrong(key, "a whole number above 0", word))
}

fn points(
    points: Option<&str>,
    width: Option<&str>,
    height: Option<&str>,
) -> Result<usize, PointsError> {
    let product = match (points, width, height) {
        (Some(points), ..) => points.parse().ok(),
        (None, Some(width), Some(height)) => width
            .parse::<usize>()
            .ok()
            .zip(height.parse::<usize>().ok())
            .and_then(|(w, h)| w.checked_mul(h)),
        _ => None,
    };
    product.ok_or_else(|| wrong("POINTS", "a whole number", points.unwrap_or("no such line")))
}

fn binary_values(header: &Header<'_>) -> Result<Vec<f32>, PointsError> {
    let expected = header.points.saturating_mul(header.stride);
    if header.data.len() != expected {
        return Err(PointsError::DataSize {
            points: header.points,
            expected: format!("{expected} bytes at {} a point", header.stride),
            found: format!("{} bytes", header.data.len()),
        });
    }
    let mut values = Vec::with_capacity(header.points.saturating_mul(COLUMNS.len()));
    for record in header.data.chunks_exact(header.stride) {
        values.extend(header.columns.iter().map(|column| match column {
            Some(column) => column.kind.value(&record[column.bytes.clone()]),
            None => 0.0,
        }));
    }
    Ok(values)
}

fn ascii_values(header: &Header<'_>) -> Result<Vec<f32>, PointsError> {
    let text = String::from_utf8_lossy(header.data);
    let mut values = Vec::new();
    let mut point = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() != header.words {
            return Err(PointsError::Number {
                point,
                field: "count",
                found: format!(
                    "{} numbers where the header has {}",
                    words.len(),
                    header.words
                ),
            });
        }
        for column in &header.columns {
            values.push(match column {
                Some(column) => {
                    words[column.word]
                        .parse()
                        .map_err(|_error| PointsError::Number {
                            point,
                            field: column.name,
                            found: words[column.word].chars().take(40).collect(),
                        })?
                }
                None => 0.0,
            });
        }
        point += 1;
    }
    if point != header.points {
        return Err(PointsError::DataSize {
            points: header.points,
            expected: "a line each".into(),
            found: format!("{point} lines"),
        });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::parse_pcd;
    use proptest::prelude::{any, prop_assert, proptest};

    const ASCII: &str = "# .PCD v0.7\nVERSION 0.7\nFIELDS intensity z y x\nSIZE 4 4 4 4\nTYPE F F F F\n\
        COUNT 1 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n9 3 2 1\nnan 6 5 4.5\n";

    fn mixed(points: usize) -> Vec<u8> {
        let mut bytes = format!(
            "FIELDS x ring y z intensity time\nSIZE 4 2 8 4 1 4\nTYPE F U F F U U\n\
             COUNT 1 3 1 1 1 1\nWIDTH {points}\nHEIGHT 1\nDATA binary\n"
        )
        .into_bytes();
        for point in 0..points {
            let at = point as f32;
            bytes.extend(at.to_le_bytes());
            bytes.extend([7; 6]);
            bytes.extend(f64::from(-at).to_le_bytes());
            bytes.extend((2.0 * at).to_le_bytes());
            bytes.push(200);
            bytes.extend([9; 4]);
        }
        bytes
    }

    #[test]
    fn ascii_fields_in_any_order_become_x_y_z_intensity() {
        let cloud = parse_pcd(ASCII.as_bytes()).expect("two points");
        assert_eq!(cloud.columns, 4);
        assert_eq!(cloud.values[..7], [1.0, 2.0, 3.0, 9.0, 4.5, 5.0, 6.0]);
        assert!(cloud.values[7].is_nan());
    }

    #[test]
    fn binary_fields_of_mixed_types_are_found_in_the_record() {
        let cloud = parse_pcd(&mixed(3)).expect("three points");
        assert_eq!(cloud.values[8..], [2.0, -2.0, 4.0, 200.0]);
    }

    #[test]
    fn a_signed_byte_keeps_its_sign_and_a_missing_intensity_is_zero() {
        let mut bytes = b"FIELDS x y z\nSIZE 1 2 4\nTYPE I I I\nPOINTS 1\nDATA binary\n".to_vec();
        bytes.extend([0xFE, 0xFD, 0xFF, 0xFC, 0xFF, 0xFF, 0xFF]);
        assert_eq!(
            parse_pcd(&bytes).expect("a point").values,
            [-2.0, -3.0, -4.0, 0.0]
        );
    }

    #[test]
    fn messages_name_what_is_wrong() {
        let message = |bytes: &[u8]| parse_pcd(bytes).expect_err("refused").to_string();
        let cut = mixed(3);
        assert!(
            message(&cut[..cut.len() - 1]).contains("promises 3 points (81 bytes at 27 a point)")
        );
        assert!(message(b"").contains("empty"));
        assert!(message(b"\x00\x01 no header").contains("DATA"));
        let compressed = ASCII.replace("ascii", "binary_compressed");
        assert!(message(compressed.as_bytes()).contains("pcl_convert_pcd_ascii_binary"));
        let no_x = ASCII.replace("y x", "y q");
        assert!(message(no_x.as_bytes()).contains("FIELDS: expected x, found intensity z y q"));
        let odd = ASCII.replace("9 3 2 1", "9 3 two 1");
        assert!(
            message(odd.as_bytes()).contains("point 0, field y: expected a number, found \"two\"")
        );
        let more = ASCII.replace("POINTS 2", "POINTS 3");
        assert!(message(more.as_bytes()).contains("promises 3 points"));
        let huge = ASCII
            .replace("POINTS 2", "POINTS 18446744073709551615")
            .replace("ascii", "binary");
        assert!(message(huge.as_bytes()).contains("promises 18446744073709551615"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let mut bytes = mixed(2);
            let at = cut.min(bytes.len());
            bytes.truncate(at);
            bytes.extend(tail);
            let read = parse_pcd(&bytes);
            prop_assert!(read.is_err() || read.is_ok_and(|c| c.values.len() == 4 * c.len()));
        }
    }
}
