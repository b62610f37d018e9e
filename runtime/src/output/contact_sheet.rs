//! The camera images of a frame on one sheet, with the boxes drawn into them.
//!
//! In: a [`FrameView`] whose cameras have a calibration relative to the key cloud. Out: an RGB picture
//! of tiles. Cameras named after their direction stand front left, front, front right over back left,
//! back, back right; any other set fills a grid in the given order. The face that a box drives ahead
//! with is filled. A camera without an image is a dark tile that says so.

use image::imageops::FilterType;

use super::canvas::{Canvas, Ends, Pen};
use super::frame_view::by_score;
use super::label_layout::{Area, Labels};
use super::projection::{ProjectedBox, Projector};
use super::style::{
    BACKGROUND, DASH, GROUND_TRUTH, Ink, PANEL, PANEL_EDGE, TEXT, TEXT_DIM, class_color, lighter,
};
use super::text::Face;
use super::{Detection, FrameView, OutputError};
use crate::geometry::CameraCalibration;
use crate::input::{CameraFrame, RgbImage};

/// Width for which line widths and text sizes are chosen (px).
const DESIGN_TILE_PX: f32 = 800.0;
/// Between tiles (px).
const GAP_PX: u32 = 6;
const GRID_COLUMNS: usize = 3;
/// Lower boxes, at design size, are not labelled: distant crowds would be hidden (px).
const LEAST_LABELLED_PX: f32 = 24.0;
/// Height over width of a sheet without any image.
const DEFAULT_ASPECT: f32 = 9.0 / 16.0;
const SLOTS: [&str; 6] = [
    "FRONT_LEFT",
    "FRONT",
    "FRONT_RIGHT",
    "BACK_LEFT",
    "BACK",
    "BACK_RIGHT",
];

/// What the sheet shows and how large it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SheetOptions {
    /// Width of one camera's tile (px); the first image gives the height.
    pub tile_width_px: u32,
    /// Boxes below this score are left out.
    pub min_score: f32,
    /// Boxes from this score on are labelled.
    pub label_score: f32,
    /// Whether ground truth is drawn, dashed.
    pub show_ground_truth: bool,
}

impl Default for SheetOptions {
    fn default() -> Self {
        Self {
            tile_width_px: 800,
            min_score: 0.2,
            label_score: 0.3,
            show_ground_truth: true,
        }
    }
}

/// Draws all cameras of a frame.
///
/// # Errors
/// When the frame has no camera or the sheet would be larger than a picture can be.
pub fn draw_contact_sheet(
    view: &FrameView<'_>,
    options: &SheetOptions,
) -> Result<RgbImage, OutputError> {
    if view.cameras.is_empty() {
        return Err(OutputError::Picture(
            "the frame has no camera; use the bird's-eye picture for LiDAR-only frames".to_owned(),
        ));
    }
    let aspect = view
        .cameras
        .iter()
        .find_map(|camera| camera.image.as_ref())
        .map_or(DEFAULT_ASPECT, |image| {
            image.height as f32 / image.width.max(1) as f32
        });
    let tile = [
        options.tile_width_px,
        (options.tile_width_px as f32 * aspect).round() as u32,
    ];
    let places = arrange(view.cameras);
    let columns = places.iter().map(|p| p[0] + 1).max().unwrap_or(1);
    let rows = places.iter().map(|p| p[1] + 1).max().unwrap_or(1);
    let edge = |count: u32, px: u32| count.saturating_mul(px.saturating_add(GAP_PX)) + GAP_PX;
    let (width, height) = (edge(columns, tile[0]), edge(rows, tile[1]));
    let mut sheet = Canvas::new(width, height, BACKGROUND)?;
    for (camera, place) in view.cameras.iter().zip(places) {
        let picture = draw_tile(view, camera, options, tile)?;
        let corner = [0, 1].map(|i| i64::from(GAP_PX + place[i] * (tile[i] + GAP_PX)));
        sheet.copy(&picture, corner);
    }
    Ok(sheet.into_image())
}

