//! 3×3 float32 products in the order of operations of the originals.

/// A 3×3 matrix, row-major.
pub(crate) type Matrix3 = [[f32; 3]; 3];

/// `matrix · vector`, summed from the first column on, each step rounded to float32.
pub(crate) fn product(matrix: &Matrix3, [x, y, z]: [f32; 3]) -> [f32; 3] {
    matrix.map(|[a, b, c]| a * x + b * y + c * z)
}

/// Element-wise sum.
pub(crate) fn sum(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Element-wise difference.
pub(crate) fn difference(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}
