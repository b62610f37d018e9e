//! The CPU's way from an image to its patches.

use std::error::Error;

use bevfusion_kernels::cuda::image::{ImageConfig, Resampling};
use bevfusion_kernels::reference::image::{
    Filter, ImageView, LensMap, LinearResampler, PixelFormat, Plane, RawImage, Resampler,
    to_patches, undistort,
};

use super::cases::Camera;

/// `[⌈H/4⌉][⌈W/4⌉][48]` fp16 bits.
pub(super) fn patches(camera: &Camera, config: &ImageConfig) -> Result<Vec<u16>, Box<dyn Error>> {
    let geometry = &camera.geometry;
    let [width, height] = geometry.raw;
    let plane = |start: usize| Plane {
        bytes: &camera.bytes[start..],
        stride: camera.stride,
    };
    let chroma = (camera.format == PixelFormat::Nv12).then(|| plane(camera.starts[1]));
    let raw = RawImage::new(camera.format, geometry.raw, plane(camera.starts[0]), chroma)?;
    let (mut rgb, mut cropped) = (Vec::new(), Vec::new());
    raw.to_rgb(&mut rgb);
    if let Some(lens) = &geometry.lens {
        let map = LensMap::new(lens, geometry.raw)?;
        let bent = rgb.clone();
        undistort(ImageView::new(width, height, &bent)?, &map, &mut rgb);
    }
    let view = ImageView::new(width, height, &rgb)?;
    match geometry.resampling {
        Resampling::Pillow => Resampler::new(geometry.raw, geometry.resized, Filter::Bicubic).run(
            view,
            geometry.crop,
            &mut cropped,
        ),
        Resampling::OpenCv => LinearResampler::new(geometry.raw, geometry.resized).run(
            view,
            geometry.crop,
            &mut cropped,
        ),
    }
    let view = ImageView::new(geometry.crop.width, geometry.crop.height, &cropped)?;
    Ok(to_patches(view, config.mean, config.std))
}
