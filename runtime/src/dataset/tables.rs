//! All tables of a dataset, each read when it is first asked for.
//!
//! Of `sample_data` only the LiDAR's rows and the cameras' key frames stay in memory, of `ego_pose`
//! only what these refer to: a quarter of nuScenes' 2.6 million rows.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::DatasetError;
use super::layout::{Layout, Location};
use super::rows::{
    Attribute, CalibratedSensor, Category, EgoPose, Instance, Log, Map, Row, Sample,
    SampleAnnotation, SampleData, Scene, Sensor, Visibility,
};
use super::table::{Index, Table, named};
use super::token::Token;

/// The tables of one dataset.
pub(super) struct Tables {
    location: Location,
    scene: OnceLock<Table<Scene>>,
    sample: OnceLock<Table<Sample>>,
    sample_data: OnceLock<Table<SampleData>>,
    ego_pose: OnceLock<Table<EgoPose>>,
    calibrated_sensor: OnceLock<Table<CalibratedSensor>>,
    sensor: OnceLock<Table<Sensor>>,
    sample_annotation: OnceLock<Table<SampleAnnotation>>,
    instance: OnceLock<Table<Instance>>,
    category: OnceLock<Table<Category>>,
    attribute: OnceLock<Table<Attribute>>,
    visibility: OnceLock<Table<Visibility>>,
    log: OnceLock<Table<Log>>,
    map: OnceLock<Table<Map>>,
    samples_by_scene: OnceLock<Index>,
    key_data_by_sample: OnceLock<Index>,
    annotations_by_sample: OnceLock<Index>,
}

/// Returns the accessor of a table that is kept whole.
macro_rules! whole {
    ($($name:ident: $row:ident),* $(,)?) => {
        $(pub(super) fn $name(&self) -> Result<&Table<$row>, DatasetError> {
            cached(&self.$name, || Table::load(&self.location.tables, |_| true))
        })*
    };
}

fn cached<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, DatasetError>,
) -> Result<&T, DatasetError> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

impl Tables {
    pub(super) fn new(location: Location) -> Self {
        Self {
            location,
            scene: OnceLock::new(),
            sample: OnceLock::new(),
            sample_data: OnceLock::new(),
            ego_pose: OnceLock::new(),
            calibrated_sensor: OnceLock::new(),
            sensor: OnceLock::new(),
            sample_annotation: OnceLock::new(),
            instance: OnceLock::new(),
            category: OnceLock::new(),
            attribute: OnceLock::new(),
            visibility: OnceLock::new(),
            log: OnceLock::new(),
            map: OnceLock::new(),
            samples_by_scene: OnceLock::new(),
            key_data_by_sample: OnceLock::new(),
            annotations_by_sample: OnceLock::new(),
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.location.layout
    }

    /// A file that a table names.
    pub(super) fn file(&self, filename: &str) -> PathBuf {
        self.location.files.join(filename)
    }

    /// Folder of the tables, for messages.
    pub(super) fn folder(&self) -> &Path {
        &self.location.tables
    }

    whole! {
        scene: Scene,
        sample: Sample,
        calibrated_sensor: CalibratedSensor,
        sensor: Sensor,
        sample_annotation: SampleAnnotation,
        instance: Instance,
        category: Category,
        attribute: Attribute,
        visibility: Visibility,
        log: Log,
        map: Map,
    }

    /// The samples of a scene by time.
    pub(super) fn samples(&self, scene: &Scene) -> Result<Vec<&Sample>, DatasetError> {
        let table = self.sample()?;
        let index = cached(&self.samples_by_scene, || {
            Ok(Index::new(table.rows(), scene_of_sample))
        })?;
        let own = index.get(table.rows(), scene_of_sample, &scene.token);
        let mut samples: Vec<&Sample> = own.collect();
        samples.sort_by_key(|sample| sample.timestamp);
        Ok(samples)
    }

    /// Rows of the whole-cloud LiDAR, and key frames of the cameras.
    pub(super) fn sample_data(&self) -> Result<&Table<SampleData>, DatasetError> {
        cached(&self.sample_data, || {
            let (calibrated, sensors) = (self.calibrated_sensor()?, self.sensor()?);
            let lidar = self.lidar_channel()?;
            Table::load(&self.location.tables, |row: &SampleData| {
                let sensor = calibrated
                    .find(&row.calibrated_sensor_token)
                    .and_then(|c| sensors.find(&c.sensor_token));
                match sensor {
                    Some(sensor) if &*sensor.modality == "lidar" => Some(&*sensor.channel) == lidar,
                    Some(sensor) => row.is_key_frame && &*sensor.modality == "camera",
                    // A reference to nowhere is reported when the row is used.
                    None => true,
                }
            })
        })
    }

    /// Poses to which [`sample_data`](Self::sample_data) refers.
    pub(super) fn ego_pose(&self) -> Result<&Table<EgoPose>, DatasetError> {
        cached(&self.ego_pose, || {
            let data = self.sample_data()?.rows();
            let mut wanted: Vec<&Token> = data.iter().map(|row| &row.ego_pose_token).collect();
            wanted.sort();
            Table::load(&self.location.tables, |row: &EgoPose| {
                wanted.binary_search(&row.token()).is_ok()
            })
        })
    }

    /// The channel that holds the whole cloud, if the dataset has one.
    pub(super) fn lidar_channel(&self) -> Result<Option<&'static str>, DatasetError> {
        let sensors = self.sensor()?.rows();
        let has = |channel: &&&'static str| sensors.iter().any(|s| *s.channel == ***channel);
        Ok(self.layout().lidar_channels().iter().find(has).copied())
    }

