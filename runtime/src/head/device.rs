//! A model's head settings for the kernels, and their results in the runtime's types.

use bevfusion_kernels::cuda::postprocess_settings::{
    DetectionRecord, MAX_BINS, MAX_CLASSES, MAX_COLUMNS, MAX_PASSES, PassKind, PostprocessSettings,
    RecordCounts, RemapEntry, SuppressionPass,
};
use bevfusion_kernels::cuda::proposals::ProposalConfig;
use bevfusion_kernels::driver::DriverError;
use bytemuck::Zeroable;

use super::PostprocessCounts;
use super::decode::box_coder;
use super::nms::pedestrian_class;
use crate::config::{ClassRemapperSpec, HeatmapBorder, ModelSpec, NmsSpec};
use crate::output::Detection;

/// What the proposal kernels need; `stride` is the number of logits from one cell to the next.
#[must_use]
pub fn proposal_config(spec: &ModelSpec, size: [usize; 2], stride: usize) -> ProposalConfig {
    let pooled = &spec.head.dense_heatmap_pooling_classes;
    ProposalConfig {
        size,
        stride,
        pooled: spec
            .class_names
            .iter()
            .map(|name| pooled.contains(name))
            .collect(),
        window: spec.head.nms_kernel_size,
        keep_border: spec.head.heatmap_border == HeatmapBorder::Keep,
        proposals: spec.head.num_proposals,
    }
}

/// What the postprocessing kernel needs.
///
/// # Errors
/// When the model has more classes, bins, suppression groups or remapper labels than the kernel.
pub fn device_settings(spec: &ModelSpec) -> Result<PostprocessSettings, DriverError> {
    let filters = &spec.postprocess;
    let (classes, bins) = (
        spec.class_names.len(),
        filters.distance_bin_upper_limits.len(),
    );
    at_most("class_names", classes, MAX_CLASSES)?;
    at_most("distance_bin_upper_limits", bins, MAX_BINS)?;
    let coder = box_coder(spec);
    let mut settings = PostprocessSettings {
        out_size_factor: coder.out_size_factor as f32,
        voxel_size: coder.voxel_size.map(|edge| edge as f32),
        lower: coder.lower.map(|bound| bound as f32),
        range: filters.post_center_range,
        classes: classes as u32,
        bins: bins as u32,
        pedestrian: pedestrian_class(&spec.class_names).map_or(u32::MAX, |class| class as u32),
        // Without a threshold every length and no score suffices.
        yaw_norm: [f32::NEG_INFINITY; MAX_CLASSES],
        least_score: [[f32::INFINITY; MAX_BINS]; MAX_CLASSES],
        own_column: [-1; MAX_CLASSES],
        ..PostprocessSettings::zeroed()
    };
    fill(&mut settings.yaw_norm, &filters.yaw_norm_thresholds);
    fill(&mut settings.bin_limit, &filters.distance_bin_upper_limits);
    for (row, scores) in settings
        .least_score
        .iter_mut()
        .zip(&filters.min_confidence_scores)
    {
        fill(row, scores);
    }
    let mut passes = Vec::new();
    for step in &filters.nms {
        passes.extend(passes_of(step, &spec.class_names));
    }
    at_most("nms groups", passes.len(), MAX_PASSES)?;
    settings.passes = passes.len() as u32;
    settings.pass[..passes.len()].copy_from_slice(&passes);
    if let Some(remapper) = &filters.class_remapper {
        set_remapper(&mut settings, remapper, &spec.class_names)?;
    }
    Ok(settings)
}

/// A detection of the kernel.
#[must_use]
pub const fn detection_of(record: &DetectionRecord) -> Detection {
    Detection {
        bottom_center: record.bottom_center,
        size: record.size,
        yaw: record.yaw,
        velocity: record.velocity,
        score: record.score,
        label: record.label,
    }
}

/// The counts of the kernel.
#[must_use]
pub const fn counts_of(counts: &RecordCounts) -> PostprocessCounts {
    PostprocessCounts {
        proposals: counts.proposals as usize,
        unpaired: counts.unpaired as usize,
        invalid_label: counts.invalid_label as usize,
        non_finite: counts.non_finite as usize,
        out_of_range: counts.out_of_range as usize,
        uncertain_heading: counts.uncertain_heading as usize,
        low_score: counts.low_score as usize,
        suppressed: counts.suppressed as usize,
        remapped: counts.remapped as usize,
        remap_inexpressible: counts.remap_inexpressible as usize,
        kept: counts.kept as usize,
    }
}

fn at_most(what: &str, found: usize, limit: usize) -> Result<(), DriverError> {
    if found <= limit {
        return Ok(());
    }
    Err(DriverError::Arguments {
        kernel: "postprocess",
        problem: format!("{found} {what}, at most {limit} are possible; use the CPU engine"),
    })
}

