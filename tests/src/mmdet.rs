//! The model description of a golden set (constructor arguments of the original Python classes, as
//! `models/NAME.config.json`) as a [`ModelSpec`].

use std::path::Path;

use bevfusion::config::{
    BevDecoderSpec, CameraSpec, CellRounding, DepthNetForm, DepthWinner, FuserSpec, HeadSpec,
    HeatmapBorder, LidarEncoderSpec, ModelSpec, NmsSpec, PointsSpec, PostprocessSpec,
    SweepAlignment, SwinSpec, ViewTransformSpec, VoxelSpec,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::golden::{self, GoldenError};

/// Squared radius and cap of the `out.circle.*` goldens (transfusion_head.py's task list).
const CIRCLE_THRESHOLD: f32 = 0.175;
const CIRCLE_POST_MAX_SIZE: usize = 83;

/// A golden model: its description and how its numbers were made.
#[derive(Clone, Debug)]
pub struct GoldenModel {
    /// The description; `postprocess.nms` is empty.
    pub spec: ModelSpec,
    /// Prefix of every weight name before hashing.
    pub salt: String,
}

/// Reads `NAME.config.json`.
///
/// # Errors
/// When the file is absent or lacks a key.
pub fn read(models_dir: &Path, name: &str) -> Result<GoldenModel, GoldenError> {
    let path = models_dir.join(format!("{name}.config.json"));
    let root: Value = golden::json(&path)?;
    let reader = Reader {
        path: &path,
        root: &root,
    };
    Ok(GoldenModel {
        spec: reader.model(name)?,
        salt: reader.get("/weights_salt")?,
    })
}

/// The circle NMS of the goldens `out.circle.*`.
#[must_use]
pub fn circle_nms() -> NmsSpec {
    NmsSpec::CircleSquared {
        groups: vec![vec!["pedestrian".into()], vec!["traffic_cone".into()]],
        threshold: CIRCLE_THRESHOLD,
        post_max_size: CIRCLE_POST_MAX_SIZE,
    }
}

struct Reader<'a> {
    path: &'a Path,
    root: &'a Value,
}

