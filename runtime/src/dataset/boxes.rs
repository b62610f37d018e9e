//! Annotated boxes, moved into the frame of the key cloud.
//!
//! In: rows of `sample_annotation` (centre, width-length-height, quaternion, global frame). Out:
//! [`GroundTruthBox`] (bottom centre, length-width-height, yaw, velocity; the key cloud's frame).
//! Source of the velocities: `box_velocity` of the nuScenes devkit; T4 annotates its own. Source of the
//! yaw: the info converters of mmdetection3d.

use super::classes::class_of;
use super::error::DatasetError;
use super::layout::Layout;
use super::rows::{Sample, SampleAnnotation};
use super::sensors::{inverse, rigid, seconds};
use super::table::named;
use super::tables::Tables;
use crate::geometry::Transform;
use crate::output::Detection;

/// Annotations further apart tell no velocity (s); twice this across both neighbours.
const MAX_TIME_DIFF: f64 = 1.5;
/// T4 velocities are scaled down to this (m/s).
const T4_MAX_SPEED: f64 = 50.0;

/// One annotated object in the frame of the key cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundTruthBox {
    /// Token of the annotation.
    pub token: String,
    /// Token of the object through the scene.
    pub instance: String,
    /// The dataset's own category, for example `vehicle.bus.rigid`.
    pub category: String,
    /// Class of the networks; `None` for what they are not trained to find.
    pub class: Option<&'static str>,
    /// The dataset's attributes, for example `vehicle.parked`.
    pub attributes: Vec<String>,
    /// Level of visibility; `None` where the dataset gives none.
    pub visibility: Option<String>,
    /// x, y, z of the bottom centre (m).
    pub bottom_center: [f64; 3],
    /// Length along the heading, width, height (m).
    pub size: [f64; 3],
    /// Heading about +z from +x, counter-clockwise (rad), in (−π, π].
    pub yaw: f64,
    /// x and y velocity in the cloud's frame (m/s); `None` where unknown.
    pub velocity: Option<[f64; 2]>,
    /// LiDAR points inside, as annotated.
    pub num_lidar_pts: i64,
    /// Radar points inside, as annotated.
    pub num_radar_pts: i64,
    /// The box's own frame (x along the length, z up, origin in its centre), with the small tilt that
    /// the yaw leaves out.
    pub lidar_from_box: Transform,
}

impl GroundTruthBox {
    /// x, y, z of the geometric centre (m).
    #[must_use]
    pub fn center(&self) -> [f64; 3] {
        self.lidar_from_box.translation()
    }

    /// How many of `points` (x, y, z in the cloud's frame) lie inside or on the tilted box.
    #[must_use]
    pub fn count_inside(&self, points: impl Iterator<Item = [f32; 3]>) -> usize {
        let Some(box_from_lidar) = self.lidar_from_box.inverse() else {
            return 0;
        };
        let inside = |point: &[f32; 3]| {
            let moved = box_from_lidar.apply(point.map(f64::from));
            moved
                .iter()
                .zip(self.size)
                .all(|(v, edge)| v.abs() <= 0.5 * edge)
        };
        points.filter(inside).count()
    }

    /// The box as a detection with this label and score 1; an unknown velocity becomes 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "detections are float32")]
    pub fn detection(&self, label: u32) -> Detection {
        Detection {
            bottom_center: self.bottom_center.map(|v| v as f32),
            size: self.size.map(|v| v as f32),
            yaw: self.yaw as f32,
            velocity: self.velocity.unwrap_or_default().map(|v| v as f32),
            score: 1.0,
            label,
        }
    }
}

impl Tables {
    /// All boxes of a sample in the order of the file.
    pub(super) fn boxes(
        &self,
        sample: &Sample,
        global_from_lidar: &Transform,
    ) -> Result<Vec<GroundTruthBox>, DatasetError> {
        let lidar_from_global = inverse(sample, global_from_lidar)?;
        self.annotations(sample)?
            .map(|row| self.ground_truth(row, &lidar_from_global))
            .collect()
    }

