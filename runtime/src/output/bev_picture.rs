//! A frame from above: points, boxes, velocities and ground truth, the vehicle's front at the top.
//!
//! In: a [`FrameView`]. Out: a square RGB picture that shows ±`range_m` about the cloud's origin.
//! Boxes fade with their score; the thick edge and the line from the centre mark the heading; an arrow
//! is the way of one second. Ground truth is a dashed white outline.

use super::bev_furniture::{draw_ego, draw_panels, draw_rings};
use super::canvas::{Canvas, Ends, Pen};
use super::frame_view::by_score;
use super::label_layout::{Area, Labels};
use super::style::{BACKGROUND, ColorMap, DASH, GROUND_TRUTH, Ink, class_color, lighter};
use super::text::Face;
use super::{Detection, FrameView, OutputError};
use crate::input::{PointCloud, RgbImage};

/// Edge for which line widths and text sizes are chosen (px); other sizes scale with it.
const DESIGN_SIZE_PX: f32 = 1400.0;
/// Arrows of slower objects are left out (m/s).
const LEAST_ARROW_SPEED: f32 = 0.5;
/// Share of the points below and above which the colour no longer changes.
const COLOR_TAIL: f32 = 0.02;
const INTENSITY_COLUMN: usize = 3;

/// Which axis of the cloud points ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardAxis {
    /// x ahead, y to the left: `base_link`, T4.
    X,
    /// y ahead, x to the right: the nuScenes LiDAR.
    Y,
}

/// What the colour of a point shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointColor {
    /// z (m).
    Height,
    /// The fourth column.
    Intensity,
}

/// What the picture shows and how large it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BevOptions {
    /// Edge of the picture (px).
    pub size_px: u32,
    /// Distance from the origin to each edge (m).
    pub range_m: f32,
    /// Which axis of the cloud points up.
    pub forward: ForwardAxis,
    /// What the points' colours show.
    pub point_color: PointColor,
    /// Boxes below this score are left out.
    pub min_score: f32,
    /// Boxes from this score on are labelled with it.
    pub label_score: f32,
    /// Whether ground truth is drawn.
    pub show_ground_truth: bool,
}

impl Default for BevOptions {
    fn default() -> Self {
        Self {
            size_px: 1400,
            range_m: 54.0,
            forward: ForwardAxis::Y,
            point_color: PointColor::Height,
            min_score: 0.1,
            label_score: 0.3,
            show_ground_truth: true,
        }
    }
}

/// Draws a frame from above.
///
/// # Errors
/// When the size or the range is not one that a picture can have.
pub fn draw_bev(view: &FrameView<'_>, options: &BevOptions) -> Result<RgbImage, OutputError> {
    if !(options.range_m.is_finite() && options.range_m > 0.0) {
        return Err(OutputError::Picture(format!(
            "range {} m; expected a positive length",
            options.range_m
        )));
    }
    let mut canvas = Canvas::new(options.size_px, options.size_px, BACKGROUND)?;
    let map = BevMap::new(options);
    let boxes: Vec<_> = by_score(view.detections, options.min_score)
        .into_iter()
        .filter(|found| map.shows(found))
        .collect();
    let truth: Vec<_> = view
        .ground_truth
        .iter()
        .filter(|found| options.show_ground_truth && map.shows(found))
        .collect();

    draw_rings(&mut canvas, &map);
    let colors = draw_points(&mut canvas, &map, view.points, options.point_color);
    draw_ego(&mut canvas, &map);
    for found in boxes.iter().rev() {
        draw_box(&mut canvas, &map, found, color_of(view, found));
    }
    for found in &truth {
        draw_truth(&mut canvas, &map, found);
    }
    let mut labels = Labels::new(Area::new([0.0; 2], [map.size_px; 2]));
    draw_panels(
        &mut canvas,
        &mut labels,
        &map,
        (view, &boxes, &truth),
        &colors,
    );
    draw_scores(&mut canvas, &mut labels, &map, view, &boxes);
    Ok(canvas.into_image())
}

/// From the cloud's x, y (m) to the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct BevMap {
    pub(super) options: BevOptions,
    pub(super) size_px: f32,
    /// px per m
    pub(super) scale: f32,
    /// Size of lines and text relative to the design.
    pub(super) unit: f32,
}

impl BevMap {
    pub(super) fn new(options: &BevOptions) -> Self {
        let size_px = options.size_px as f32;
        Self {
            options: *options,
            size_px,
            scale: 0.5 * size_px / options.range_m,
            unit: size_px / DESIGN_SIZE_PX,
        }
    }

    pub(super) fn to_px(self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [right, ahead] = match self.options.forward {
            ForwardAxis::X => [-y, x],
            ForwardAxis::Y => [x, y],
        };
        let middle = 0.5 * self.size_px;
        [middle + self.scale * right, middle - self.scale * ahead]
    }

    fn shows(self, found: &Detection) -> bool {
        let [x, y, _] = found.bottom_center;
        x.abs().max(y.abs()) <= self.options.range_m
    }

    fn corners(self, found: &Detection) -> [[f32; 2]; 4] {
        found.footprint().map(|corner| self.to_px(corner))
    }
}