/// Column and row of each camera.
fn arrange(cameras: &[CameraFrame]) -> Vec<[u32; 2]> {
    let slots: Vec<_> = cameras
        .iter()
        .filter_map(|camera| {
            let name = camera.name.to_ascii_uppercase();
            let name = name.strip_prefix("CAM_").unwrap_or(&name).to_owned();
            SLOTS.iter().position(|slot| *slot == name)
        })
        .collect();
    let mut distinct = slots.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let (indices, columns) = if distinct.len() == cameras.len() {
        (slots, GRID_COLUMNS)
    } else {
        let columns = cameras.len().clamp(1, GRID_COLUMNS);
        ((0..cameras.len()).collect(), columns)
    };
    indices
        .into_iter()
        .map(|index| [(index % columns) as u32, (index / columns) as u32])
        .collect()
}

/// One camera at the size of a tile.
fn draw_tile(
    view: &FrameView<'_>,
    camera: &CameraFrame,
    options: &SheetOptions,
    [width, height]: [u32; 2],
) -> Result<image::RgbImage, OutputError> {
    let mut canvas = Canvas::new(width, height, Ink::solid(PANEL.rgb))?;
    let unit = width as f32 / DESIGN_TILE_PX;
    match camera.image.as_ref() {
        Some(raw) => {
            canvas.copy(&resized(raw, [width, height], &camera.name)?, [0, 0]);
            let projector = Projector::new(
                scaled(&camera.calibration, raw, [width, height]),
                [width as usize, height as usize],
            );
            draw_boxes(&mut canvas, view, options, &projector, unit);
        }
        None => draw_missing(&mut canvas, [width as f32, height as f32], unit),
    }
    draw_chip(
        &mut canvas,
        [10.0 * unit; 2],
        16.0 * unit,
        TEXT,
        &camera.name,
    );
    let picture = canvas.into_image();
    image::RgbImage::from_raw(width, height, picture.pixels)
        .ok_or_else(|| OutputError::Picture(format!("tile of {width} x {height} px")))
}

fn resized(
    raw: &RgbImage,
    [width, height]: [u32; 2],
    name: &str,
) -> Result<image::RgbImage, OutputError> {
    let edges = (u32::try_from(raw.width), u32::try_from(raw.height));
    let whole = match edges {
        (Ok(columns), Ok(rows)) => image::RgbImage::from_raw(columns, rows, raw.pixels.clone()),
        _ => None,
    };
    let whole = whole.ok_or_else(|| {
        OutputError::Picture(format!(
            "camera {name}: {} bytes for {} x {} px; expected three a pixel",
            raw.pixels.len(),
            raw.width,
            raw.height
        ))
    })?;
    let shrinks = width <= whole.width() && height <= whole.height();
    Ok(if shrinks {
        image::imageops::thumbnail(&whole, width, height)
    } else {
        image::imageops::resize(&whole, width, height, FilterType::Triangle)
    })
}

/// The calibration for the image at another size.
fn scaled(calibration: &CameraCalibration, raw: &RgbImage, size: [u32; 2]) -> CameraCalibration {
    let [width, height] = size.map(f64::from);
    let [u, v, w] = calibration.image_from_camera;
    CameraCalibration {
        image_from_camera: [
            u.map(|value| value * width / raw.width as f64),
            v.map(|value| value * height / raw.height as f64),
            w,
        ],
        ..*calibration
    }
}

fn draw_missing(canvas: &mut Canvas, [width, height]: [f32; 2], unit: f32) {
    let size = 26.0 * unit;
    let text = "no image";
    let left = 0.5 * (width - canvas.fonts.width(Face::Sans, size, text));
    canvas.text((Face::Sans, size), [left, 0.5 * height], TEXT_DIM, text);
    let outline = [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]];
    canvas.line(&outline, Ends::Closed, Pen::new(PANEL_EDGE, 2.0));
}

fn draw_boxes(
    canvas: &mut Canvas,
    view: &FrameView<'_>,
    options: &SheetOptions,
    projector: &Projector,
    unit: f32,
) {
    let mut seen: Vec<(&Detection, ProjectedBox)> = by_score(view.detections, options.min_score)
        .into_iter()
        .filter_map(|found| Some((found, projector.project(found)?)))
        .collect();
    seen.sort_by(|a, b| b.1.depth.total_cmp(&a.1.depth));
    for (found, visible) in &seen {
        let color = class_color(&view.class_name(found.label), found.label);
        let ink = Ink::solid(color).with_alpha(0.5 + 0.5 * found.score.clamp(0.0, 1.0));
        canvas.fill_polygon(&visible.front, ink.with_alpha(0.30));
        let width =
            (extent(visible).map_or(0.0, Area::height) / 40.0).clamp(1.2 * unit, 2.2 * unit);
        for edge in &visible.edges {
            canvas.line(edge, Ends::Open, Pen::new(ink, width));
        }
    }
    let truth = view
        .ground_truth
        .iter()
        .filter(|_| options.show_ground_truth);
    for visible in truth.filter_map(|found| projector.project(found)) {
        let width = 1.2 * unit;
        let pen = Pen {
            ink: GROUND_TRUTH.with_alpha(0.75),
            width,
            dash: Some(DASH.map(|length| length * width)),
        };
        for edge in &visible.edges {
            canvas.line(edge, Ends::Open, pen);
        }
    }
    // Nearer boxes are labelled first.
    seen.reverse();
    draw_labels(canvas, view, options, &seen, unit);
}

