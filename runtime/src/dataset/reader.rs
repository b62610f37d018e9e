//! A dataset on disk: its scenes, its samples, and a frame for each sample.
//!
//! In: a folder in nuScenes or T4 layout. Out: [`SampleFrame`]: what the pipeline takes, and the truth
//! about it in the key cloud's frame. Nothing is written; tables are read when they are needed.

use std::path::{Path, PathBuf};

use super::boxes::GroundTruthBox;
use super::error::DatasetError;
use super::layout::{Layout, Location};
use super::rows::{Sample, Scene};
use super::sensors::{SensorPose, nanoseconds};
use super::table::named;
use super::tables::Tables;
use super::token::Token;
use crate::config::PointsSpec;
use crate::geometry::Transform;
use crate::input::Frame;

/// Names that a message lists before it stops.
const LISTED: usize = 6;

/// A nuScenes or T4 dataset.
pub struct Dataset {
    dataroot: PathBuf,
    tables: Tables,
}

/// One scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneInfo {
    /// Primary key.
    pub token: String,
    /// For example `scene-0103`.
    pub name: String,
    /// What happens in it.
    pub description: String,
    /// Place of the drive.
    pub location: String,
    /// Vehicle of the drive.
    pub vehicle: String,
}

/// One sample: an annotated moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleInfo {
    /// Primary key; what [`Dataset::frame`] takes.
    pub token: String,
    /// Name of the scene.
    pub scene: String,
    /// Time of the sample (µs).
    pub timestamp_us: i64,
}

/// What is known about a sample, in the frame of its key cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleTruth {
    /// The sample.
    pub sample: SampleInfo,
    /// Time of the key cloud (µs).
    pub lidar_timestamp_us: i64,
    /// The LiDAR's pose in the vehicle.
    pub ego_from_lidar: Transform,
    /// The vehicle's pose at the key cloud's time.
    pub global_from_ego: Transform,
    /// Annotated objects in the order of the file.
    pub boxes: Vec<GroundTruthBox>,
}

impl SampleTruth {
    /// The LiDAR's pose at the key cloud's time.
    #[must_use]
    pub fn global_from_lidar(&self) -> Transform {
        self.global_from_ego.compose(&self.ego_from_lidar)
    }
}

/// A sample as the pipeline takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleFrame {
    /// Clouds, images and calibration.
    pub frame: Frame,
    /// Poses and boxes.
    pub truth: SampleTruth,
    /// Cameras that were asked for and have no image here.
    pub missing_cameras: Vec<String>,
}

impl Dataset {
    /// Opens the dataset in `dataroot`, whichever layout it has. `version` is the name of the version
    /// folder (`v1.0-mini`; T4: `0`); it may be left out where there is one (T4: the newest counts).
    ///
    /// # Errors
    /// When the folder holds no dataset or a choice has to be made.
    pub fn open(dataroot: &Path, version: Option<&str>) -> Result<Self, DatasetError> {
        Ok(Self {
            dataroot: dataroot.into(),
            tables: Tables::new(Location::detect(dataroot, version)?),
        })
    }

