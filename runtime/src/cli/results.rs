//! Files that `bevfusion detect` leaves: nuScenes results, recording, pictures.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use super::args::DetectArgs;
use super::frames::Item;
use crate::config::ModelConfig;
use crate::dataset::SampleTruth;
use crate::output::{
    BevOptions, ForwardAxis, FrameResult, FrameStamp, FrameView, Modality, NuscenesWriter,
    Recording, RecordingOptions, SheetOptions, draw_bev, draw_contact_sheet, write_frame_json,
    write_png,
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
    ) -> Result<Self, Box<dyn Error>> {
        let folder = args.output.clone();
        fs::create_dir_all(&folder)
            .map_err(|e| format!("cannot create the output folder {}: {e}", folder.display()))?;
        let nuscenes = match &args.dataroot {
            Some(_) => {
                let modality = Modality {
                    use_camera: config.camera.is_some(),
                    use_lidar: true,
                    ..Modality::default()
                };
                let path = folder.join("results_nusc.json");
                Some(NuscenesWriter::create(
                    &path,
                    modality,
                    &config.class_names,
                )?)
            }
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
