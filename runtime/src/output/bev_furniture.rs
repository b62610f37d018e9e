//! What surrounds the boxes of the picture from above: range rings, the vehicle, title, legend, scale
//! bar, colour bar and axes.

use super::bev_picture::{BevMap, ForwardAxis, PointScale};
use super::canvas::{Canvas, Ends, Pen};
use super::label_layout::{Area, Labels};
use super::style::{
    BACKGROUND, DASH, EGO, GRID, GROUND_TRUTH, Ink, PANEL, PANEL_EDGE, TEXT, TEXT_DIM, class_color,
};
use super::text::Face;
use super::{Detection, FrameView};

/// Margin between panels and the edge, at design size (px).
const MARGIN: f32 = 18.0;
const PAD: f32 = 14.0;
/// Ring distance for ranges up to the first number (m).
const RING_STEPS: [(f32, f32); 2] = [(60.0, 10.0), (130.0, 20.0)];
const WIDE_RING_STEP: f32 = 50.0;
/// Outline of a passenger car (m).
const EGO_SIZE: [f32; 2] = [4.6, 1.9];
/// How far its middle is ahead of the rear axle, where `base_link` is, and of the nuScenes LiDAR (m).
const EGO_MIDDLE_FROM_REAR_AXLE: f32 = 1.4;
const EGO_MIDDLE_FROM_LIDAR: f32 = 0.45;

fn ring_step(range_m: f32) -> f32 {
    RING_STEPS
        .iter()
        .find(|(up_to, _)| range_m <= *up_to)
        .map_or(WIDE_RING_STEP, |(_, step)| *step)
}

/// Range rings with their distance, and the two axes.
pub(super) fn draw_rings(canvas: &mut Canvas, map: &BevMap) {
    let middle = 0.5 * map.size_px;
    let pen = Pen::new(GRID, map.unit);
    let faint = Pen::new(GRID.with_alpha(0.5 * GRID.alpha), map.unit);
    for line in [
        [[middle, 0.0], [middle, map.size_px]],
        [[0.0, middle], [map.size_px, middle]],
    ] {
        canvas.line(&line, Ends::Open, faint);
    }
    let step = ring_step(map.options.range_m);
    let size = 13.0 * map.unit;
    // The corner of the square is sqrt(2) ranges away.
    let count = (map.options.range_m * std::f32::consts::SQRT_2 / step).ceil() as u16;
    for ring in 1..count {
        let distance = step * f32::from(ring);
        let radius = distance * map.scale;
        canvas.circle([middle; 2], radius, pen);
        if distance <= map.options.range_m {
            let text = format!("{distance:.0} m");
            let width = canvas.fonts.width(Face::Mono, size, &text);
            // Upon the ring at half past one, where traffic is seldom.
            let at = radius * std::f32::consts::FRAC_1_SQRT_2;
            let [left, base] = [middle + at - 0.5 * width, middle - at + 0.35 * size];
            canvas.fill_rect(
                [left - 3.0 * map.unit, base - 0.9 * size],
                [width + 6.0 * map.unit, 1.15 * size],
                BACKGROUND.with_alpha(0.85),
            );
            canvas.text((Face::Mono, size), [left, base], TEXT_DIM, &text);
        }
    }
}

/// The vehicle: an outline with a windscreen toward the front.
pub(super) fn draw_ego(canvas: &mut Canvas, map: &BevMap) {
    let [half_length, half_width] = EGO_SIZE.map(|edge| 0.5 * edge);
    let at = |ahead: f32, left: f32| {
        map.to_px(match map.options.forward {
            ForwardAxis::X => [EGO_MIDDLE_FROM_REAR_AXLE + ahead, left],
            ForwardAxis::Y => [-left, EGO_MIDDLE_FROM_LIDAR + ahead],
        })
    };
    let nose = 0.8 * half_length;
    let outline = [
        at(half_length, 0.55 * half_width),
        at(half_length, -0.55 * half_width),
        at(nose, -half_width),
        at(-half_length, -half_width),
        at(-half_length, half_width),
        at(nose, half_width),
    ];
    // Echoes of the vehicle itself are of no interest.
    canvas.fill_polygon(&outline, BACKGROUND.with_alpha(0.8));
    canvas.fill_polygon(&outline, EGO.with_alpha(0.2));
    canvas.line(&outline, Ends::Closed, Pen::new(EGO, 1.5 * map.unit));
    let screen = [
        at(0.55 * half_length, 0.0),
        at(0.1 * half_length, 0.7 * half_width),
        at(0.1 * half_length, -0.7 * half_width),
    ];
    canvas.fill_polygon(&screen, EGO);
}