    /// The channel of a `sample_data` row.
    pub(super) fn channel(&self, data: &SampleData) -> Result<&str, DatasetError> {
        let calibrated = self.calibration(data)?;
        let sensor = self.sensor()?.get(&calibrated.sensor_token, || {
            named(calibrated, "sensor_token")
        })?;
        Ok(&sensor.channel)
    }

    /// The calibration of a `sample_data` row.
    pub(super) fn calibration(&self, data: &SampleData) -> Result<&CalibratedSensor, DatasetError> {
        self.calibrated_sensor()?
            .get(&data.calibrated_sensor_token, || {
                named(data, "calibrated_sensor_token")
            })
    }

    /// The key-frame row of one channel of a sample; the last in the file, as the devkit takes it.
    pub(super) fn key_data(
        &self,
        sample: &Sample,
        channel: &str,
    ) -> Result<Option<&SampleData>, DatasetError> {
        let table = self.sample_data()?;
        let index = cached(&self.key_data_by_sample, || {
            Ok(Index::new(table.rows(), key_of_sample))
        })?;
        let mut found = None;
        for data in index.get(table.rows(), key_of_sample, &sample.token) {
            if self.channel(data)? == channel {
                found = Some(data);
            }
        }
        Ok(found)
    }

    /// The annotations of a sample in the order of the file.
    pub(super) fn annotations(
        &self,
        sample: &Sample,
    ) -> Result<impl Iterator<Item = &SampleAnnotation>, DatasetError> {
        let table = self.sample_annotation()?;
        let index = cached(&self.annotations_by_sample, || {
            Ok(Index::new(table.rows(), annotated_sample))
        })?;
        Ok(index.get(table.rows(), annotated_sample, &sample.token))
    }
}

fn scene_of_sample(row: &Sample) -> Option<&Token> {
    Some(&row.scene_token)
}

fn key_of_sample(row: &SampleData) -> Option<&Token> {
    row.is_key_frame.then_some(&row.sample_token)
}

fn annotated_sample(row: &SampleAnnotation) -> Option<&Token> {
    Some(&row.sample_token)
}

/// Parses one table from memory and gives the number of its records: a check that needs no folder.
///
/// # Errors
/// When `name` is no table that is read, or the bytes are not such a table.
pub fn parse_table(name: &str, bytes: &[u8]) -> Result<usize, DatasetError> {
    fn records<R: Row>(name: &str, bytes: &[u8]) -> Result<usize, DatasetError> {
        let path = Path::new(name).with_extension("json");
        Ok(Table::<R>::from_bytes(&path, bytes)?.rows().len())
    }
    let parse = match name {
        "scene" => records::<Scene>,
        "sample" => records::<Sample>,
        "sample_data" => records::<SampleData>,
        "ego_pose" => records::<EgoPose>,
        "calibrated_sensor" => records::<CalibratedSensor>,
        "sensor" => records::<Sensor>,
        "sample_annotation" => records::<SampleAnnotation>,
        "instance" => records::<Instance>,
        "category" => records::<Category>,
        "attribute" => records::<Attribute>,
        "visibility" => records::<Visibility>,
        "log" => records::<Log>,
        "map" => records::<Map>,
        _ => {
            return Err(DatasetError::Layout {
                dataroot: name.into(),
                problem: "it is not the name of a table".into(),
            });
        }
    };
    parse(name, bytes)
}
