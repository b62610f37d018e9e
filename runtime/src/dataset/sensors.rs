//! Where the sensors of a sample are, and what they saw: key cloud, sweeps, cameras.
//!
//! Every pose goes sensor → vehicle → global at the sensor's own time, in double precision, so motion
//! of the vehicle between two sensors' times is part of the transform between them.

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::error::DatasetError;
use super::files::{named_image, named_points};
use super::rows::{Row, Sample, SampleData};
use super::table::named;
use super::tables::Tables;
use crate::geometry::{CameraCalibration, Transform};
use crate::input::{CameraFrame, PointCloud, Sweep, with_columns};

/// Quaternions shorter than this have no direction.
const LEAST_QUATERNION: f64 = 1e-6;
const SECONDS_PER_MICROSECOND: f64 = 1e-6;

/// A sensor at the time of one of its files.
#[derive(Clone, Copy, Debug)]
pub(super) struct SensorPose {
    pub(super) ego_from_sensor: Transform,
    pub(super) global_from_ego: Transform,
}

impl SensorPose {
    pub(super) fn global_from_sensor(&self) -> Transform {
        self.global_from_ego.compose(&self.ego_from_sensor)
    }
}

/// A stamp in nanoseconds.
pub(super) const fn nanoseconds(stamp_us: i64) -> i64 {
    stamp_us.saturating_mul(1000)
}

/// Time between two stamps (µs) in seconds.
pub(super) fn seconds(later_us: i64, earlier_us: i64) -> f64 {
    // Subtracted as integers: a stamp in seconds has only 0.2 µs left in a double.
    #[expect(
        clippy::cast_precision_loss,
        reason = "differences are far below 2^53 µs"
    )]
    let difference_us = later_us.saturating_sub(earlier_us) as f64;
    difference_us * SECONDS_PER_MICROSECOND
}

/// A pose from a record, refused where its quaternion has no direction.
pub(super) fn rigid<R: Row>(
    row: &R,
    rotation: [f64; 4],
    translation: [f64; 3],
) -> Result<Transform, DatasetError> {
    let norm = rotation.iter().map(|v| v * v).sum::<f64>().sqrt();
    let finite = norm.is_finite() && translation.iter().all(|v| v.is_finite());
    if !finite || norm < LEAST_QUATERNION {
        return Err(DatasetError::Value {
            record: named(row, ""),
            key: "rotation",
            expected: "a quaternion w, x, y, z that is not zero",
            found: format!("{rotation:?}"),
        });
    }
    Ok(Transform::from_quaternion(rotation, translation))
}

/// The inverse of a pose of `row`.
pub(super) fn inverse<R: Row>(row: &R, pose: &Transform) -> Result<Transform, DatasetError> {
    pose.inverse().ok_or_else(|| DatasetError::Value {
        record: named(row, ""),
        key: "translation",
        expected: "a pose that can be inverted",
        found: format!("{:?}", pose.translation()),
    })
}

impl Tables {
    /// Pose of the sensor that wrote `data`, at its time.
    pub(super) fn pose(&self, data: &SampleData) -> Result<SensorPose, DatasetError> {
        let calibrated = self.calibration(data)?;
        let ego = self
            .ego_pose()?
            .get(&data.ego_pose_token, || named(data, "ego_pose_token"))?;
        Ok(SensorPose {
            ego_from_sensor: rigid(calibrated, calibrated.rotation, calibrated.translation)?,
            global_from_ego: rigid(ego, ego.rotation, ego.translation)?,
        })
    }