/// A view with the boxes and the ground truth that are drawn.
pub(super) type Shown<'a> = (&'a FrameView<'a>, &'a [&'a Detection], &'a [&'a Detection]);

/// The four corners; labels stay off them.
pub(super) fn draw_panels(
    canvas: &mut Canvas,
    labels: &mut Labels,
    map: &BevMap,
    shown: Shown<'_>,
    points: &PointScale,
) {
    labels.block(draw_title(canvas, map, shown));
    labels.block(draw_legend(canvas, map, shown));
    labels.block(draw_scales(canvas, map, points));
    labels.block(draw_axes(canvas, map));
}

fn draw_panel(canvas: &mut Canvas, map: &BevMap, corner: [f32; 2], extent: [f32; 2]) -> Area {
    canvas.fill_rect(corner, extent, PANEL);
    let [left, top] = corner;
    let [width, height] = extent;
    let outline = [
        corner,
        [left + width, top],
        [left + width, top + height],
        [left, top + height],
    ];
    canvas.line(&outline, Ends::Closed, Pen::new(PANEL_EDGE, map.unit));
    Area::new(corner, extent)
}

fn draw_title(canvas: &mut Canvas, map: &BevMap, (view, boxes, truth): Shown<'_>) -> Area {
    let u = map.unit;
    let (title, detail) = ((Face::Sans, 24.0 * u), (Face::Mono, 14.5 * u));
    let mut second = format!(
        "{}   {} boxes, score at least {:.2}",
        view.model,
        boxes.len(),
        map.options.min_score
    );
    if map.options.show_ground_truth && !view.ground_truth.is_empty() {
        second.push_str(&format!("   {} annotated", truth.len()));
    }
    let width = canvas
        .fonts
        .width(title.0, title.1, view.frame_id)
        .max(canvas.fonts.width(detail.0, detail.1, &second));
    let corner = [MARGIN * u; 2];
    let area = draw_panel(canvas, map, corner, [width + 2.0 * PAD * u, 72.0 * u]);
    let left = corner[0] + PAD * u;
    canvas.text(title, [left, corner[1] + 30.0 * u], TEXT, view.frame_id);
    canvas.text(detail, [left, corner[1] + 57.0 * u], TEXT_DIM, &second);
    area
}

fn draw_legend(canvas: &mut Canvas, map: &BevMap, (view, boxes, truth): Shown<'_>) -> Area {
    let u = map.unit;
    let font = (Face::Mono, 14.5 * u);
    let (row, swatch) = (23.0 * u, 13.0 * u);
    let count =
        |of: &[&Detection], label: usize| of.iter().filter(|b| b.label as usize == label).count();
    let has_truth = map.options.show_ground_truth && !view.ground_truth.is_empty();
    let mut rows = vec![(
        "class".to_owned(),
        "found".to_owned(),
        "GT".to_owned(),
        None,
    )];
    for (label, name) in view.class_names.iter().enumerate() {
        let color = class_color(name, u32::try_from(label).unwrap_or(u32::MAX));
        let found = count(boxes, label);
        let annotated = count(truth, label);
        rows.push((
            name.clone(),
            found.to_string(),
            annotated.to_string(),
            Some(color),
        ));
    }
    let width_of = |text: &str| canvas.fonts.width(font.0, font.1, text);
    let names = rows.iter().map(|r| width_of(&r.0)).fold(0.0, f32::max);
    let digits = width_of("found");
    let name_x = PAD * u + swatch + 10.0 * u;
    let found_x = name_x + names + 18.0 * u + digits;
    let truth_x = found_x + if has_truth { 50.0 * u } else { 0.0 };
    let lines = rows.len() + usize::from(has_truth);
    let extent = [truth_x + PAD * u, lines as f32 * row + 1.4 * PAD * u];
    let corner = [MARGIN * u, map.size_px - MARGIN * u - extent[1]];
    let area = draw_panel(canvas, map, corner, extent);
    let mut base = corner[1] + 0.7 * PAD * u + 0.7 * row;
    for (name, found, annotated, color) in &rows {
        let is_empty = color.is_none() || (found == "0" && annotated == "0");
        let ink = if is_empty { TEXT_DIM } else { TEXT };
        if let Some(color) = *color {
            let at = [corner[0] + PAD * u, base - 0.85 * swatch];
            draw_swatch(canvas, map, at, swatch, color);
        }
        canvas.text(font, [corner[0] + name_x, base], ink, name);
        draw_right(canvas, font, [corner[0] + found_x, base], ink, found);
        if has_truth {
            draw_right(canvas, font, [corner[0] + truth_x, base], ink, annotated);
        }
        base += row;
    }
    if has_truth {
        draw_truth_key(
            canvas,
            map,
            [corner[0] + PAD * u, base],
            (swatch, name_x - PAD * u),
        );
    }
    area
}

fn draw_swatch(canvas: &mut Canvas, map: &BevMap, at: [f32; 2], edge: f32, color: [u8; 3]) {
    let ink = Ink::solid(color);
    canvas.fill_rect(at, [edge; 2], ink.with_alpha(0.38));
    let [left, top] = at;
    let (right, bottom) = (left + edge, top + edge);
    let outline = [[left, top], [right, top], [right, bottom], [left, bottom]];
    canvas.line(&outline, Ends::Closed, Pen::new(ink, 2.0 * map.unit));
}

fn draw_truth_key(
    canvas: &mut Canvas,
    map: &BevMap,
    [left, base]: [f32; 2],
    (edge, indent): (f32, f32),
) {
    let u = map.unit;
    let top = base - 0.85 * edge;
    let pen = Pen {
        ink: GROUND_TRUTH,
        width: 1.3 * u,
        dash: Some(DASH.map(|length| length * u)),
    };
    let (right, bottom) = (left + edge, top + edge);
    let outline = [[left, top], [right, top], [right, bottom], [left, bottom]];
    canvas.line(&outline, Ends::Closed, pen);
    let font = (Face::Mono, 14.5 * u);
    canvas.text(font, [left + indent, base], TEXT_DIM, "ground truth");
}

fn draw_right(canvas: &mut Canvas, font: (Face, f32), at: [f32; 2], ink: Ink, text: &str) {
    let width = canvas.fonts.width(font.0, font.1, text);
    canvas.text(font, [at[0] - width, at[1]], ink, text);
}

/// Scale bar and, above it, what the points' colours mean.
fn draw_scales(canvas: &mut Canvas, map: &BevMap, points: &PointScale) -> Area {
    let u = map.unit;
    let font = (Face::Mono, 13.0 * u);
    let step = ring_step(map.options.range_m);
    let bar = step * map.scale;
    let inner = bar.max(170.0 * u);
    let height = if points.ends.is_some() {
        96.0 * u
    } else {
        46.0 * u
    };
    let extent = [inner + 2.0 * PAD * u, height];
    let corner = [MARGIN * u + extent[0], MARGIN * u + extent[1]].map(|v| map.size_px - v);
    let area = draw_panel(canvas, map, corner, extent);
    let left = corner[0] + PAD * u;
    if let Some([low, high]) = points.ends {
        let top = corner[1] + 10.0 * u;
        for column in 0..inner as u16 {
            let rgb = points.map.at(f32::from(column) / inner);
            let at = [left + f32::from(column), top];
            canvas.fill_rect(at, [1.0, 12.0 * u], Ink::solid(rgb));
        }
        let base = top + 28.0 * u;
        let [low, high] = [low, high].map(|value| format!("{value:.1}"));
        canvas.text(font, [left, base], TEXT_DIM, &low);
        let middle = 0.5 * (inner - canvas.fonts.width(font.0, font.1, points.unit));
        canvas.text(font, [left + middle, base], TEXT_DIM, points.unit);
        draw_right(canvas, font, [left + inner, base], TEXT_DIM, &high);
    }
    let base = corner[1] + height - 12.0 * u;
    let [start, end] = [left, left + bar];
    let tick = 5.0 * u;
    let bracket = [
        [start, base - tick],
        [start, base],
        [end, base],
        [end, base - tick],
    ];
    canvas.line(&bracket, Ends::Open, Pen::new(TEXT, 1.5 * u));
    let text = format!("{step:.0} m");
    let middle = 0.5 * (bar - canvas.fonts.width(font.0, font.1, &text));
    canvas.text(font, [left + middle, base - 7.0 * u], TEXT, &text);
    area
}

fn draw_axes(canvas: &mut Canvas, map: &BevMap) -> Area {
    let u = map.unit;
    let extent = [122.0 * u, 92.0 * u];
    let corner = [map.size_px - MARGIN * u - extent[0], MARGIN * u];
    let area = draw_panel(canvas, map, corner, extent);
    let font = (Face::Mono, 14.5 * u);
    let reach = 38.0 * u;
    // x and y as directions in the picture.
    let (ahead, side, sign) = match map.options.forward {
        ForwardAxis::X => ("x", "y", -1.0),
        ForwardAxis::Y => ("y", "x", 1.0),
    };
    let origin = [
        corner[0] + 0.5 * extent[0] - sign * 0.75 * reach,
        corner[1] + 66.0 * u,
    ];
    let up = [origin[0], origin[1] - reach];
    let across = [origin[0] + sign * reach, origin[1]];
    let pen = Pen::new(TEXT, 1.8 * u);
    canvas.line(&[up, origin, across], Ends::Open, pen);
    let half = 4.5 * u;
    canvas.fill_polygon(
        &[
            [up[0], up[1] - 2.0 * half],
            [up[0] - half, up[1]],
            [up[0] + half, up[1]],
        ],
        TEXT,
    );
    canvas.fill_polygon(
        &[
            [across[0] + sign * 2.0 * half, across[1]],
            [across[0], across[1] - half],
            [across[0], across[1] + half],
        ],
        TEXT,
    );
    let ahead = format!("{ahead} ahead");
    let width = canvas.fonts.width(font.0, font.1, &ahead);
    let left = if sign > 0.0 {
        up[0] + 10.0 * u
    } else {
        up[0] - 10.0 * u - width
    };
    canvas.text(font, [left, up[1] + 4.0 * u], TEXT, &ahead);
    canvas.text(
        font,
        [across[0] - 4.0 * u, across[1] + 19.0 * u],
        TEXT,
        side,
    );
    area
}

#[cfg(test)]
mod tests {
    use super::ring_step;

    #[test]
    fn rings_widen_with_the_range() {
        assert!((ring_step(54.0) - 10.0).abs() < 1e-6);
        assert!((ring_step(122.0) - 20.0).abs() < 1e-6);
        assert!((ring_step(200.0) - 50.0).abs() < 1e-6);
    }
}
