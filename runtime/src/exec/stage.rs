//! The stages of a frame under the names that reports, benches and docs use.

/// A stage, in the order in which bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum StageId {
    /// Sweeps moved, cropped and joined.
    Sweeps,
    /// Points to voxels.
    Voxelize,
    /// Rulebooks and sparse convolutions to the LiDAR BEV map.
    SparseEncoder,
    /// Resize, crop, normalise.
    Preprocess,
    /// Swin and LSSFPN.
    CameraBackbone,
    /// Depth image and depth network.
    DepthNet,
    /// Pooling along the frustum tables.
    BevPool,
    /// Stride from the pooled map to the camera BEV map.
    BevDownsample,
    /// Fuser, SECOND and SECONDFPN.
    BevDecoder,
    /// TransFusion head.
    Head,
    /// Decoding, filters and suppression.
    Postprocess,
}

impl StageId {
    /// Number of stages.
    pub const COUNT: usize = 11;

    /// Every stage in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Sweeps,
        Self::Voxelize,
        Self::SparseEncoder,
        Self::Preprocess,
        Self::CameraBackbone,
        Self::DepthNet,
        Self::BevPool,
        Self::BevDownsample,
        Self::BevDecoder,
        Self::Head,
        Self::Postprocess,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sweeps => "sweeps",
            Self::Voxelize => "voxelize",
            Self::SparseEncoder => "sparse_encoder",
            Self::Preprocess => "preprocess",
            Self::CameraBackbone => "camera_backbone",
            Self::DepthNet => "depth_net",
            Self::BevPool => "bev_pool",
            Self::BevDownsample => "bev_downsample",
            Self::BevDecoder => "bev_decoder",
            Self::Head => "head",
            Self::Postprocess => "postprocess",
        }
    }
}
