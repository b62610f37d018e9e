//! The camera branch: images, Swin and the grid of the view transform.

use super::super::error::ConfigProblem;
use super::super::{CameraSpec, MAX_CAMERAS, SwinSpec, ViewTransformSpec};
use super::Checker;

/// Image pixels per feature pixel; the depth network's strides make it.
const FEATURE_STRIDE: usize = 8;
const SWIN_STAGES: usize = 4;
/// Depth bins; published models have 95 to 129.
const MOST_DEPTH_BINS: usize = 4096;
const GRID: &[&str] = &[
    "voxel.point_cloud_range",
    "voxel.voxel_size",
    "head.out_size_factor",
];

impl Checker<'_> {
    pub(super) fn camera(&mut self) {
        let Some(camera) = &self.spec.camera else {
            return;
        };
        self.unique("camera.camera_order", &camera.camera_order);
        let cameras = camera.camera_order.len();
        if cameras > MAX_CAMERAS {
            self.fail(
                &[],
                ConfigProblem::new(
                    "camera.camera_order",
                    format!("at most {MAX_CAMERAS} cameras"),
                    format!("{cameras}"),
                    "leave out cameras",
                ),
            );
        }
        self.positive("camera.neck_channels", camera.neck_channels);
        let resize = (camera.resize > 0.0, "a scale above 0");
        self.within("camera.resize", camera.resize, resize);
        let share = camera.bottom_crop;
        let allowed = ((0.0..1.0).contains(&share), "a share from 0 to below 1");
        self.within("camera.bottom_crop", share, allowed);
        for (i, std) in camera.std.iter().enumerate() {
            let key = format!("camera.std[{i}]");
            let std = f64::from(*std);
            self.within(&key, std, (std > 0.0, "a number above 0"));
        }
        self.feature_size(camera);
        self.swin(&camera.backbone);
        self.view_transform(&camera.view_transform);
    }

    fn feature_size(&mut self, camera: &CameraSpec) {
        self.all_positive("camera.image_size", &camera.image_size);
        let feature = camera.view_transform.feature_size;
        let [height, width] = feature.map(|n| n * FEATURE_STRIDE);
        if camera.image_size != [height, width] {
            let [h, w] = camera.image_size;
            self.fail(
                &["camera.image_size"],
                ConfigProblem::new(
                    "camera.view_transform.feature_size",
                    format!("image_size / {FEATURE_STRIDE} of [{h}, {w}], a whole number"),
                    format!("{feature:?}, for an image of [{height}, {width}]"),
                    "the depth network has stride 8: change feature_size or image_size",
                ),
            );
        }
    }

    fn swin(&mut self, swin: &SwinSpec) {
        let stages = (SWIN_STAGES, "Swin stage");
        for (name, list) in [("depths", &swin.depths), ("num_heads", &swin.num_heads)] {
            let key = format!("camera.backbone.{name}");
            self.length(&[], &key, list, stages);
            self.all_positive(&key, list);
        }
        self.layers("camera.backbone.depths", &swin.depths);
        for (name, value) in [
            ("embed_dims", swin.embed_dims),
            ("window_size", swin.window_size),
            ("mlp_ratio", swin.mlp_ratio),
        ] {
            self.positive(&format!("camera.backbone.{name}"), value);
        }
        for (i, heads) in swin.num_heads.iter().take(SWIN_STAGES).enumerate() {
            let channels = swin.embed_dims << i;
            if channels.checked_rem(*heads).is_some_and(|rest| rest != 0) {
                self.fail(
                    &["camera.backbone.embed_dims"],
                    ConfigProblem::new(
                        format!("camera.backbone.num_heads[{i}]"),
                        format!("a divisor of the stage's {channels} channels"),
                        heads.to_string(),
                        "change num_heads or embed_dims",
                    ),
                );
            }
        }
    }

    fn view_transform(&mut self, view: &ViewTransformSpec) {
        self.positive("camera.view_transform.out_channels", view.out_channels);
        for (name, [lower, upper, step]) in [
            ("x_bound", view.x_bound),
            ("y_bound", view.y_bound),
            ("z_bound", view.z_bound),
        ] {
            let key = format!("camera.view_transform.{name}");
            self.divides(&[], (&key, "lower, upper, step"), (lower, upper, step));
        }
        let [first, end, step] = view.d_bound;
        if !(first > 0.0 && end > first && step > 0.0) {
            self.fail(
                &[],
                ConfigProblem::new(
                    "camera.view_transform.d_bound",
                    "0 < first < end and step > 0",
                    format!("{:?}", view.d_bound),
                    "write first bin, end and step in metres",
                ),
            );
        }
        let bins = self.shapes.depth_bins;
        if bins > MOST_DEPTH_BINS {
            self.fail(
                &[],
                ConfigProblem::new(
                    "camera.view_transform.d_bound",
                    format!("at most {MOST_DEPTH_BINS} bins from first to end"),
                    format!("{bins} bins of {:?}", view.d_bound),
                    "use a larger step",
                ),
            );
        }
        self.one_layer(view);
        self.covers_grid(view);
        self.pooled_grid(view);
    }

    /// The downsampling network takes `out_channels`, so z has one cell.
    fn one_layer(&mut self, view: &ViewTransformSpec) {
        let [lower, upper, step] = view.z_bound;
        let cells = ((upper - lower) / step).round();
        if cells > 1.0 {
            self.fail(
                &[],
                ConfigProblem::new(
                    "camera.view_transform.z_bound",
                    "one cell",
                    format!("{cells}"),
                    "set the step to upper - lower",
                ),
            );
        }
    }

    /// Camera and LiDAR maps are joined cell by cell, so both cover the same ground.
    fn covers_grid(&mut self, view: &ViewTransformSpec) {
        let [x0, y0, _, x1, y1, _] = self.spec.voxel.point_cloud_range;
        for (name, [lower, upper, step], [first, last]) in [
            ("x_bound", view.x_bound, [x0, x1]),
            ("y_bound", view.y_bound, [y0, y1]),
        ] {
            let tolerance = super::CELL_TOLERANCE * step.abs();
            if (lower - first).abs() > tolerance || (upper - last).abs() > tolerance {
                self.fail(
                    &["voxel.point_cloud_range"],
                    ConfigProblem::new(
                        format!("camera.view_transform.{name}"),
                        format!("{first} to {last}, as point_cloud_range"),
                        format!("{lower} to {upper}"),
                        "give both branches the same range",
                    ),
                );
            }
        }
    }

    fn pooled_grid(&mut self, view: &ViewTransformSpec) {
        let factor = view.downsample;
        if !(1..=2).contains(&factor) {
            self.fail(
                &[],
                ConfigProblem::new(
                    "camera.view_transform.downsample",
                    "1 or 2",
                    factor.to_string(),
                    "write 1 or 2",
                ),
            );
            return;
        }
        let wanted = self.shapes.bev.map(|n| n.saturating_mul(factor));
        for (axis, name) in [(0, "x_bound"), (1, "y_bound")] {
            let (pooled, wanted) = (self.shapes.pooled[axis], wanted[axis]);
            if pooled != wanted {
                self.fail(
                    GRID,
                    ConfigProblem::new(
                        format!("camera.view_transform.{name}"),
                        format!("{wanted} cells, downsample ({factor}) times the BEV grid"),
                        format!("{pooled} cells"),
                        "change the step of the bound, downsample or out_size_factor",
                    ),
                );
            }
        }
    }
}