/// What the points' colours stand for.
#[derive(Clone, Debug)]
pub(super) struct PointScale {
    pub(super) map: ColorMap,
    /// Values at the two ends of the map; `None` when no point is shown.
    pub(super) ends: Option<[f32; 2]>,
    pub(super) unit: &'static str,
}

fn draw_points(
    canvas: &mut Canvas,
    map: &BevMap,
    cloud: &PointCloud,
    color: PointColor,
) -> PointScale {
    let (column, unit) = match color {
        PointColor::Intensity if cloud.columns > INTENSITY_COLUMN => {
            (INTENSITY_COLUMN, "intensity")
        }
        _ => (2, "z (m)"),
    };
    let range = map.options.range_m;
    let shown: Vec<[f32; 3]> = cloud
        .values
        .chunks_exact(cloud.columns.max(1))
        .filter_map(|row| Some([*row.first()?, *row.get(1)?, *row.get(column)?]))
        .filter(|[x, y, value]| x.abs() <= range && y.abs() <= range && value.is_finite())
        .collect();
    let scale = PointScale {
        map: ColorMap::new(),
        ends: tails(shown.iter().map(|point| point[2]).collect()),
        unit,
    };
    let Some([low, high]) = scale.ends else {
        return scale;
    };
    let size = (1.7 * map.unit).max(1.0);
    let span = (high - low).max(f32::EPSILON);
    for &[x, y, value] in &shown {
        let rgb = scale.map.at((value - low) / span);
        canvas.dot(map.to_px([x, y]), size, Ink { rgb, alpha: 0.8 });
    }
    scale
}

/// Values between which nearly all lie.
fn tails(mut values: Vec<f32>) -> Option<[f32; 2]> {
    values.sort_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f32| values.get((share * last as f32).round() as usize).copied();
    Some([at(COLOR_TAIL)?, at(1.0 - COLOR_TAIL)?])
}

fn color_of(view: &FrameView<'_>, found: &Detection) -> [u8; 3] {
    class_color(&view.class_name(found.label), found.label)
}

fn draw_box(canvas: &mut Canvas, map: &BevMap, found: &Detection, color: [u8; 3]) {
    let score = found.score.clamp(0.0, 1.0);
    let ink = Ink::solid(color).with_alpha(0.45 + 0.55 * score);
    let corners = map.corners(found);
    canvas.fill_polygon(&corners, ink.with_alpha(0.12 + 0.26 * score));
    let pen = Pen::new(ink, 2.0 * map.unit);
    canvas.line(&corners, Ends::Closed, pen);

    let [front_left, front_right, ..] = corners;
    let front = midpoint(front_left, front_right);
    let [x, y, _] = found.bottom_center;
    let center = map.to_px([x, y]);
    let heading = Pen::new(ink, 4.0 * map.unit);
    canvas.line(&[front_left, front_right], Ends::Open, heading);
    canvas.line(&[center, front], Ends::Open, pen);

    let [vx, vy] = found.velocity;
    if vx.hypot(vy) >= LEAST_ARROW_SPEED {
        draw_arrow(canvas, map, [center, map.to_px([x + vx, y + vy])], ink);
    }
}

fn draw_arrow(canvas: &mut Canvas, map: &BevMap, [tail, tip]: [[f32; 2]; 2], ink: Ink) {
    let (dx, dy) = (tip[0] - tail[0], tip[1] - tail[1]);
    let length = dx.hypot(dy);
    let (ux, uy) = (dx / length, dy / length);
    let head = (9.0 * map.unit).min(length);
    let neck = [tip[0] - head * ux, tip[1] - head * uy];
    let wing = 0.5 * head;
    canvas.line(&[tail, neck], Ends::Open, Pen::new(ink, 2.0 * map.unit));
    canvas.fill_polygon(
        &[
            tip,
            [neck[0] - wing * uy, neck[1] + wing * ux],
            [neck[0] + wing * uy, neck[1] - wing * ux],
        ],
        ink,
    );
}

fn draw_truth(canvas: &mut Canvas, map: &BevMap, found: &Detection) {
    let width = 1.3 * map.unit;
    let pen = Pen {
        ink: GROUND_TRUTH.with_alpha(0.9),
        width,
        dash: Some(DASH.map(|length| length * width)),
    };
    let corners = map.corners(found);
    canvas.line(&corners, Ends::Closed, pen);
}

fn draw_scores(
    canvas: &mut Canvas,
    labels: &mut Labels,
    map: &BevMap,
    view: &FrameView<'_>,
    boxes: &[&Detection],
) {
    let size = 14.0 * map.unit;
    for found in boxes {
        if let Some(area) = Area::around(&map.corners(found)) {
            labels.block(area);
        }
    }
    for found in boxes.iter().filter(|b| b.score >= map.options.label_score) {
        let text = format!("{:.2}", found.score);
        let extent = [canvas.fonts.width(Face::Mono, size, &text), size];
        let Some(target) = Area::around(&map.corners(found)) else {
            continue;
        };
        if let Some([left, top]) = labels.beside(target, extent, 4.0 * map.unit) {
            let rgb = color_of(view, found);
            canvas.fill_rect([left, top], extent, BACKGROUND.with_alpha(0.6));
            let ink = Ink::solid(lighter(rgb));
            canvas.text((Face::Mono, size), [left, top + 0.82 * size], ink, &text);
        }
    }
}

fn midpoint(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])]
}