    fn ground_truth(
        &self,
        row: &SampleAnnotation,
        lidar_from_global: &Transform,
    ) -> Result<GroundTruthBox, DatasetError> {
        let [width, length, height] = row.size;
        if row.size.iter().any(|edge| *edge < 0.0) {
            return Err(DatasetError::Value {
                record: named(row, ""),
                key: "size",
                expected: "width, length, height of at least 0",
                found: format!("{:?}", row.size),
            });
        }
        let global_from_box = rigid(row, row.rotation, row.translation)?;
        let lidar_from_box = lidar_from_global.compose(&global_from_box);
        let [x, y, z] = lidar_from_box.translation();
        // The yaw of the info converters, which networks are trained with: the first angle of the
        // z-y-x decomposition in pyquaternion's sense. A tilted LiDAR sets it apart from the direction
        // of the length axis, atan2(r10, r00), by some 1e-3 rad.
        let [[r00, r01, _], ..] = lidar_from_box.linear();
        let velocity = self.velocity(row)?.map(|global| {
            let [vx, vy, _] = lidar_from_global.apply_direction(global);
            [vx, vy]
        });
        let category = self.category_name(row)?;
        let attributes = self.attribute_names(row)?;
        Ok(GroundTruthBox {
            token: row.token.to_string(),
            instance: row.instance_token.to_string(),
            class: class_of(self.layout(), &category, &attributes),
            category,
            attributes,
            visibility: self.visibility_level(row)?,
            bottom_center: [x, y, z - 0.5 * height],
            size: [length, width, height],
            yaw: (-r01).atan2(r00),
            velocity,
            num_lidar_pts: row.num_lidar_pts,
            num_radar_pts: row.num_radar_pts,
            lidar_from_box,
        })
    }

    fn category_name(&self, row: &SampleAnnotation) -> Result<String, DatasetError> {
        let referrer = || named(row, "instance_token");
        let instance = self.instance()?.get(&row.instance_token, referrer)?;
        let referrer = || named(instance, "category_token");
        let category = self.category()?.get(&instance.category_token, referrer)?;
        Ok(category.name.to_string())
    }

    fn attribute_names(&self, row: &SampleAnnotation) -> Result<Vec<String>, DatasetError> {
        row.attribute_tokens
            .iter()
            .map(|token| {
                let attribute = self
                    .attribute()?
                    .get(token, || named(row, "attribute_tokens"))?;
                Ok(attribute.name.to_string())
            })
            .collect()
    }

    fn visibility_level(&self, row: &SampleAnnotation) -> Result<Option<String>, DatasetError> {
        if row.visibility_token.is_none() {
            return Ok(None);
        }
        let referrer = || named(row, "visibility_token");
        let visibility = self.visibility()?.get(&row.visibility_token, referrer)?;
        Ok(Some(visibility.level.to_string()))
    }

    /// Velocity in the global frame (m/s), its vertical part 0.
    fn velocity(&self, row: &SampleAnnotation) -> Result<Option<[f64; 3]>, DatasetError> {
        match (self.layout(), row.velocity) {
            (Layout::Nuscenes, _) => self.chain_velocity(row),
            (Layout::T4, Some([Some(x), Some(y), _])) => Ok(Some(slowed([x, y, 0.0]))),
            (Layout::T4, _) => Ok(self.chain_velocity(row)?.map(slowed)),
        }
    }

    /// Difference of the neighbouring annotations' centres over their time.
    fn chain_velocity(&self, row: &SampleAnnotation) -> Result<Option<[f64; 3]>, DatasetError> {
        let table = self.sample_annotation()?;
        let (has_prev, has_next) = (!row.prev.is_none(), !row.next.is_none());
        let first = match has_prev {
            true => table.get(&row.prev, || named(row, "prev"))?,
            false => row,
        };
        let last = match has_next {
            true => table.get(&row.next, || named(row, "next"))?,
            false => row,
        };
        let time_us = |row: &SampleAnnotation| -> Result<i64, DatasetError> {
            let referrer = || named(row, "sample_token");
            Ok(self.sample()?.get(&row.sample_token, referrer)?.timestamp)
        };
        let time = seconds(time_us(last)?, time_us(first)?);
        let limit = match has_prev && has_next {
            true => 2.0 * MAX_TIME_DIFF,
            false => MAX_TIME_DIFF,
        };
        if time <= 0.0 || time > limit {
            return Ok(None);
        }
        let over = |axis: usize| (last.translation[axis] - first.translation[axis]) / time;
        Ok(Some([over(0), over(1), 0.0]))
    }
}

/// The velocity, shortened to the largest that T4 networks are trained with.
fn slowed(velocity: [f64; 3]) -> [f64; 3] {
    let speed = velocity[0].hypot(velocity[1]);
    match speed > T4_MAX_SPEED {
        true => velocity.map(|v| v * (T4_MAX_SPEED / speed)),
        false => velocity,
    }
}

#[cfg(test)]
mod tests {
    use super::slowed;

    #[test]
    fn a_speed_beyond_the_limit_keeps_its_direction() {
        let [x, y, _] = slowed([60.0, -80.0, 0.0]);
        assert!((x - 30.0).abs() < 1e-12 && (y + 40.0).abs() < 1e-12);
        assert!(slowed([3.0, 4.0, 0.0])[1].to_bits() == 4.0_f64.to_bits());
    }
}
