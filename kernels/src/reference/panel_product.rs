//! The inner loop of sparse convolution: a few feature rows times one panel of weights.
//!
//! In: rows of input features `[in]` and a panel `[in][LANES]`. Out: added to `[LANES]` sums of each row.
//! Each product is summed on its own, input channels ascending, and then added: rounding errors grow
//! with the root of the channels, not of channels times kernel offsets. With AVX2 and FMA several rows
//! share each weight that is read; elsewhere the compiler vectorises a row at a time.

use super::sparse_weights::LANES;

/// Sums of one row.
pub(super) type Sums = [f32; LANES];

/// Adds `input · panel` to the sums of one row. Fused on AArch64, where that is one instruction.
#[inline]
pub(super) fn add_row(input: &[f32], panel: &[[f32; LANES]], sums: &mut Sums) {
    let mut product = [0.0; LANES];
    for (value, weights) in input.iter().zip(panel) {
        for (sum, weight) in product.iter_mut().zip(weights) {
            *sum = if cfg!(target_arch = "aarch64") {
                value.mul_add(*weight, *sum)
            } else {
                *sum + value * weight
            };
        }
    }
    for (sum, product) in sums.iter_mut().zip(product) {
        *sum += product;
    }
}

/// Adds `inputs[r] · panel` to the sums of `N` rows; 6 rows fill 12 of the 16 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn add_rows_avx2<const N: usize>(
    inputs: &[&[f32]; N],
    panel: &[[f32; LANES]],
    sums: &mut [Sums; N],
) {
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps,
    };

    let inputs = inputs.map(|input| &input[..panel.len()]);
    let mut wide = [[_mm256_setzero_ps(); 2]; N];
    for (index, weights) in panel.iter().enumerate() {
        let [low, high]: [__m256; 2] = bytemuck::cast(*weights);
        for (sum, input) in wide.iter_mut().zip(&inputs) {
            let value = _mm256_set1_ps(input[index]);
            sum[0] = _mm256_fmadd_ps(value, low, sum[0]);
            sum[1] = _mm256_fmadd_ps(value, high, sum[1]);
        }
    }
    for (sum, [low, high]) in sums.iter_mut().zip(wide) {
        let before: [__m256; 2] = bytemuck::cast(*sum);
        *sum = bytemuck::cast([
            _mm256_add_ps(before[0], low),
            _mm256_add_ps(before[1], high),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, Sums, add_row};

    /// Integers, exact in float32 whether fused or not.
    fn numbers(seed: usize) -> impl Fn(usize) -> f32 {
        move |i| ((i * 7 + seed * 13) % 11) as f32 - 5.0
    }

    fn panel(depth: usize) -> Vec<[f32; LANES]> {
        let value = numbers(3);
        (0..depth)
            .map(|c| std::array::from_fn(|lane| value(c * LANES + lane)))
            .collect()
    }

    fn naive(input: &[f32], panel: &[[f32; LANES]], start: &Sums) -> Vec<f32> {
        let sum = |lane: usize| {
            let products = input.iter().zip(panel).map(|(x, w)| x * w[lane]);
            products.fold(start[lane], |sum, product| sum + product)
        };
        (0..LANES).map(sum).collect()
    }

    #[test]
    fn a_row_gains_its_product_with_the_panel() {
        let (panel, input) = (panel(13), Vec::from_iter((0..13).map(numbers(1))));
        let start = std::array::from_fn(numbers(2));
        let mut sums = start;
        add_row(&input, &panel, &mut sums);
        assert_eq!(sums.to_vec(), naive(&input, &panel, &start));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn rows_taken_together_gain_what_each_gains_alone() {
        use super::add_rows_avx2;
        if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") {
            return;
        }
        let panel = panel(13);
        let rows: [Vec<f32>; 6] = std::array::from_fn(|r| (0..13).map(numbers(r)).collect());
        let start: [Sums; 6] = std::array::from_fn(|r| std::array::from_fn(numbers(20 + r)));
        let mut sums = start;
        // SAFETY: the two features that the function is compiled for were detected just above.
        unsafe { add_rows_avx2(&rows.each_ref().map(Vec::as_slice), &panel, &mut sums) };
        for ((sums, row), start) in sums.iter().zip(&rows).zip(&start) {
            assert_eq!(sums.to_vec(), naive(row, &panel, start));
        }
    }
}