    /// The row of the sample's key cloud.
    pub(super) fn key_lidar(&self, sample: &Sample) -> Result<&SampleData, DatasetError> {
        let missing = |reason: String| DatasetError::LidarMissing {
            sample: sample.token.to_string(),
            reason,
        };
        let channels = self.layout().lidar_channels().join(" or ");
        let Some(channel) = self.lidar_channel()? else {
            return Err(missing(format!("table sensor has no channel {channels}")));
        };
        match self.key_data(sample, channel)? {
            Some(data) if data.is_valid => Ok(data),
            Some(data) => Err(missing(format!(
                "{} is marked as not valid",
                named(data, "")
            ))),
            None => Err(missing(format!(
                "table sample_data has no key frame of {channel} for it"
            ))),
        }
    }

    /// The points of a LiDAR row with `columns` values each.
    pub(super) fn cloud(
        &self,
        data: &SampleData,
        columns: usize,
    ) -> Result<PointCloud, DatasetError> {
        let path = self.file(&data.filename);
        let cloud = named_points(&path, columns, || named(data, "filename"))?;
        Ok(with_columns(cloud, columns))
    }

    /// Up to `count` clouds before `key`, nearest first; lags count from `reference_us`.
    pub(super) fn sweeps(
        &self,
        key: &SampleData,
        reference_us: i64,
        count: usize,
        columns: usize,
    ) -> Result<Vec<Sweep>, DatasetError> {
        let lidar_from_global = inverse(key, &self.pose(key)?.global_from_sensor())?;
        let (mut sweeps, mut newer) = (Vec::new(), key);
        for _ in 0..count {
            if newer.prev.is_none() {
                break;
            }
            let data = self
                .sample_data()?
                .get(&newer.prev, || named(newer, "prev"))?;
            newer = data;
            if !data.is_valid {
                continue;
            }
            let pose = self.pose(data)?.global_from_sensor();
            sweeps.push(Sweep {
                cloud: self.cloud(data, columns)?,
                key_from_sweep: lidar_from_global.compose(&pose),
                time_lag: seconds(reference_us, data.timestamp),
            });
        }
        Ok(sweeps)
    }

    /// The cameras of `order` that the sample has, in this order, and the names of the others.
    pub(super) fn cameras(
        &self,
        sample: &Sample,
        global_from_lidar: &Transform,
        order: &[String],
    ) -> Result<(Vec<CameraFrame>, Vec<String>), DatasetError> {
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for name in order {
            match self.key_data(sample, name)? {
                Some(data) => there.push((name, data)),
                None => missing.push(name.clone()),
            }
        }
        let read =
            |(name, data): &(&String, &SampleData)| self.camera(name, data, global_from_lidar);
        // Collected before the first error is looked for, so that it is the same one each time.
        let frames: Vec<Result<CameraFrame, DatasetError>> = there.par_iter().map(read).collect();
        let frames: Vec<CameraFrame> = frames.into_iter().collect::<Result<_, _>>()?;
        let blind = frames.iter().filter(|frame| frame.image.is_none());
        missing.extend(blind.map(|frame| frame.name.clone()));
        Ok((frames, missing))
    }

    fn camera(
        &self,
        name: &str,
        data: &SampleData,
        global_from_lidar: &Transform,
    ) -> Result<CameraFrame, DatasetError> {
        let calibrated = self.calibration(data)?;
        let rows = calibrated.camera_intrinsic.as_slice();
        let intrinsic =
            <[[f64; 3]; 3]>::try_from(rows).map_err(|_not_three| DatasetError::Value {
                record: named(calibrated, ""),
                key: "camera_intrinsic",
                expected: "3 rows of 3 numbers",
                found: format!("{} rows", rows.len()),
            })?;
        let camera_from_global = inverse(data, &self.pose(data)?.global_from_sensor())?;
        let path = self.file(&data.filename);
        let image = match data.is_valid {
            true => Some(named_image(&path, || named(data, "filename"))?),
            false => None,
        };
        Ok(CameraFrame {
            name: name.into(),
            image,
            calibration: CameraCalibration {
                image_from_camera: intrinsic,
                camera_from_lidar: camera_from_global.compose(global_from_lidar),
            },
            stamp_ns: Some(nanoseconds(data.timestamp)),
        })
    }
}
