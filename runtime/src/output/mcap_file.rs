//! An MCAP recording of detections that Foxglove opens.
//!
//! In: frames in the order of their time. Out: JSON messages on `/lidar/points`, `/detections`,
//! `/ground_truth`, `/tf` and, for every camera with an image, `/camera/NAME/image`,
//! `/camera/NAME/calibration` and `/camera/NAME/boxes`. Frames are written as they come, so that the
//! length of a drive does not matter; the file has its name once [`Recording::finish`] ran.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;
use mcap::{Compression, McapError, WriteOptions, Writer};
use serde_json::{Value, json};

use super::file::AtomicFile;
use super::foxglove::{
    Kind, camera_calibration, compressed_image, frame_transform, image_annotations, point_cloud,
    scene_update, time,
};
use super::foxglove_schema::Message;
use super::frame_view::by_score;
use super::{Detection, FrameView, OutputError};
use crate::geometry::Transform;
use crate::input::{CameraFrame, RgbImage};

/// Names and limits of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingOptions {
    /// Frame id of the key cloud, such as `lidar` or `base_link`.
    pub lidar_frame: String,
    /// Frame id of the fixed frame.
    pub map_frame: String,
    /// Boxes below this score are left out.
    pub min_score: f32,
    /// 1..=100.
    pub jpeg_quality: u8,
}

impl Default for RecordingOptions {
    fn default() -> Self {
        Self {
            lidar_frame: "lidar".to_owned(),
            map_frame: "map".to_owned(),
            min_score: 0.1,
            jpeg_quality: 85,
        }
    }
}

/// When and where a frame was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameStamp {
    /// Time of the key cloud (ns since 1970).
    pub timestamp_ns: u64,
    /// Pose of the key cloud in the fixed frame; `None` when it is not known.
    pub map_from_lidar: Option<Transform>,
}

/// A recording under construction.
pub struct Recording {
    writer: Writer<AtomicFile>,
    channels: BTreeMap<String, u16>,
    path: PathBuf,
    options: RecordingOptions,
    frames: u32,
}

impl Recording {
    /// Starts a recording.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, options: RecordingOptions) -> Result<Self, OutputError> {
        let file = AtomicFile::create(path)?;
        let writer = WriteOptions::new()
            .compression(Some(Compression::Lz4))
            .library(concat!("bevfusion-rt ", env!("CARGO_PKG_VERSION")))
            .create(file)
            .map_err(recording_error(path))?;
        Ok(Self {
            writer,
            channels: BTreeMap::new(),
            path: path.to_path_buf(),
            options,
            frames: 0,
        })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// When the file cannot be written or an image cannot be encoded.
    pub fn add_frame(
        &mut self,
        view: &FrameView<'_>,
        stamp: &FrameStamp,
    ) -> Result<(), OutputError> {
        let now = time(stamp.timestamp_ns);
        let lidar = self.options.lidar_frame.clone();
        let found: Vec<Detection> = by_score(view.detections, self.options.min_score)
            .into_iter()
            .copied()
            .collect();
        let truth = view.ground_truth;
        let ns = stamp.timestamp_ns;
        let transforms = self.transforms(&now, view, stamp);
        self.write("/tf", Message::FrameTransforms, ns, &transforms)?;
        let points = point_cloud(&now, &lidar, view.points);
        self.write("/lidar/points", Message::PointCloud, ns, &points)?;
        let boxes = scene_update(&now, &lidar, view, &found, Kind::Found);
        self.write("/detections", Message::SceneUpdate, ns, &boxes)?;
        let boxes = scene_update(&now, &lidar, view, truth, Kind::Truth);
        self.write("/ground_truth", Message::SceneUpdate, ns, &boxes)?;
        for camera in view.cameras {
            let Some(image) = camera.image.as_ref() else {
                continue;
            };
            self.add_image(ns, (camera, image))?;
            let boxes = [(Kind::Truth, truth), (Kind::Found, found.as_slice())];
            let boxes = image_annotations(&now, view, (camera, image), &boxes);
            let topic = format!("/camera/{}/boxes", camera.name);
            self.write(&topic, Message::ImageAnnotations, ns, &boxes)?;
        }
        self.frames = self.frames.wrapping_add(1);
        Ok(())
    }

