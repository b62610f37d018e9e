//! Files that `bevfusion detect` leaves: nuScenes results, recording, pictures.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::args::DetectArgs;
use super::console::Console;
use super::frames::Item;
use crate::config::ModelConfig;
use crate::dataset::SampleTruth;
use crate::output::{
    BevOptions, ForwardAxis, FrameResult, FrameStamp, FrameView, Modality, NuscenesWriter,
    OutputError, Recording, RecordingOptions, SheetOptions, draw_bev, draw_contact_sheet,
    write_frame_json, write_png,
};

/// Open result files of a run.
pub(super) struct Results {
    folder: PathBuf,
    nuscenes: Option<NuscenesWriter>,
    recording: Option<Recording>,
    pictures: Option<(BevOptions, SheetOptions)>,
}

impl Results {
    pub(super) fn create(
        args: &DetectArgs,
        config: &ModelConfig,
        forward: ForwardAxis,
        console: &mut Console<'_>,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = args.output.clone();
        create_folder(&folder)?;
        let nuscenes = match &args.dataroot {
            Some(_) => nuscenes(&folder, config, console)?,
            None => None,
        };
        let recording = if args.no_mcap {
            None
        } else {
            let options = RecordingOptions {
                min_score: args.min_score,
                ..RecordingOptions::default()
            };
            Some(Recording::create(&folder.join("detections.mcap"), options)?)
        };
        let [_, _, _, x, y, _] = config.voxel.point_cloud_range;
        let pictures = (!args.no_pictures).then(|| {
            let bev = BevOptions {
                range_m: x.max(y) as f32,
                forward,
                min_score: args.min_score,
                ..BevOptions::default()
            };
            (
                bev,
                SheetOptions {
                    min_score: args.min_score,
                    ..SheetOptions::default()
                },
            )
        });
        Ok(Self {
            folder,
            nuscenes,
            recording,
            pictures,
        })
    }

    pub(super) fn write(
        &mut self,
        view: &FrameView<'_>,
        item: &Item,
        result: &FrameResult,
    ) -> Result<(), Box<dyn Error>> {
        if let (Some(writer), Some(truth)) = (&mut self.nuscenes, &item.truth) {
            writer.add_sample(&item.id, &truth.global_from_lidar(), view.detections)?;
        }
        if let Some(writer) = &mut self.recording {
            let microseconds = item
                .truth
                .as_ref()
                .map_or(0, |truth| truth.lidar_timestamp_us);
            let stamp = FrameStamp {
                timestamp_ns: u64::try_from(microseconds)
                    .unwrap_or(0)
                    .saturating_mul(1000),
                map_from_lidar: item.truth.as_ref().map(SampleTruth::global_from_lidar),
            };
            writer.add_frame(view, &stamp)?;
        }
        write_frame_json(result, &self.folder.join(format!("{}.json", item.id)))?;
        let Some((bev, sheet)) = &self.pictures else {
            return Ok(());
        };
        let picture = self.folder.join(format!("{}_bev.png", item.id));
        write_png(&draw_bev(view, bev)?, &picture)?;
        if view.cameras.iter().any(|camera| camera.image.is_some()) {
            let picture = self.folder.join(format!("{}_cameras.png", item.id));
            write_png(&draw_contact_sheet(view, sheet)?, &picture)?;
        }
        Ok(())
    }

    /// A dropped frame has no boxes, and the evaluation of nuScenes wants to be told so.
    pub(super) fn write_dropped(&mut self, item: &Item) -> Result<(), Box<dyn Error>> {
        if let (Some(writer), Some(truth)) = (&mut self.nuscenes, &item.truth) {
            writer.add_sample(&item.id, &truth.global_from_lidar(), &[])?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), Box<dyn Error>> {
        if let Some(writer) = self.nuscenes {
            writer.finish()?;
        }
        if let Some(writer) = self.recording {
            writer.finish()?;
        }
        Ok(())
    }
}

/// Makes the folder that a command writes to.
pub(super) fn create_folder(folder: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(folder).map_err(|source| OutputError::Write {
        path: folder.into(),
        source,
    })
}

/// The nuScenes result file, unless the model has classes that it cannot hold.
fn nuscenes(
    folder: &Path,
    config: &ModelConfig,
    console: &mut Console<'_>,
) -> Result<Option<NuscenesWriter>, Box<dyn Error>> {
    let modality = Modality {
        use_camera: config.camera.is_some(),
        use_lidar: true,
        ..Modality::default()
    };
    let path = folder.join("results_nusc.json");
    match NuscenesWriter::create(&path, modality, &config.class_names) {
        Ok(writer) => Ok(Some(writer)),
        Err(refusal @ OutputError::Content { .. }) => {
            console.remark(&format!("{refusal}; the other outputs are written"))?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
