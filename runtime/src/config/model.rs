//! The description of one model, as written in TOML: every number that a network, its input and its
//! post-processing depend on.
//!
//! Lengths are metres, times seconds, angles radians unless the key says otherwise. The keys that the
//! Autoware node has carry its names. [`ModelSpec`] is what a file says; a
//! [`ModelConfig`](super::ModelConfig) is one that was checked.

use serde::{Deserialize, Serialize};

/// One model as a file states it, unchecked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name of the variant, for example `nuscenes_CL`.
    pub name: String,
    /// Class names in the order of the network's class index.
    pub class_names: Vec<String>,
    /// What a point cloud looks like and how sweeps are gathered.
    pub points: PointsSpec,
    /// Voxel grid; also defines the BEV grid of the head.
    pub voxel: VoxelSpec,
    /// Sparse LiDAR encoder; absent in camera-BEV-only models (T4 C).
    pub lidar_encoder: Option<LidarEncoderSpec>,
    /// Camera branch; absent in LiDAR-only models.
    pub camera: Option<CameraSpec>,
    /// Fuser; present exactly when both branches are.
    pub fuser: Option<FuserSpec>,
    /// SECOND and SECONDFPN; absent in T4 C.
    pub bev_decoder: Option<BevDecoderSpec>,
    /// TransFusion head.
    pub head: HeadSpec,
    /// Filters and suppression after decoding.
    pub postprocess: PostprocessSpec,
}

/// Layout of the cloud and aggregation of sweeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsSpec {
    /// float32 columns of a point file.
    pub load_dim: usize,
    /// Columns that go into the network, chosen after column `time_column` was overwritten by Δt.
    pub use_dim: Vec<usize>,
    /// Column that receives the time lag (s, positive for the past).
    pub time_column: usize,
    /// Sweeps besides the key frame.
    pub sweeps_num: usize,
    /// Points of a sweep with |x| and |y| below this in its own sensor frame are dropped (m).
    pub remove_close: f32,
    /// How a sweep is moved into the key frame.
    pub sweep_alignment: SweepAlignment,
}

/// How a sweep is moved into the frame of the key cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepAlignment {
    /// `R p + t`: the rigid transform. What a vehicle needs.
    Rigid,
    /// `R p + Rᵀ t`: what mmdetection3d and AWML compute in their data pipelines.
    Mmdet3d,
}

/// Voxel grid and caps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoxelSpec {
    /// x, y, z lower then upper bounds (m).
    pub point_cloud_range: [f64; 6],
    /// x, y, z edge lengths (m).
    pub voxel_size: [f64; 3],
    /// Points kept in a voxel.
    pub max_points_per_voxel: usize,
    /// Voxels kept in a frame.
    pub max_voxels: usize,
}

/// Sparse encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LidarEncoderSpec {
    /// x, y, z extent of the sparse tensor; z is one more than the voxel grid's.
    pub sparse_shape: [usize; 3],
    /// Channels of the first convolution.
    pub base_channels: usize,
    /// Channels of each stage: the two basic blocks, then (all but the last stage) the strided
    /// convolution that ends it.
    pub encoder_channels: Vec<Vec<usize>>,
    /// Padding of the strided convolution that ends stage i (x, y, z); one fewer than stages.
    pub encoder_paddings: Vec<[usize; 3]>,
    /// Channels of the last (1,1,3) convolution; the BEV map has this times its z extent.
    pub output_channels: usize,
    /// Fourier features of the voxel mean; absent: the mean itself.
    pub voxel_features: Option<FourierSpec>,
}

/// Fourier features of a voxel mean: cos and sin of π·2ᵏ·u with u the normalised channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FourierSpec {
    /// Frequencies per channel.
    pub num_frequencies: usize,
    /// Lower bound of each channel.
    pub min: Vec<f32>,
    /// Upper bound of each channel.
    pub max: Vec<f32>,
}

/// Camera branch from pixels to the camera BEV map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSpec {
    /// Camera names in the order in which the network was trained.
    pub camera_order: Vec<String>,
    /// Height, width of the network's image (px).
    pub image_size: [usize; 2],
    /// Scale of the raw image at test time.
    pub resize: f64,
    /// Share of the resized height cut at the bottom.
    pub bottom_crop: f64,
    /// RGB mean (grey levels).
    pub mean: [f32; 3],
    /// RGB standard deviation (grey levels).
    pub std: [f32; 3],
    /// Swin backbone.
    pub backbone: SwinSpec,
    /// Channels of the LSSFPN.
    pub neck_channels: usize,
    /// View transform.
    pub view_transform: ViewTransformSpec,
}

/// Swin transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwinSpec {
    /// Channels of stage 0; doubled in each later stage.
    pub embed_dims: usize,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Attention heads of each stage.
    pub num_heads: Vec<usize>,
    /// Window edge (tokens).
    pub window_size: usize,
    /// FFN width over channels.
    pub mlp_ratio: usize,
}

/// Which form of the depth network a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepthNetForm {
    /// mmdetection3d and MIT: biases, hidden width as the neck, names `dtransform.0`, `depthnet.0`.
    Mmdet3d,
    /// AWML: no biases but the last, hidden width as the input, names `*.net.*`.
    Awml,
}