fn fill(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// The runs of a step.
fn passes_of(step: &NmsSpec, class_names: &[String]) -> Vec<SuppressionPass> {
    let size = |limit: Option<usize>| {
        limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
    };
    let whole = |kind: PassKind, threshold: f64| SuppressionPass {
        kind: kind as u32,
        last_of_step: 1,
        pre_max_size: u32::MAX,
        post_max_size: u32::MAX,
        threshold,
        search_distance: 0.0,
        group: [-1; MAX_CLASSES],
    };
    match step {
        NmsSpec::CircleSquared {
            groups,
            threshold,
            post_max_size,
        } => {
            let mut pass = whole(PassKind::CircleSquared, f64::from(*threshold));
            pass.post_max_size = size(Some(*post_max_size));
            by_groups(groups, class_names, pass)
        }
        NmsSpec::Rotated {
            groups,
            threshold,
            pre_max_size,
            post_max_size,
        } => {
            let mut pass = whole(PassKind::Rotated, f64::from(*threshold));
            (pass.pre_max_size, pass.post_max_size) = (size(*pre_max_size), size(*post_max_size));
            by_groups(groups, class_names, pass)
        }
        NmsSpec::CircleDistance {
            circle_nms_dist_threshold,
        } => vec![whole(PassKind::CircleDistance, *circle_nms_dist_threshold)],
        NmsSpec::IouBev {
            iou_nms_search_distance_2d,
            iou_nms_threshold,
        } => {
            let mut pass = whole(PassKind::IouBev, *iou_nms_threshold);
            pass.search_distance = *iou_nms_search_distance_2d;
            vec![pass]
        }
    }
}

/// As few runs as give every run groups without a common class, in the groups' order: a class in two
/// groups is decided by the later one.
fn by_groups(
    groups: &[Vec<String>],
    class_names: &[String],
    pass: SuppressionPass,
) -> Vec<SuppressionPass> {
    let mut passes = vec![pass];
    let mut groups_here = 0;
    for group in groups {
        let members = (class_names.iter().enumerate()).filter(|(_, name)| group.contains(name));
        let members: Vec<usize> = members.map(|(class, _)| class).take(MAX_CLASSES).collect();
        if members.is_empty() {
            continue;
        }
        let shared = |pass: &SuppressionPass| members.iter().any(|class| pass.group[*class] >= 0);
        if passes.last().is_some_and(shared) {
            passes.push(pass);
            groups_here = 0;
        }
        if let Some(current) = passes.last_mut() {
            for class in members {
                current.group[class] = groups_here;
            }
        }
        groups_here += 1;
    }
    let last = passes.len() - 1;
    for (index, pass) in passes.iter_mut().enumerate() {
        pass.last_of_step = u32::from(index == last);
    }
    passes
}

fn set_remapper(
    settings: &mut PostprocessSettings,
    remapper: &ClassRemapperSpec,
    class_names: &[String],
) -> Result<(), DriverError> {
    let width = remapper.labels.len();
    at_most("class_remapper.labels", width, MAX_COLUMNS)?;
    settings.columns = width as u32;
    let place = |names: &[String], name: &String| {
        names
            .iter()
            .position(|other| other.eq_ignore_ascii_case(name))
    };
    for (class, name) in class_names.iter().enumerate() {
        let Some(row) = place(&remapper.labels, name) else {
            continue;
        };
        settings.own_column[class] = row as i32;
        for (column, label) in remapper.labels.iter().enumerate() {
            let index = row * width + column;
            let limits = (
                remapper.min_area_matrix.get(index),
                remapper.max_area_matrix.get(index),
            );
            let (Some(least), Some(most)) = limits else {
                continue;
            };
            let allowed = remapper.allow_remapping_by_area_matrix.get(index) == Some(&1);
            settings.remap[class][column] = RemapEntry {
                least: *least,
                most: *most,
                allowed: allowed.into(),
                target: place(class_names, label).map_or(-1, |class| class as i32),
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::device_settings;
    use crate::config::NmsSpec;
    use crate::head::test_spec::test_spec;

    fn rotated(groups: &[&[&str]]) -> NmsSpec {
        let names = |group: &&[&str]| group.iter().map(|name| (*name).into()).collect();
        NmsSpec::Rotated {
            groups: groups.iter().map(names).collect(),
            threshold: 0.2,
            pre_max_size: Some(7),
            post_max_size: None,
        }
    }

    #[test]
    fn groups_without_a_common_class_are_one_run() {
        let mut spec = test_spec();
        spec.postprocess.nms = vec![rotated(&[&["pedestrian"], &["car", "bus"]])];
        let settings = device_settings(&spec).expect("fits");
        assert_eq!((settings.passes, settings.pass[0].last_of_step), (1, 1));
        assert_eq!(settings.pass[0].group[..3], [1, 0, -1]);
        assert_eq!(settings.pass[0].pre_max_size, 7);
    }

    #[test]
    fn a_class_in_two_groups_makes_a_second_run_of_the_step() {
        let mut spec = test_spec();
        spec.postprocess.nms = vec![rotated(&[&["car"], &["car", "pedestrian"]])];
        let settings = device_settings(&spec).expect("fits");
        let last = [settings.pass[0].last_of_step, settings.pass[1].last_of_step];
        assert_eq!((settings.passes, last), (2, [0, 1]));
        assert_eq!(settings.pass[1].group[..2], [0, 0]);
    }

    #[test]
    fn more_than_the_kernel_has_room_for_is_refused() {
        let mut spec = test_spec();
        spec.postprocess.distance_bin_upper_limits = vec![1.0; 17];
        assert!(device_settings(&spec).is_err());
    }
}