    /// The convention that the dataset follows.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.tables.layout()
    }

    /// Folder of the tables: where a version was chosen, it ends with it.
    #[must_use]
    pub fn table_folder(&self) -> &Path {
        self.tables.folder()
    }

    /// All scenes in the order of the table.
    ///
    /// # Errors
    /// When a table is missing or broken.
    pub fn scenes(&self) -> Result<Vec<SceneInfo>, DatasetError> {
        let info = |scene: &Scene| {
            let log = self
                .tables
                .log()?
                .get(&scene.log_token, || named(scene, "log_token"))?;
            Ok(SceneInfo {
                token: scene.token.to_string(),
                name: scene.name.to_string(),
                description: scene.description.to_string(),
                location: log.location.to_string(),
                vehicle: log.vehicle.to_string(),
            })
        };
        self.tables.scene()?.rows().iter().map(info).collect()
    }

    /// The samples of the scene with this name or token, by time.
    ///
    /// # Errors
    /// When there is no such scene, or a table is missing or broken.
    pub fn samples(&self, scene: &str) -> Result<Vec<SampleInfo>, DatasetError> {
        let scenes = self.tables.scene()?.rows();
        let token = Token::new(scene);
        let found = scenes
            .iter()
            .find(|s| &*s.name == scene || s.token == token);
        let Some(found) = found else {
            return Err(DatasetError::SceneUnknown {
                name: scene.into(),
                scenes: listed(scenes.iter().map(|s| s.name.to_string())),
            });
        };
        self.samples_of(found)
    }

    /// Every sample: scenes in the order of the table, each by time.
    ///
    /// # Errors
    /// When a table is missing or broken.
    pub fn all_samples(&self) -> Result<Vec<SampleInfo>, DatasetError> {
        let scenes = self.tables.scene()?.rows().iter();
        let each: Result<Vec<_>, _> = scenes.map(|scene| self.samples_of(scene)).collect();
        Ok(each?.concat())
    }

    /// The sample with this token, or the only one whose token starts so.
    ///
    /// # Errors
    /// When no sample or several start so, or a table is missing or broken.
    pub fn find_sample(&self, prefix: &str) -> Result<SampleInfo, DatasetError> {
        let table = self.tables.sample()?;
        let unknown = || DatasetError::SampleUnknown {
            prefix: prefix.into(),
            dataroot: self.dataroot.clone(),
            samples: table.rows().len(),
        };
        if prefix.is_empty() {
            return Err(unknown());
        }
        if let Some(sample) = table.find(&Token::new(prefix)) {
            return self.sample_info(sample);
        }
        let starts = |sample: &&Sample| sample.token.to_string().starts_with(prefix);
        let matches: Vec<&Sample> = table.rows().iter().filter(starts).collect();
        match matches.as_slice() {
            [] => Err(unknown()),
            [sample] => self.sample_info(sample),
            several => Err(DatasetError::SampleAmbiguous {
                prefix: prefix.into(),
                matches: listed(several.iter().map(|s| s.token.to_string())),
            }),
        }
    }

    /// The frame of a sample: key cloud, up to `sweeps_num` sweeps, and the cameras of `camera_order`
    /// in this order (`None`: no cameras). `sample` is a token or a unique start of one.
    ///
    /// # Errors
    /// [`DatasetError::LidarMissing`] (see [`DatasetError::is_skip`]) when the sample has no cloud;
    /// other errors when a table, a file or a value is not what it should be.
    pub fn frame(
        &self,
        sample: &str,
        points: &PointsSpec,
        camera_order: Option<&[String]>,
    ) -> Result<SampleFrame, DatasetError> {
        let truth = self.truth(sample)?;
        let row = self.row(&truth.sample)?;
        let key = self.tables.key_lidar(row)?;
        let cloud = self
            .tables
            .cloud(key, points.load_dim)
            .map_err(|error| match error {
                DatasetError::FileMissing { .. } => DatasetError::LidarMissing {
                    sample: truth.sample.token.clone(),
                    reason: error.to_string(),
                },
                other => other,
            })?;
        let reference_us = match self.layout() {
            Layout::Nuscenes => key.timestamp,
            Layout::T4 => row.timestamp,
        };
        let sweeps = self
            .tables
            .sweeps(key, reference_us, points.sweeps_num, points.load_dim)?;
        let order = camera_order.unwrap_or_default();
        let (cameras, missing_cameras) =
            self.tables
                .cameras(row, &truth.global_from_lidar(), order)?;
        Ok(SampleFrame {
            frame: Frame {
                points: cloud,
                sweeps,
                cameras,
                stamp_ns: Some(nanoseconds(key.timestamp)),
            },
            truth,
            missing_cameras,
        })
    }

    /// Poses and boxes of a sample, without reading a cloud or an image.
    ///
    /// # Errors
    /// As [`frame`](Self::frame): without a key cloud there is no frame for the boxes.
    pub fn truth(&self, sample: &str) -> Result<SampleTruth, DatasetError> {
        let sample = self.find_sample(sample)?;
        let row = self.row(&sample)?;
        let key = self.tables.key_lidar(row)?;
        let SensorPose {
            ego_from_sensor,
            global_from_ego,
        } = self.tables.pose(key)?;
        let boxes = self
            .tables
            .boxes(row, &global_from_ego.compose(&ego_from_sensor))?;
        Ok(SampleTruth {
            sample,
            lidar_timestamp_us: key.timestamp,
            ego_from_lidar: ego_from_sensor,
            global_from_ego,
            boxes,
        })
    }

    /// The map file of a scene, if the tables name one.
    ///
    /// # Errors
    /// When there is no such scene, or a table is missing or broken.
    pub fn map_file(&self, scene: &SceneInfo) -> Result<Option<PathBuf>, DatasetError> {
        let asked = || "the caller".into();
        let scene = self.tables.scene()?.get(&Token::new(&scene.token), asked)?;
        let maps = self.tables.map()?.rows();
        let own = maps
            .iter()
            .find(|map| map.log_tokens.contains(&scene.log_token));
        Ok(own.map(|map| self.tables.file(&map.filename)))
    }

    fn samples_of(&self, scene: &Scene) -> Result<Vec<SampleInfo>, DatasetError> {
        let samples = self.tables.samples(scene)?;
        Ok(samples
            .into_iter()
            .map(|sample| info(scene, sample))
            .collect())
    }

    fn row(&self, sample: &SampleInfo) -> Result<&Sample, DatasetError> {
        self.tables
            .sample()?
            .get(&Token::new(&sample.token), || "the caller".into())
    }

    fn sample_info(&self, sample: &Sample) -> Result<SampleInfo, DatasetError> {
        let referrer = || named(sample, "scene_token");
        Ok(info(
            self.tables.scene()?.get(&sample.scene_token, referrer)?,
            sample,
        ))
    }
}

fn info(scene: &Scene, sample: &Sample) -> SampleInfo {
    SampleInfo {
        token: sample.token.to_string(),
        scene: scene.name.to_string(),
        timestamp_us: sample.timestamp,
    }
}

/// The first few of `names`, and how many more there are.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let mut text = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
