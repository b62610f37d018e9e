//! What can go wrong in a frame, as a 16-byte value without heap.

use super::StageId;

/// Why a frame gave no boxes. The numbers are stable: they are logged and cross the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FaultCode {
    /// The cloud's column count is not the model's; `detail` is the count found.
    PointColumns = 0x0101,
    /// Fewer cameras than `min_cameras`, and one sent an image that is not taken; `detail` is its index.
    ImageSize = 0x0102,
    /// Fewer cameras than `min_cameras`, and one has no calibration that can be inverted; `detail` is its
    /// index.
    Calibration = 0x0103,
    /// Fewer cameras than `min_cameras` with an image of the cloud's time; `detail` is the number there was.
    MissingCameras = 0x0104,
    /// A dense network failed; `detail` is its place in the pipeline's list.
    Engine = 0x0201,
    /// The GPU failed; the pipeline must be built again.
    Device = 0x0202,
    /// More clouds than a frame may have; `detail` is the number.
    Clouds = 0x0105,
}

impl FaultCode {
    /// Every code, for tests and tables.
    pub const ALL: [Self; 7] = [
        Self::PointColumns,
        Self::ImageSize,
        Self::Calibration,
        Self::MissingCameras,
        Self::Engine,
        Self::Device,
        Self::Clouds,
    ];

    /// What happened and what to do, for logs.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::PointColumns => {
                "the cloud has another number of columns than the model's load_dim"
            }
            Self::ImageSize => {
                "fewer cameras than min_cameras, and one sent an image of a size or encoding that is not taken"
            }
            Self::Calibration => {
                "fewer cameras than min_cameras, and one has no calibration that can be inverted"
            }
            Self::MissingCameras => {
                "fewer cameras than min_cameras delivered an image of the cloud's time"
            }
            Self::Engine => "a dense network failed to run",
            Self::Device => "the GPU failed: build the pipeline again",
            Self::Clouds => "a frame has more clouds than the engine takes",
        }
    }
}

/// A fault: first one wins, the frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFault {
    /// What.
    pub code: FaultCode,
    /// Where.
    pub stage: StageId,
    /// The number that the code's documentation names.
    pub detail: u64,
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code as u32;
        write!(
            f,
            "{} (stage {}, detail {}, code {code:#06x})",
            self.code.text(),
            self.stage.name(),
            self.detail
        )
    }
}

impl std::error::Error for FrameFault {}

#[cfg(test)]
mod tests {
    use super::{FaultCode, FrameFault};

    #[test]
    fn a_fault_is_sixteen_bytes() {
        assert_eq!(size_of::<FrameFault>(), 16);
    }

    #[test]
    fn texts_are_unique_and_not_empty() {
        let mut texts: Vec<_> = FaultCode::ALL.iter().map(|code| code.text()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), FaultCode::ALL.len());
        assert!(texts.iter().all(|text| text.len() > 10));
    }
}
