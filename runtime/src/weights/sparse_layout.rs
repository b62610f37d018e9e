//! Layouts of sparse convolution kernels: spconv 2 stores `[out, kx, ky, kz, in]`, spconv 1, mmcv and
//! MIT's release `[kx, ky, kz, in, out]`. The shape tells them apart, because checkpoints do not.

use super::tensor::TensorData;

/// How a found shape becomes the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Same shape.
    AsIs,
    /// `[kx, ky, kz, in, out]`: permute by (4, 0, 1, 2, 3).
    Permuted,
    /// `[in, out, kx, ky, kz]`: was permuted although it was right.
    PermutedTwice,
    /// Another shape.
    Mismatched,
}

/// How the kernel `found` fits `[out, kx, ky, kz, in]`.
pub(super) fn fit(expected: &[usize], found: &[usize]) -> Fit {
    let &[out, kx, ky, kz, input] = expected else {
        return Fit::Mismatched;
    };
    if found == expected {
        Fit::AsIs
    } else if found == [kx, ky, kz, input, out] {
        Fit::Permuted
    } else if found == [input, out, kx, ky, kz] {
        Fit::PermutedTwice
    } else {
        Fit::Mismatched
    }
}

/// `[kx, ky, kz, in, out]` values as `[out, kx, ky, kz, in]`.
pub(super) fn out_first(data: &TensorData, out: usize) -> TensorData {
    match data {
        TensorData::F32(values) => TensorData::F32(last_axis_first(values, out)),
        TensorData::I64(values) => TensorData::I64(last_axis_first(values, out)),
    }
}

fn last_axis_first<T: Copy>(values: &[T], last: usize) -> Vec<T> {
    let axis = |at| values.iter().skip(at).step_by(last.max(1)).copied();
    (0..last).flat_map(axis).collect()
}

#[cfg(test)]
mod tests {
    use super::{Fit, fit, last_axis_first};

    #[test]
    fn shapes_tell_the_layouts_apart() {
        let expected = [16, 3, 3, 3, 5];
        assert_eq!(fit(&expected, &[16, 3, 3, 3, 5]), Fit::AsIs);
        assert_eq!(fit(&expected, &[3, 3, 3, 5, 16]), Fit::Permuted);
        assert_eq!(fit(&expected, &[5, 16, 3, 3, 3]), Fit::PermutedTwice);
        assert_eq!(fit(&expected, &[16, 3, 3, 3, 4]), Fit::Mismatched);
        let square = [32, 3, 3, 3, 32];
        assert_eq!(fit(&square, &[3, 3, 3, 32, 32]), Fit::Permuted);
        assert_eq!(fit(&square, &[32, 32, 3, 3, 3]), Fit::PermutedTwice);
        assert_eq!(
            fit(&[128, 1, 1, 3, 128], &[1, 1, 3, 128, 128]),
            Fit::Permuted
        );
    }

    #[test]
    fn the_last_axis_moves_to_the_front() {
        assert_eq!(
            last_axis_first(&[0, 1, 10, 11, 20, 21], 2),
            [0, 10, 20, 1, 11, 21]
        );
    }
}