fn draw_labels(
    canvas: &mut Canvas,
    view: &FrameView<'_>,
    options: &SheetOptions,
    seen: &[(&Detection, ProjectedBox)],
    unit: f32,
) {
    let bounds = canvas.size();
    let size = 13.0 * unit;
    let mut labels = Labels::new(Area::new([0.0; 2], bounds));
    // The camera's name.
    labels.block(Area::new([0.0; 2], [220.0 * unit, 42.0 * unit]));
    for (found, visible) in seen {
        let is_labelled = |area: &Area| {
            found.score >= options.label_score && area.height() >= LEAST_LABELLED_PX * unit
        };
        let Some(area) = extent(visible).filter(is_labelled) else {
            continue;
        };
        let name = view.class_name(found.label);
        let text = format!("{name} {:.2}", found.score);
        let chip = chip_size(canvas, size, &text);
        let corners = [
            [area.left, area.top - chip[1]],
            [area.left, area.bottom],
            [area.right - chip[0], area.top - chip[1]],
        ];
        if let Some(corner) = labels.place(chip, &corners) {
            labels.block(area);
            let ink = Ink::solid(lighter(class_color(&name, found.label)));
            draw_chip(canvas, corner, size, ink, &text);
        }
    }
}

/// What a box covers of the image.
fn extent(visible: &ProjectedBox) -> Option<Area> {
    let points: Vec<_> = visible.edges.iter().flatten().copied().collect();
    Area::around(&points)
}

fn chip_size(canvas: &Canvas, size: f32, text: &str) -> [f32; 2] {
    let width = canvas.fonts.width(Face::Mono, size, text);
    [width + 0.8 * size, 1.4 * size]
}

/// Text on a dark ground.
fn draw_chip(canvas: &mut Canvas, corner: [f32; 2], size: f32, ink: Ink, text: &str) {
    let extent = chip_size(canvas, size, text);
    canvas.fill_rect(corner, extent, BACKGROUND.with_alpha(0.72));
    let at = [corner[0] + 0.4 * size, corner[1] + 1.04 * size];
    canvas.text((Face::Mono, size), at, ink, text);
}

#[cfg(test)]
mod tests {
    use super::arrange;
    use crate::geometry::{CameraCalibration, Transform};
    use crate::input::CameraFrame;

    fn cameras(names: &[&str]) -> Vec<CameraFrame> {
        names
            .iter()
            .map(|name| CameraFrame {
                name: (*name).to_owned(),
                image: None,
                calibration: CameraCalibration {
                    image_from_camera: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
                    camera_from_lidar: Transform::IDENTITY,
                },
                stamp_ns: None,
            })
            .collect()
    }

    #[test]
    fn cameras_named_after_their_direction_stand_around_the_vehicle() {
        let five = [
            "CAM_BACK_RIGHT",
            "CAM_FRONT",
            "CAM_FRONT_LEFT",
            "CAM_BACK_LEFT",
            "CAM_BACK",
        ];
        let places = arrange(&cameras(&five));
        assert_eq!(places, [[2, 1], [1, 0], [0, 0], [0, 1], [1, 1]]);
    }

    #[test]
    fn other_names_fill_a_grid_in_their_order() {
        let places = arrange(&cameras(&["camera0", "camera1", "camera2", "CAM_FRONT"]));
        assert_eq!(places, [[0, 0], [1, 0], [2, 0], [0, 1]]);
        assert_eq!(
            arrange(&cameras(&["CAM_FRONT", "CAM_FRONT"])),
            [[0, 0], [1, 0]]
        );
    }
}
