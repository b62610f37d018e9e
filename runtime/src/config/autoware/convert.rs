//! The network's description from the parameters and the T4 preset.

use super::super::error::{ConfigErrors, ConfigProblem};
use super::super::{CameraSpec, MAX_CAMERAS, ModelConfig, ModelSpec};
use super::Reader;
use super::keys::{AutowareRuntime, ModelKeys};

/// The columns of a point: x, y, z, intensity, time lag.
const WITH_INTENSITY: [usize; 5] = [0, 1, 2, 3, 4];
const WITHOUT_INTENSITY: [usize; 4] = [0, 1, 2, 4];

impl Reader<'_> {
    pub(super) fn model(
        &mut self,
        keys: &ModelKeys,
        runtime: &AutowareRuntime,
    ) -> Result<ModelSpec, ConfigErrors> {
        let preset = match (keys.num_cameras > 0, keys.use_intensity) {
            (true, _) => "t4_CL",
            (false, true) => "t4_L_intensity",
            (false, false) => "t4_L",
        };
        let mut spec = ModelConfig::preset(preset)?.spec;
        self.assume(format!(
            "channels of the sparse encoder, SECOND and the head: preset {preset}"
        ));
        spec.name = preset.replace("t4", "autoware");
        self.classes(&mut spec, &keys.class_names, preset);
        spec.points.use_dim = if keys.use_intensity {
            WITH_INTENSITY.into()
        } else {
            WITHOUT_INTENSITY.into()
        };
        match keys.densification_num_past_frames {
            Some(sweeps) => spec.points.sweeps_num = sweeps,
            None => self.assume(format!(
                "densification_num_past_frames: {} (preset {preset})",
                spec.points.sweeps_num
            )),
        }
        spec.voxel.point_cloud_range = keys.point_cloud_range;
        spec.voxel.voxel_size = keys.voxel_size;
        spec.voxel.max_points_per_voxel = keys.max_points_per_voxel;
        spec.voxel.max_voxels = self.most_voxels(keys);
        spec.head.num_proposals = keys.num_proposals;
        spec.head.out_size_factor = keys.out_size_factor;
        self.encoder(&mut spec, preset);
        if let Some(camera) = &mut spec.camera {
            self.assume(format!(
                "widths of the camera branch and of the fuser: preset {preset}"
            ));
            self.camera(camera, keys);
            self.raw_images(camera, runtime);
        }
        self.two_engines(keys);
        Ok(spec)
    }

    pub(super) fn assume(&mut self, what: String) {
        self.assumed.push(what);
    }

    fn most_voxels(&mut self, keys: &ModelKeys) -> usize {
        let [fewest, usual, most] = keys.voxels_num;
        if !(fewest <= usual && usual <= most) {
            self.contradiction(
                &[],
                ConfigProblem::new(
                    "voxels_num",
                    "fewest, usual, most in this order",
                    format!("{:?}", keys.voxels_num),
                    "write them ascending",
                ),
            );
        }
        most
    }

    /// Puts the file's classes in the place of the preset's, with what the preset says of each.
    fn classes(&mut self, spec: &mut ModelSpec, given: &[String], preset: &str) {
        let known = std::mem::replace(&mut spec.class_names, given.into());
        let same = |name: &String| known.iter().position(|k| k.eq_ignore_ascii_case(name));
        let head = &mut spec.head;
        let pooled = std::mem::take(&mut head.dense_heatmap_pooling_classes);
        head.dense_heatmap_pooling_classes = given
            .iter()
            .filter(|name| pooled.iter().any(|k| k.eq_ignore_ascii_case(name)))
            .cloned()
            .collect();
        self.assume(format!(
            "dense_heatmap_pooling_classes: {} (preset {preset})",
            head.dense_heatmap_pooling_classes.join(", ")
        ));
        let post = &mut spec.postprocess;
        let yaw = std::mem::take(&mut post.yaw_norm_thresholds);
        let least = |name| same(name).and_then(|i| yaw.get(i).copied());
        post.yaw_norm_thresholds = given
            .iter()
            .map(|name| least(name).unwrap_or(0.0))
            .collect();
        let row = post.min_confidence_scores.first().cloned();
        post.min_confidence_scores = vec![row.unwrap_or_default(); given.len()];
    }

    /// The sparse shape follows the grid; Fourier features follow the range.
    fn encoder(&mut self, spec: &mut ModelSpec, preset: &str) {
        let range = spec.voxel.point_cloud_range;
        let size = spec.voxel.voxel_size;
        let Some(encoder) = &mut spec.lidar_encoder else {
            return;
        };
        for axis in 0..3 {
            let cells = ((range[axis + 3] - range[axis]) / size[axis]).round() as usize;
            encoder.sparse_shape[axis] = cells.saturating_add(usize::from(axis == 2));
        }
        let Some(fourier) = &mut encoder.voxel_features else {
            return;
        };
        for axis in 0..3 {
            fourier.min[axis] = range[axis] as f32;
            fourier.max[axis] = range[axis + 3] as f32;
        }
        let frequencies = fourier.num_frequencies;
        self.assume(format!(
            "voxel_features: {frequencies} frequencies (preset {preset}); none before model 2.7"
        ));
    }

    /// camera0, camera1, ... as the node's image topics are numbered.
    fn camera_names(&mut self, count: usize) -> Vec<String> {
        if count > MAX_CAMERAS {
            self.contradiction(
                &[],
                ConfigProblem::new(
                    "num_cameras",
                    format!("at most {MAX_CAMERAS}"),
                    count.to_string(),
                    "write the number of image topics",
                ),
            );
        }
        let numbers = 0..count.min(MAX_CAMERAS);
        numbers.map(|index| format!("camera{index}")).collect()
    }

    fn camera(&mut self, camera: &mut CameraSpec, keys: &ModelKeys) {
        camera.camera_order = self.camera_names(keys.num_cameras);
        self.assume("camera_order: camera0, camera1, ... as the image topics".into());
        let view = &mut camera.view_transform;
        camera.image_size = [
            self.needed("roi_height", keys.roi_height, camera.image_size[0]),
            self.needed("roi_width", keys.roi_width, camera.image_size[1]),
        ];
        view.feature_size = [
            self.needed(
                "features_height",
                keys.features_height,
                view.feature_size[0],
            ),
            self.needed("features_width", keys.features_width, view.feature_size[1]),
        ];
        camera.resize = self.needed("img_aug_scale_x", keys.img_aug_scale_x, camera.resize);
        let scale_y = self.needed("img_aug_scale_y", keys.img_aug_scale_y, camera.resize);
        if (camera.resize - scale_y).abs() > f64::EPSILON {
            self.contradiction(
                &["img_aug_scale_x"],
                ConfigProblem::new(
                    "img_aug_scale_y",
                    format!("img_aug_scale_x = {}", camera.resize),
                    scale_y.to_string(),
                    "networks are trained with one scale for both axes",
                ),
            );
        }
        let neck = camera.neck_channels;
        camera.neck_channels =
            self.needed("image_feature_channel", keys.image_feature_channel, neck);
        view.x_bound = self.needed("x_bound", keys.x_bound, view.x_bound);
        view.y_bound = self.needed("y_bound", keys.y_bound, view.y_bound);
        view.z_bound = self.needed("z_bound", keys.z_bound, view.z_bound);
        view.d_bound = self.needed("d_bound", keys.d_bound, view.d_bound);
        let [first, end, step] = view.d_bound;
        let bins = ((end - first) / step).ceil() as usize;
        let stated = self.needed("num_depth_features", keys.num_depth_features, bins);
        if stated != bins {
            self.contradiction(
                &["d_bound"],
                ConfigProblem::new(
                    "num_depth_features",
                    format!("the {bins} bins of d_bound = {:?}", view.d_bound),
                    stated.to_string(),
                    "take both from the exported model's package",
                ),
            );
        }
    }

    /// A parameter that a model with cameras must have.
    fn needed<T>(&mut self, name: &'static str, value: Option<T>, otherwise: T) -> T {
        value.unwrap_or_else(|| {
            self.contradiction(
                &["num_cameras"],
                ConfigProblem::new(
                    name,
                    "a value, because num_cameras is not 0",
                    "no such key",
                    format!("add `{name}`"),
                ),
            );
            self.reading.replaced.insert(name.into());
            otherwise
        })
    }

    /// The resized image must cover the region of interest.
    fn raw_images(&mut self, camera: &CameraSpec, runtime: &AutowareRuntime) {
        let [height, width] = camera.image_size;
        for (key, raw, needed) in [
            ("raw_image_height", runtime.raw_image_height, height),
            ("raw_image_width", runtime.raw_image_width, width),
        ] {
            let Some(raw) = raw else { continue };
            let resized = (raw as f64 * camera.resize).floor();
            if resized < needed as f64 {
                self.contradiction(
                    &["roi_height", "roi_width", "img_aug_scale_x"],
                    ConfigProblem::new(
                        key,
                        format!("at least {needed} px after scaling by {}", camera.resize),
                        format!("{raw} px, {resized} px after scaling"),
                        "correct the raw size, img_aug_scale or the region of interest",
                    ),
                );
            }
        }
    }

    /// The node has a second network exactly when it has cameras.
    fn two_engines(&mut self, keys: &ModelKeys) {
        let Some(path) = &keys.image_backbone_onnx_path else {
            return;
        };
        if path.is_empty() != (keys.num_cameras == 0) {
            self.contradiction(
                &["num_cameras"],
                ConfigProblem::new(
                    "image_backbone_onnx_path",
                    "a path exactly when num_cameras is not 0",
                    format!("{path:?} and num_cameras = {}", keys.num_cameras),
                    "use the node file and the ML package of the same model",
                ),
            );
        }
    }
}
