//! Settings of `postprocess.cu` as they lie in device memory, and what it leaves there.

use bytemuck::{Pod, Zeroable};

/// Most classes of a model.
pub const MAX_CLASSES: usize = 16;
/// Most distance bins.
pub const MAX_BINS: usize = 16;
/// Most runs over the boxes.
pub const MAX_PASSES: usize = 16;
/// Most classes of the remapper.
pub const MAX_COLUMNS: usize = 16;

/// What suppresses a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Squared distance to a better, kept box of the group at most the threshold.
    CircleSquared = 0,
    /// IoU with one at least the threshold.
    Rotated = 1,
    /// Distance to a better, kept box of any class below the threshold; leaves boxes best first.
    CircleDistance = 2,
    /// IoU with any better box within the search distance above the threshold; leaves boxes best first.
    IouBev = 3,
}

/// One run over the boxes. A step by groups whose groups share classes is several runs.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SuppressionPass {
    /// A [`PassKind`].
    pub kind: u32,
    /// Whether the step ends here; boxes are taken out then.
    pub last_of_step: u32,
    /// Boxes considered per group, best first.
    pub pre_max_size: u32,
    /// Boxes kept per group.
    pub post_max_size: u32,
    /// Limit, in the unit of the kind.
    pub threshold: f64,
    /// Pairs further apart are not compared (m); [`PassKind::IouBev`] only.
    pub search_distance: f64,
    /// Group of each class, below 16; negative: left alone. Groups of a run share no class.
    pub group: [i32; MAX_CLASSES],
}

/// What the remapper does with a class at a footprint area (m²).
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct RemapEntry {
    /// Least area, included.
    pub least: f64,
    /// Largest area, included.
    pub most: f64,
    /// Whether the change is allowed.
    pub allowed: u32,
    /// The new class; negative when the model has none of that name.
    pub target: i32,
}

/// All settings; they may be changed between frames.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct PostprocessSettings {
    /// Voxels per BEV cell edge.
    pub out_size_factor: f32,
    /// x, y edge of a voxel (m).
    pub voxel_size: [f32; 2],
    /// x, y lower bound of the grid (m).
    pub lower: [f32; 2],
    /// x, y, z lower then upper bounds of the bottom centre (m), included.
    pub range: [f32; 6],
    /// K.
    pub classes: u32,
    /// Distance bins; 0: every score passes.
    pub bins: u32,
    /// Runs in `pass`.
    pub passes: u32,
    /// Class that [`PassKind::IouBev`] never compares with others; any other number: none.
    pub pedestrian: u32,
    /// Classes of the remapper; 0: no remapper.
    pub columns: u32,
    /// Least length of (sin, cos) per class.
    pub yaw_norm: [f32; MAX_CLASSES],
    /// Upper limits of the bins (m).
    pub bin_limit: [f32; MAX_BINS],
    /// Least score per class and bin.
    pub least_score: [[f32; MAX_BINS]; MAX_CLASSES],
    /// Runs of the suppression.
    pub pass: [SuppressionPass; MAX_PASSES],
    /// The remapper's own column of each class; negative: the class is left alone.
    pub own_column: [i32; MAX_CLASSES],
    /// Changes per class and column; the first that fits wins.
    pub remap: [[RemapEntry; MAX_COLUMNS]; MAX_CLASSES],
}

/// One detection as the kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct DetectionRecord {
    /// x, y, z of the bottom centre (m).
    pub bottom_center: [f32; 3],
    /// Length along the heading, width, height (m).
    pub size: [f32; 3],
    /// Heading from +x, counter-clockwise (rad).
    pub yaw: f32,
    /// x, y velocity (m/s).
    pub velocity: [f32; 2],
    /// Score.
    pub score: f32,
    /// Class.
    pub label: u32,
}

/// What became of the proposals, in the order of the runtime's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RecordCounts {
    /// Proposals looked at.
    pub proposals: u32,
    /// Always 0: the device's buffers have one length.
    pub unpaired: u32,
    /// Dropped: no class of the model.
    pub invalid_label: u32,
    /// Dropped: a value is NaN or infinite.
    pub non_finite: u32,
    /// Dropped: outside the range.
    pub out_of_range: u32,
    /// Dropped: (sin, cos) too short.
    pub uncertain_heading: u32,
    /// Dropped: score too low for its distance.
    pub low_score: u32,
    /// Dropped by suppression.
    pub suppressed: u32,
    /// Kept with another class.
    pub remapped: u32,
    /// Kept although the remapper wanted a class that the model lacks.
    pub remap_inexpressible: u32,
    /// Detections left.
    pub kept: u32,
    /// Unused.
    pub pad: u32,
}

/// Words of the counts and of a detection in the kernel's output.
pub(super) const COUNT_WORDS: usize = size_of::<RecordCounts>() / 4;
pub(super) const RECORD_WORDS: usize = size_of::<DetectionRecord>() / 4;

/// Counts and detections of an output buffer; absent when it is no such buffer.
#[must_use]
pub fn read_output(words: &[u32]) -> Option<(RecordCounts, &[DetectionRecord])> {
    let (counts, records) = words.split_at_checked(COUNT_WORDS)?;
    let counts: RecordCounts = bytemuck::pod_read_unaligned(bytemuck::cast_slice(counts));
    let kept = records.get(..counts.kept as usize * RECORD_WORDS)?;
    Some((counts, bytemuck::try_cast_slice(kept).ok()?))
}

#[cfg(test)]
mod tests {
    use super::read_output;

    #[test]
    fn an_output_is_read_up_to_what_was_kept_and_never_past_its_end() {
        let mut words = vec![0_u32; 12 + 3 * 11];
        words[10] = 2;
        words[12 + 11 + 10] = 7;
        let (counts, records) = read_output(&words).expect("an output");
        assert_eq!((counts.kept, records.len(), records[1].label), (2, 2, 7));
        words[10] = 4;
        assert!(read_output(&words).is_none());
        assert!(read_output(&words[..5]).is_none());
    }
}
