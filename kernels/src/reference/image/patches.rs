//! The network's input from grey levels: normalised, fp16, 4×4 pixels together.
//!
//! In: `[height, width, 3]` u8. Out: `[⌈height/4⌉, ⌈width/4⌉, 48]` fp16 bits, value dy·12 + dx·3 + channel
//! of a patch; pixels beyond the image are 0.

use half::f16;

use super::{CHANNELS, ImageView};

/// Edge of a patch (px).
pub const PATCH: usize = 4;
/// Values of a patch.
pub const PATCH_VALUES: usize = PATCH * PATCH * CHANNELS;

/// `(level - mean) / std` in float32, rounded to fp16, for every channel and level: bits, `[3][256]`.
#[must_use]
pub fn levels(mean: [f32; 3], std: [f32; 3]) -> [[u16; 256]; CHANNELS] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|level| {
            f16::from_f32((level as f32 - mean[channel]) / std[channel]).to_bits()
        })
    })
}

/// Normalises and puts into patches.
#[must_use]
pub fn to_patches(image: ImageView<'_>, mean: [f32; 3], std: [f32; 3]) -> Vec<u16> {
    let [rows, columns] = [image.height(), image.width()].map(|extent| extent.div_ceil(PATCH));
    let levels = levels(mean, std);
    let mut out = vec![0; rows * columns * PATCH_VALUES];
    for y in 0..image.height() {
        for (x, pixel) in image.row(y).as_chunks::<CHANNELS>().0.iter().enumerate() {
            let patch = y / PATCH * columns + x / PATCH;
            let first = patch * PATCH_VALUES + (y % PATCH * PATCH + x % PATCH) * CHANNELS;
            for (channel, value) in out[first..first + CHANNELS].iter_mut().enumerate() {
                *value = levels[channel][usize::from(pixel[channel])];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::to_patches;
    use crate::reference::image::ImageView;
    use half::f16;

    #[test]
    fn a_patch_is_row_by_row_with_zeros_beyond_the_image() {
        let pixels: Vec<u8> = (1..=5 * 2 * 3).collect();
        let image = ImageView::new(5, 2, &pixels).expect("fits");
        let out = to_patches(image, [0.0; 3], [1.0; 3]);
        let out: Vec<u8> = out
            .iter()
            .map(|v| f16::from_bits(*v).to_f32() as u8)
            .collect();
        assert_eq!(out.len(), 96);
        assert_eq!(out[..12], pixels[..12]);
        assert_eq!(out[12..24], pixels[15..27]);
        assert_eq!(out[24..48], [0; 24]);
        assert_eq!(out[48..60], [13, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[60..63], [28, 29, 30]);
    }
}