/// View transform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewTransformSpec {
    /// Which depth network.
    pub form: DepthNetForm,
    /// Channels of the camera BEV map.
    pub out_channels: usize,
    /// Height, width of the image feature map.
    pub feature_size: [usize; 2],
    /// Lower, upper, step (m) of the pooled BEV along x.
    pub x_bound: [f64; 3],
    /// The same along y.
    pub y_bound: [f64; 3],
    /// The same along z; normally one cell.
    pub z_bound: [f64; 3],
    /// Depth bins: first, end (exclusive), step (m).
    pub d_bound: [f64; 3],
    /// Stride from the pooled map to the camera BEV map; 1 or 2.
    pub downsample: usize,
    /// How a coordinate becomes a cell index.
    pub cell_rounding: CellRounding,
    /// Drop points behind a camera from the depth image (AWML); mmdetection3d does not test it.
    pub drop_behind_camera: bool,
    /// Which of several points on a pixel leaves its depth; absent: the last.
    #[serde(default, skip_serializing_if = "DepthWinner::is_default")]
    pub depth_winner: DepthWinner,
}

/// Which of several points on a pixel of the depth image leaves its depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepthWinner {
    /// The last in the order of the points: what the original computes on the CPU.
    #[default]
    Last,
    /// The one nearest to the camera, whatever the order.
    Nearest,
}

impl DepthWinner {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a BEV coordinate becomes a cell index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellRounding {
    /// Toward zero: what the published networks were trained with; cell 0 also receives (−1, 0).
    Truncate,
    /// Toward minus infinity.
    Floor,
}

/// Fuser of the camera and LiDAR BEV maps (camera channels first).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FuserSpec {
    /// Output channels.
    pub out_channels: usize,
    /// Kernel edge; odd. Padding keeps the size: (k − 1)/2, stride 1.
    pub kernel_size: usize,
}

/// SECOND and SECONDFPN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BevDecoderSpec {
    /// Channels of each block.
    pub out_channels: Vec<usize>,
    /// Convolutions of each block after its first.
    pub layer_nums: Vec<usize>,
    /// Stride of each block's first convolution.
    pub layer_strides: Vec<usize>,
    /// Channels of each upsampled map.
    pub fpn_channels: Vec<usize>,
    /// Upsampling of each map.
    pub upsample_strides: Vec<usize>,
}

/// TransFusion head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// Queries.
    pub num_proposals: usize,
    /// Channels of the queries.
    pub hidden_channels: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// FFN width.
    pub ffn_channels: usize,
    /// Decoder layers.
    pub num_decoder_layers: usize,
    /// Width of the first convolution of each prediction head.
    pub prediction_channels: usize,
    /// Voxels per BEV cell edge.
    pub out_size_factor: usize,
    /// Window of the local maximum; odd.
    pub nms_kernel_size: usize,
    /// Classes whose heatmap keeps local maxima only; the others keep every cell.
    pub dense_heatmap_pooling_classes: Vec<String>,
    /// What the local maximum does in the outer ring of pooled classes.
    pub heatmap_border: HeatmapBorder,
}

/// What the local maximum does in the outermost cells of pooled classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeatmapBorder {
    /// The ring never holds a maximum: the original, which pools without padding.
    Suppress,
    /// The window is cut at the border, so that objects at the edge can be found.
    Keep,
}

/// Filters and suppression after decoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostprocessSpec {
    /// x, y, z lower then upper bounds of a box (m), inclusive, on the bottom centre.
    pub post_center_range: [f32; 6],
    /// Upper limits of the distance bins (m), ascending; empty: no score thresholds by distance.
    pub distance_bin_upper_limits: Vec<f32>,
    /// Least score per class and bin: `[class][bin]`, classes in the order of `class_names`.
    pub min_confidence_scores: Vec<Vec<f32>>,
    /// Least length of (sin, cos) of the heading per class; empty: no filter.
    pub yaw_norm_thresholds: Vec<f32>,
    /// Suppression, in this order.
    pub nms: Vec<NmsSpec>,
    /// Class changes by BEV area; absent: none.
    pub class_remapper: Option<ClassRemapperSpec>,
}

/// One suppression step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NmsSpec {
    /// mmdetection3d's circle NMS per class group: suppressed if the *squared* centre distance is at
    /// most `threshold`; at most `post_max_size` boxes a group.
    CircleSquared {
        /// Groups of class names; classes outside every group are kept whole.
        groups: Vec<Vec<String>>,
        /// Limit on the squared distance (m²), as the original compares it.
        threshold: f32,
        /// Boxes kept per group.
        post_max_size: usize,
    },
    /// Rotated-box NMS per class group: suppressed if BEV IoU is at least `threshold`.
    Rotated {
        /// Groups of class names; classes outside every group are kept whole.
        groups: Vec<Vec<String>>,
        /// IoU limit.
        threshold: f32,
        /// Boxes considered per group, best first; absent: all.
        pre_max_size: Option<usize>,
        /// Boxes kept per group; absent: all.
        post_max_size: Option<usize>,
    },
    /// Autoware's class-agnostic circle NMS: greedy, suppressed if the centre distance is below.
    CircleDistance {
        /// `circle_nms_dist_threshold` (m).
        circle_nms_dist_threshold: f64,
    },
    /// Autoware's IoU NMS on the host: not greedy, pairs within a distance, pedestrians against
    /// other classes never.
    IouBev {
        /// Pairs further apart are not compared (m).
        iou_nms_search_distance_2d: f64,
        /// A box goes when its IoU with any better-scored one is above this.
        iou_nms_threshold: f64,
    },
}

/// Autoware's class remapper: rows are the network's label, columns the new one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRemapperSpec {
    /// Names of rows and columns, in Autoware's label order.
    pub labels: Vec<String>,
    /// Row-major, 1 = allowed.
    pub allow_remapping_by_area_matrix: Vec<i64>,
    /// Row-major least BEV area (m²).
    pub min_area_matrix: Vec<f64>,
    /// Row-major largest BEV area (m²).
    pub max_area_matrix: Vec<f64>,
}