impl Reader<'_> {
    fn get<T: DeserializeOwned>(&self, pointer: &str) -> Result<T, GoldenError> {
        let malformed = |problem: String| GoldenError::Malformed {
            path: self.path.into(),
            problem,
        };
        let value = self
            .root
            .pointer(pointer)
            .ok_or_else(|| malformed(format!("{pointer} is missing")))?;
        serde_json::from_value(value.clone()).map_err(|e| malformed(format!("{pointer}: {e}")))
    }

    fn model(&self, name: &str) -> Result<ModelSpec, GoldenError> {
        let has = |pointer: &str| self.root.pointer(pointer).is_some();
        let camera = has("/model/view_transform")
            .then(|| self.camera())
            .transpose()?;
        let fuser = has("/model/fusion_layer")
            .then(|| self.fuser())
            .transpose()?;
        let class_names: Vec<String> = self.get("/classes")?;
        Ok(ModelSpec {
            name: name.into(),
            points: points(self.get("/model/pts_middle_encoder/in_channels")?),
            voxel: self.voxel()?,
            lidar_encoder: Some(self.encoder()?),
            camera,
            fuser,
            bev_decoder: Some(self.bev_decoder()?),
            head: self.head(&class_names)?,
            postprocess: self.postprocess()?,
            class_names,
        })
    }

    fn voxel(&self) -> Result<VoxelSpec, GoldenError> {
        let at = |key: &str| format!("/model/data_preprocessor/voxelize_cfg/{key}");
        let [_, max_voxels]: [usize; 2] = self.get(&at("max_voxels"))?;
        Ok(VoxelSpec {
            point_cloud_range: self.get(&at("point_cloud_range"))?,
            voxel_size: self.get(&at("voxel_size"))?,
            max_points_per_voxel: self.get(&at("max_num_points"))?,
            max_voxels,
        })
    }

    fn encoder(&self) -> Result<LidarEncoderSpec, GoldenError> {
        let at = |key: &str| format!("/model/pts_middle_encoder/{key}");
        let paddings: Vec<Vec<Value>> = self.get(&at("encoder_paddings"))?;
        let encoder_paddings = paddings[..paddings.len().saturating_sub(1)]
            .iter()
            .map(|stage| padding(stage.last().unwrap_or(&Value::Null)))
            .collect();
        Ok(LidarEncoderSpec {
            sparse_shape: self.get(&at("sparse_shape"))?,
            base_channels: self.get(&at("base_channels"))?,
            encoder_channels: self.get(&at("encoder_channels"))?,
            encoder_paddings,
            output_channels: self.get(&at("output_channels"))?,
            voxel_features: None,
        })
    }

    fn camera(&self) -> Result<CameraSpec, GoldenError> {
        let view = |key: &str| format!("/model/view_transform/{key}");
        let swin = |key: &str| format!("/model/img_backbone/{key}");
        Ok(CameraSpec {
            camera_order: CAMERAS.map(str::to_owned).to_vec(),
            image_size: self.get(&view("image_size"))?,
            resize: self.get("/image_resize")?,
            bottom_crop: 0.0,
            mean: self.get("/model/data_preprocessor/mean")?,
            std: self.get("/model/data_preprocessor/std")?,
            backbone: SwinSpec {
                embed_dims: self.get(&swin("embed_dims"))?,
                depths: self.get(&swin("depths"))?,
                num_heads: self.get(&swin("num_heads"))?,
                window_size: self.get(&swin("window_size"))?,
                mlp_ratio: self.get(&swin("mlp_ratio"))?,
            },
            neck_channels: self.get("/model/img_neck/out_channels")?,
            view_transform: ViewTransformSpec {
                form: DepthNetForm::Mmdet3d,
                out_channels: self.get(&view("out_channels"))?,
                feature_size: self.get(&view("feature_size"))?,
                x_bound: self.get(&view("xbound"))?,
                y_bound: self.get(&view("ybound"))?,
                z_bound: self.get(&view("zbound"))?,
                d_bound: self.get(&view("dbound"))?,
                downsample: self.get(&view("downsample"))?,
                cell_rounding: CellRounding::Truncate,
                drop_behind_camera: false,
                depth_winner: DepthWinner::Last,
            },
        })
    }

    fn fuser(&self) -> Result<FuserSpec, GoldenError> {
        Ok(FuserSpec {
            out_channels: self.get("/model/fusion_layer/out_channels")?,
            kernel_size: 3,
        })
    }

    fn bev_decoder(&self) -> Result<BevDecoderSpec, GoldenError> {
        Ok(BevDecoderSpec {
            out_channels: self.get("/model/pts_backbone/out_channels")?,
            layer_nums: self.get("/model/pts_backbone/layer_nums")?,
            layer_strides: self.get("/model/pts_backbone/layer_strides")?,
            fpn_channels: self.get("/model/pts_neck/out_channels")?,
            upsample_strides: self.get("/model/pts_neck/upsample_strides")?,
        })
    }

    fn head(&self, class_names: &[String]) -> Result<HeadSpec, GoldenError> {
        let at = |key: &str| format!("/model/bbox_head/{key}");
        Ok(HeadSpec {
            num_proposals: self.get(&at("num_proposals"))?,
            hidden_channels: self.get(&at("hidden_channel"))?,
            num_heads: self.get(&at("decoder_layer/self_attn_cfg/num_heads"))?,
            ffn_channels: self.get(&at("decoder_layer/ffn_cfg/feedforward_channels"))?,
            num_decoder_layers: self.get(&at("num_decoder_layers"))?,
            prediction_channels: 64,
            out_size_factor: self.get(&at("bbox_coder/out_size_factor"))?,
            nms_kernel_size: self.get(&at("nms_kernel_size"))?,
            dense_heatmap_pooling_classes: class_names
                .iter()
                .filter(|name| !UNPOOLED.contains(&name.as_str()))
                .cloned()
                .collect(),
            heatmap_border: HeatmapBorder::Suppress,
        })
    }

    fn postprocess(&self) -> Result<PostprocessSpec, GoldenError> {
        Ok(PostprocessSpec {
            post_center_range: self.get("/model/bbox_head/bbox_coder/post_center_range")?,
            distance_bin_upper_limits: Vec::new(),
            min_confidence_scores: Vec::new(),
            yaw_norm_thresholds: Vec::new(),
            nms: Vec::new(),
            class_remapper: None,
        })
    }
}

/// Camera order of the nuScenes info files.
const CAMERAS: [&str; 6] = [
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
];

/// Classes that the original never pools on nuScenes.
const UNPOOLED: [&str; 2] = ["pedestrian", "traffic_cone"];

fn points(columns: usize) -> PointsSpec {
    PointsSpec {
        load_dim: columns,
        use_dim: (0..columns).collect(),
        time_column: 4,
        sweeps_num: 0,
        remove_close: 0.0,
        sweep_alignment: SweepAlignment::Rigid,
    }
}

/// `1` or `[1, 1, 0]`.
fn padding(value: &Value) -> [usize; 3] {
    let whole = |v: &Value| usize::try_from(v.as_u64().unwrap_or(0)).unwrap_or(0);
    match value.as_array() {
        Some(axes) => std::array::from_fn(|axis| axes.get(axis).map_or(0, whole)),
        None => [whole(value); 3],
    }
}