    /// Completes the recording and gives the file its name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.writer.finish().map_err(recording_error(&self.path))?;
        self.writer.into_inner().finish()
    }

    fn add_image(
        &mut self,
        ns: u64,
        (camera, image): (&CameraFrame, &RgbImage),
    ) -> Result<(), OutputError> {
        let now = time(ns);
        let jpeg = encode_jpeg(image, self.options.jpeg_quality, &self.path)?;
        let message = compressed_image(&now, &camera.name, &jpeg);
        let topic = format!("/camera/{}/image", camera.name);
        self.write(&topic, Message::CompressedImage, ns, &message)?;
        let message = camera_calibration(&now, camera, image);
        let topic = format!("/camera/{}/calibration", camera.name);
        self.write(&topic, Message::CameraCalibration, ns, &message)
    }

    fn transforms(&self, now: &Value, view: &FrameView<'_>, stamp: &FrameStamp) -> Value {
        let lidar = self.options.lidar_frame.as_str();
        let map = self.options.map_frame.as_str();
        let mut transforms = Vec::new();
        if let Some(map_from_lidar) = &stamp.map_from_lidar {
            transforms.push(frame_transform(now, (map, lidar), map_from_lidar));
        }
        for camera in view.cameras {
            let inverse = camera.calibration.camera_from_lidar.inverse();
            // A pose that cannot be inverted has no place in the scene.
            if let Some(lidar_from_camera) = inverse {
                let names = (lidar, camera.name.as_str());
                transforms.push(frame_transform(now, names, &lidar_from_camera));
            }
        }
        json!({"transforms": transforms})
    }

    fn write(
        &mut self,
        topic: &str,
        message: Message,
        timestamp_ns: u64,
        value: &Value,
    ) -> Result<(), OutputError> {
        let channel_id = self.channel(topic, message)?;
        let data = serde_json::to_vec(value).map_err(OutputError::serialize(&self.path))?;
        let header = MessageHeader {
            channel_id,
            sequence: self.frames,
            log_time: timestamp_ns,
            publish_time: timestamp_ns,
        };
        self.writer
            .write_to_known_channel(&header, &data)
            .map_err(recording_error(&self.path))
    }

    fn channel(&mut self, topic: &str, message: Message) -> Result<u16, OutputError> {
        if let Some(&id) = self.channels.get(topic) {
            return Ok(id);
        }
        let failed = recording_error(&self.path);
        let schema = message.schema().to_string();
        let schema = self
            .writer
            .add_schema(message.name(), "jsonschema", schema.as_bytes())
            .map_err(&failed)?;
        let id = self
            .writer
            .add_channel(schema, topic, "json", &BTreeMap::new())
            .map_err(&failed)?;
        self.channels.insert(topic.to_owned(), id);
        Ok(id)
    }
}

fn recording_error(path: &Path) -> impl Fn(McapError) -> OutputError + '_ {
    |error| match error {
        McapError::Io(source) => OutputError::write(path)(source),
        source => OutputError::Recording {
            path: path.to_path_buf(),
            source,
        },
    }
}

fn encode_jpeg(image: &RgbImage, quality: u8, path: &Path) -> Result<Vec<u8>, OutputError> {
    let edge = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let mut jpeg = Vec::new();
    let pixels = image.pixels.len();
    if image.width.saturating_mul(image.height).checked_mul(3) != Some(pixels) {
        return Err(OutputError::Picture(format!(
            "{pixels} bytes for {} x {} px; expected three a pixel",
            image.width, image.height
        )));
    }
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, quality.clamp(1, 100))
        .encode(
            &image.pixels,
            edge(image.width),
            edge(image.height),
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|source| OutputError::Encode {
            path: path.to_path_buf(),
            source,
        })?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests;
