//! Raw point files (`.bin`, `.pcd.bin`): little-endian float32, a fixed number of columns per point.
//!
//! In: the bytes of a file and its columns (5 for nuScenes and T4, 4 for KITTI). Out: a
//! [`PointCloud`] in the frame of the file (m), intensity as stored. NaN and infinite values are
//! passed on: the pipeline drops and counts such points.
//! Source: <https://www.nuscenes.org/nuscenes>, KITTI object development kit.

use super::PointCloud;

const BYTES_PER_VALUE: usize = size_of::<f32>();
/// x, y, z.
const LEAST_COLUMNS: usize = 3;

/// Why bytes are not a point cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointsError {
    /// There is nothing in the file.
    #[error("it is empty (0 bytes): the copy may have been cut, fetch the file again")]
    Empty,
    /// A point needs x, y and z.
    #[error("{columns} columns per point: at least 3 (x, y, z) are needed")]
    TooFewColumns {
        /// As asked for.
        columns: usize,
    },
    /// The size is not a whole number of points.
    #[error(
        "{bytes} bytes are not a whole number of points of {columns} float32 columns: {} bytes per \
         point leave {} over; the file is truncated, or has other columns (nuScenes and T4: \
         --point-columns 5, KITTI: --point-columns 4)",
        columns * BYTES_PER_VALUE, bytes % (columns * BYTES_PER_VALUE)
    )]
    Remainder {
        /// Size of the file.
        bytes: usize,
        /// As asked for.
        columns: usize,
    },
    /// A header line of a PCD file.
    #[error("PCD header, {key}: expected {expected}, found {found}")]
    Header {
        /// Key of the line, for example `SIZE`.
        key: &'static str,
        /// What a PCD file holds there.
        expected: String,
        /// What this one holds.
        found: String,
    },
    /// The data do not hold the points that the header promises.
    #[error(
        "PCD data: the header promises {points} points ({expected}), the file holds {found}; it is \
         truncated or its header is of another file"
    )]
    DataSize {
        /// Points of the header.
        points: usize,
        /// Bytes or lines that they need.
        expected: String,
        /// Bytes or lines that are there.
        found: String,
    },
    /// A number in an ASCII PCD file.
    #[error("PCD data, point {point}, field {field}: expected a number, found {found:?}")]
    Number {
        /// Index of the point.
        point: usize,
        /// Name of the field.
        field: &'static str,
        /// The text.
        found: String,
    },
    /// A PCD encoding that is not read.
    #[error(
        "PCD data is binary_compressed, which is not read: convert it with \
         `pcl_convert_pcd_ascii_binary IN.pcd OUT.pcd 1`"
    )]
    Compressed,
}

/// Reads float32 points with `columns` values each.
///
/// # Errors
/// When there is no byte, fewer than three columns, or a part of a point at the end.
pub fn parse_points(bytes: &[u8], columns: usize) -> Result<PointCloud, PointsError> {
    if columns < LEAST_COLUMNS {
        return Err(PointsError::TooFewColumns { columns });
    }
    if bytes.is_empty() {
        return Err(PointsError::Empty);
    }
    let whole = columns
        .checked_mul(BYTES_PER_VALUE)
        .is_some_and(|point| bytes.len().is_multiple_of(point));
    if !whole {
        // A column count that overflows is reported as the largest that a file can have.
        let columns = columns.min(usize::MAX / BYTES_PER_VALUE);
        return Err(PointsError::Remainder {
            bytes: bytes.len(),
            columns,
        });
    }
    let (values, _) = bytes.as_chunks::<BYTES_PER_VALUE>();
    Ok(PointCloud {
        values: values.iter().map(|v| f32::from_le_bytes(*v)).collect(),
        columns,
    })
}

/// The cloud with `columns` values per point: missing ones are 0, surplus ones are cut.
///
/// PCD files hold four columns; a network that reads a fifth (the time lag) gets a place for it.
#[must_use]
pub fn with_columns(cloud: PointCloud, columns: usize) -> PointCloud {
    if cloud.columns == columns || cloud.columns == 0 {
        return cloud;
    }
    let mut values = Vec::with_capacity(cloud.len().saturating_mul(columns));
    for point in cloud.values.chunks_exact(cloud.columns) {
        let kept = columns.min(point.len());
        values.extend_from_slice(&point[..kept]);
        values.resize(values.len() + columns - kept, 0.0);
    }
    PointCloud { values, columns }
}

#[cfg(test)]
mod tests {
    use super::{PointsError, parse_points, with_columns};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn bytes_of_floats_come_back_bit_for_bit(points in proptest::collection::vec(any::<[u32; 5]>(), 1..20)) {
            let bytes: Vec<u8> = points.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            let cloud = parse_points(&bytes, 5).expect("whole points");
            prop_assert_eq!(cloud.len(), points.len());
            let bits: Vec<u32> = cloud.values.iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(bits, points.concat());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..99), columns in any::<usize>()) {
            if let Err(error) = parse_points(&bytes, columns) {
                prop_assert_eq!(error.to_string().is_empty(), false);
            }
        }
    }

    #[test]
    fn a_cut_file_is_named_with_its_remainder_and_the_remedy() {
        let message = parse_points(&[0; 103], 5).expect_err("cut").to_string();
        assert!(message.contains("103 bytes"), "{message}");
        assert!(
            message.contains("20 bytes per point leave 3 over"),
            "{message}"
        );
        assert!(message.contains("--point-columns 4"), "{message}");
    }

    #[test]
    fn four_columns_read_as_five_are_refused_where_the_size_tells() {
        assert_eq!(
            parse_points(&[0; 16 * 6], 5),
            Err(PointsError::Remainder {
                bytes: 96,
                columns: 5
            })
        );
        assert_eq!(parse_points(&[0; 16 * 6], 4).expect("KITTI").len(), 6);
    }

    #[test]
    fn an_empty_file_and_two_columns_are_refused() {
        assert_eq!(parse_points(&[], 5), Err(PointsError::Empty));
        assert_eq!(
            parse_points(&[0; 8], 2),
            Err(PointsError::TooFewColumns { columns: 2 })
        );
    }

    #[test]
    fn columns_are_filled_with_zero_or_cut() {
        let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let cloud = parse_points(&bytes, 4).expect("two points");
        assert_eq!(
            with_columns(cloud.clone(), 5).values,
            [1.0, 2.0, 3.0, 4.0, 0.0, 5.0, 6.0, 7.0, 8.0, 0.0]
        );
        assert_eq!(
            with_columns(cloud, 3).values,
            [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]
        );
    }
}
