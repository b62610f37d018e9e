//! Where the frames of `bevfusion detect` come from: a dataset or single files.

use std::error::Error;

use super::args::DetectArgs;
use crate::config::ModelConfig;
use crate::dataset::{
    Dataset, DatasetError, Layout, SampleInfo, SampleTruth, Shard, SingleFiles, read_single,
};
use crate::input::Frame;
use crate::output::{Detection, ForwardAxis};

/// A frame with what is known about it.
pub(super) struct Item {
    /// Sample token or file stem.
    pub(super) id: String,
    pub(super) frame: Frame,
    /// Pose and annotations; absent for single files.
    pub(super) truth: Option<SampleTruth>,
}

/// The frames to work through.
pub(super) enum Frames {
    Dataset {
        dataset: Box<Dataset>,
        samples: Vec<SampleInfo>,
    },
    Single {
        id: String,
        frame: Box<Frame>,
    },
}

impl Frames {
    pub(super) fn open(args: &DetectArgs, config: &ModelConfig) -> Result<Self, Box<dyn Error>> {
        if let Some(points) = &args.points {
            let images: Vec<String> = args
                .images
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let files = SingleFiles {
                points,
                point_columns: args.point_columns.unwrap_or(config.points.load_dim),
                images: &images,
                calibration: args.calib.as_deref(),
            };
            let frame = Box::new(read_single(&files, &config.points)?);
            let stem = points.file_name().unwrap_or_default().to_string_lossy();
            let id = stem.split('.').next().unwrap_or("frame").to_owned();
            return Ok(Self::Single { id, frame });
        }
        let root = args
            .dataroot
            .as_deref()
            .ok_or("either --dataroot or --points is needed")?;
        let dataset = Dataset::open(root, args.version.as_deref())?;
        let samples = match (&args.sample, &args.scene) {
            (Some(sample), _) => vec![dataset.find_sample(sample)?],
            (None, Some(scene)) => dataset.samples(scene)?,
            (None, None) => dataset.all_samples()?,
        };
        let shard: Shard = args.shard.as_deref().map_or(Ok(Shard::ALL), str::parse)?;
        let samples = samples[shard.range(samples.len())].to_vec();
        Ok(Self::Dataset {
            dataset: Box::new(dataset),
            samples,
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Dataset { samples, .. } => samples.len(),
            Self::Single { .. } => 1,
        }
    }

    /// Which axis of the clouds points ahead.
    pub(super) fn forward(&self) -> ForwardAxis {
        match self {
            Self::Dataset { dataset, .. } if dataset.layout() == Layout::Nuscenes => ForwardAxis::Y,
            _ => ForwardAxis::X,
        }
    }

    /// Frame `index`.
    pub(super) fn read(&self, index: usize, config: &ModelConfig) -> Result<Item, DatasetError> {
        match self {
            Self::Single { id, frame } => Ok(Item {
                id: id.clone(),
                frame: (**frame).clone(),
                truth: None,
            }),
            Self::Dataset { dataset, samples } => {
                let order = config
                    .camera
                    .as_ref()
                    .map(|camera| camera.camera_order.as_slice());
                let id = samples[index].token.clone();
                let found = dataset.frame(&id, &config.points, order)?;
                Ok(Item {
                    id,
                    frame: found.frame,
                    truth: Some(found.truth),
                })
            }
        }
    }

    /// Token of frame `index`.
    pub(super) fn id(&self, index: usize) -> &str {
        match self {
            Self::Dataset { samples, .. } => &samples[index].token,
            Self::Single { id, .. } => id,
        }
    }
}

/// The annotated boxes of the model's classes.
pub(super) fn ground_truth(truth: Option<&SampleTruth>, config: &ModelConfig) -> Vec<Detection> {
    let boxes = truth.map_or(&[][..], |truth| &truth.boxes);
    let label = |class: Option<&str>| {
        config
            .class_names
            .iter()
            .position(|name| Some(name.as_str()) == class)
    };
    boxes
        .iter()
        .filter_map(|object| label(object.class).map(|label| object.detection(label as u32)))
        .collect()
}
