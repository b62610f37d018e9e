//! Camera images on their way to the device.
//!
//! An image is taken when it arrives: host memory is copied to pinned memory, uploaded on a stream of its own
//! and turned into patches, all before the cloud comes. Device memory is read where it is. A frame then uses
//! the newest image of each camera. A new calibration is built into the table set that no frame uses.

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::cuda::image::{
    GeometryChange, ImageGeometry, ImagePreprocess, ImageSource, Resampling,
};
use bevfusion_kernels::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Event, PinnedSlice, Priority, Stream,
};
use bevfusion_kernels::reference::image::{
    CHANNELS, ImageView, Lens, PixelFormat, Plane, RawImage,
};

use super::camera::{CameraCapacity, preprocess};
use super::tables::TableSets;
use crate::camera::{CameraMatrices, ImageAug};
use crate::config::CameraSpec;
use crate::exec::{CameraPolicy, CameraState, CameraStates, MAX_CAMERAS};
use crate::geometry::CameraCalibration;
use crate::input::{Frame, RgbImage};

/// Bytes of a pixel for which there is room.
const PIXEL_BYTES: usize = 3;
/// Start of a second plane (bytes).
const PLANE_ALIGNMENT: usize = 256;

/// An image that the GPU can read where it is: device memory, or pinned memory at its device address. A row
/// may be read up to the next multiple of 16 bytes, which memory of CUDA always has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceImage {
    /// Whose, by place in `camera_order`.
    pub camera: usize,
    /// When it was taken (ns).
    pub stamp_ns: i64,
    /// How pixels are stored.
    pub format: PixelFormat,
    /// Width, height (px).
    pub size: [usize; 2],
    /// First byte as the device sees it.
    pub address: u64,
    /// Bytes from row to row.
    pub stride: usize,
    /// First byte of NV12's chroma; otherwise not looked at.
    pub chroma_address: u64,
    /// Bytes from row to row of it.
    pub chroma_stride: usize,
}

impl DeviceImage {
    const fn arrived(&self) -> Arrived {
        Arrived {
            source: ImageSource {
                camera: self.camera,
                format: self.format,
                address: self.address,
                stride: self.stride,
                chroma_address: self.chroma_address,
                chroma_stride: self.chroma_stride,
            },
            size: self.size,
            stamp_ns: self.stamp_ns,
        }
    }
}

/// An image on the device.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    source: ImageSource,
    size: [usize; 2],
    stamp_ns: i64,
}

/// Why an image was not taken. The camera's earlier image is not used any more, unless the image was merely
/// too early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefusal {
    /// The model has no such camera.
    #[error("there is no camera {camera}: the model has {cameras}")]
    Camera {
        /// Asked for.
        camera: usize,
        /// There are.
        cameras: usize,
    },
    /// The image does not fit its size, or the memory that was planned for it.
    #[error("camera {camera}: {problem}")]
    Image {
        /// Which camera.
        camera: usize,
        /// What is wrong.
        problem: String,
    },
    /// The camera's images before are still on their way: try again.
    #[error("camera {camera}: its earlier images are still on their way")]
    Busy {
        /// Which camera.
        camera: usize,
    },
    /// The GPU failed.
    #[error(transparent)]
    Device(#[from] DriverError),
}

/// What a camera has delivered.
#[derive(Debug)]
struct Input {
    staging: [PinnedSlice<u8>; 2],
    copied: [Event; 2],
    turn: usize,
    raw: DeviceSlice<u8>,
    /// The raw image was read.
    read: Event,
    geometry: Option<ImageGeometry>,
    lens: Option<Lens>,
    resampling: Resampling,
    calibration: Option<CameraCalibration>,
    stamp_ns: Option<i64>,
    is_rejected: bool,
}

/// All cameras of a model.
#[derive(Debug)]
pub(super) struct CameraInputs {
    spec: CameraSpec,
    preprocess: ImagePreprocess,
    inputs: Vec<Input>,
    upload: Stream,
    tables: TableSets,
}

/// What the header of a frame says of its cameras.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameCameras {
    pub(super) states: CameraStates,
    pub(super) set: u32,
}

impl CameraInputs {
    /// Takes memory; also the patches that the backbone reads.
    pub(super) fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        spec: &CameraSpec,
        capacity: CameraCapacity,
    ) -> Result<(Self, MapSlice<u16>), DriverError> {
        let cameras = spec.camera_order.len();
        if cameras > MAX_CAMERAS {
            return Err(DriverError::Arguments {
                kernel: "camera images",
                problem: format!("{cameras} cameras, at most {MAX_CAMERAS}"),
            });
        }
        let (preprocess, patches) = preprocess(arena, spec, capacity)?;
        let bytes = capacity.raw[0] * capacity.raw[1] * PIXEL_BYTES + PLANE_ALIGNMENT;
        let event = || Event::ordering(context);
        let input = |_camera| {
            Ok(Input {
                staging: [
                    PinnedSlice::new(context, bytes)?,
                    PinnedSlice::new(context, bytes)?,
                ],
                copied: [event()?, event()?],
                turn: 0,
                raw: arena.take("raw images", bytes)?,
                read: event()?,
                geometry: None,
                lens: None,
                resampling: Resampling::default(),
                calibration: None,
                stamp_ns: None,
                is_rejected: false,
            })
        };
        let inputs = Self {
            preprocess,
            inputs: (0..cameras)
                .map(input)
                .collect::<Result<_, DriverError>>()?,
            upload: Stream::new(context, Priority::Normal)?,
            tables: TableSets::new(context, spec)?,
            spec: spec.clone(),
        };
        Ok((inputs, patches))
    }

    /// Takes the calibration of a camera; it holds from the next frame on.
    pub(super) fn calibrate(
        &mut self,
        camera: usize,
        calibration: CameraCalibration,
    ) -> Result<(), ImageRefusal> {
        self.known(camera)?;
        let name = self
            .spec
            .camera_order
            .get(camera)
            .map_or("", String::as_str);
        let aug = self.inputs[camera].aug(&self.spec);
        let matrices = CameraMatrices::new(&calibration, aug.matrix());
        if let Err(error) = matrices.check(name) {
            return Err(ImageRefusal::Image {
                camera,
                problem: error.to_string(),
            });
        }
        self.inputs[camera].calibration = Some(calibration);
        Ok(())
    }

    /// How the camera's images are straightened and resized, from the next one on.
    pub(super) fn set_lens(
        &mut self,
        camera: usize,
        lens: Option<Lens>,
        resampling: Resampling,
    ) -> Result<(), ImageRefusal> {
        self.known(camera)?;
        let input = &mut self.inputs[camera];
        (input.lens, input.resampling) = (lens, resampling);
        Ok(())
    }

    /// Takes an image out of ordinary memory.
    pub(super) fn push(
        &mut self,
        main: &Stream,
        camera: usize,
        image: &RawImage<'_>,
        stamp_ns: i64,
    ) -> Result<(), ImageRefusal> {
        self.known(camera)?;
        let ready = self.stage(camera, image);
        let source = self.settled(camera, ready)?;
        self.inputs[camera].read_after_upload(main)?;
        let size = image.size();
        let arrived = Arrived {
            source,
            size,
            stamp_ns,
        };
        self.process(main, &[arrived])?;
        Ok(self.inputs[camera].read.record(main)?)
    }

    /// Takes the images and calibrations of a frame out of ordinary memory. A camera that the frame does not
    /// have is missing; one whose image or calibration is not taken is rejected or uncalibrated.
    ///
    /// # Errors
    /// When earlier images are still on their way, or the GPU fails; never for what is in the frame.
    pub(super) fn push_frame(&mut self, main: &Stream, frame: &Frame) -> Result<(), ImageRefusal> {
        for camera in 0..self.inputs.len() {
            let found = self.spec.camera_order.get(camera);
            let found = found.and_then(|name| frame.camera(name));
            let found = found.and_then(|source| Some((source, source.image.as_ref()?)));
            let Some((source, image)) = found else {
                self.forget(camera);
                continue;
            };
            let taken = match rgb(image) {
                Some(image) => self.push(main, camera, &image, frame.image_ns(source)),
                None => {
                    self.inputs[camera].is_rejected = true;
                    Ok(())
                }
            };
            if let Err(refusal @ (ImageRefusal::Busy { .. } | ImageRefusal::Device(_))) = taken {
                return Err(refusal);
            }
            if self.calibrate(camera, source.calibration).is_err() {
                self.inputs[camera].calibration = None;
            }
        }
        Ok(())
    }

    /// Takes images that the GPU reads where they are, when `main` comes to them.
    pub(super) fn push_device(
        &mut self,
        main: &Stream,
        images: &[DeviceImage],
    ) -> Result<(), ImageRefusal> {
        let cameras = self.inputs.len();
        if images.len() > cameras {
            let camera = images[cameras].camera;
            return Err(ImageRefusal::Camera { camera, cameras });
        }
        let Some(first) = images.first() else {
            return Ok(());
        };
        let mut arrived = [first.arrived(); MAX_CAMERAS];
        for (place, image) in arrived.iter_mut().zip(images) {
            self.known(image.camera)?;
            *place = image.arrived();
        }
        self.process(main, &arrived[..images.len()])
    }

    /// A camera that delivers nothing from now on.
    pub(super) fn forget(&mut self, camera: usize) {
        if let Some(input) = self.inputs.get_mut(camera) {
            input.stamp_ns = None;
            input.is_rejected = false;
        }
    }

    /// The cameras of a frame, with tables of their calibrations. `None` while two calibrations before
    /// are still in use.
    pub(super) fn take(
        &mut self,
        main: &Stream,
        stamp_ns: i64,
        policy: &CameraPolicy,
    ) -> Result<Option<FrameCameras>, DriverError> {
        let is_given = self.tables.is_given();
        let mut states = CameraStates::missing(self.inputs.len());
        for (state, input) in states.as_mut_slice().iter_mut().zip(&self.inputs) {
            *state = input.state(stamp_ns, policy, is_given);
        }
        let spec = &self.spec;
        let matrices = self.inputs.iter().map(|input| {
            let calibration = input.calibration.as_ref()?;
            Some(CameraMatrices::new(calibration, input.aug(spec).matrix()))
        });
        let set = self.tables.current(main, &self.upload, matrices)?;
        Ok(set.map(|set| FrameCameras { states, set }))
    }

    /// Behind the frame on `main`: its tables may be overwritten after it.
    pub(super) fn launched(&self, main: &Stream) -> Result<(), DriverError> {
        self.tables.used(main)
    }

    pub(super) const fn tables_mut(&mut self) -> &mut TableSets {
        &mut self.tables
    }

    const fn known(&self, camera: usize) -> Result<(), ImageRefusal> {
        let cameras = self.inputs.len();
        if camera < cameras {
            return Ok(());
        }
        Err(ImageRefusal::Camera { camera, cameras })
    }

    /// Marks the camera when its image was refused for good.
    fn settled<T>(
        &mut self,
        camera: usize,
        outcome: Result<T, ImageRefusal>,
    ) -> Result<T, ImageRefusal> {
        if matches!(outcome, Err(ImageRefusal::Image { .. })) {
            self.inputs[camera].is_rejected = true;
        }
        outcome
    }

    /// Copies an image to pinned memory and starts its upload.
    fn stage(&mut self, camera: usize, image: &RawImage<'_>) -> Result<ImageSource, ImageRefusal> {
        let input = &mut self.inputs[camera];
        let turn = input.turn;
        if !input.copied[turn].has_happened()? {
            return Err(ImageRefusal::Busy { camera });
        }
        let [_, height] = image.size();
        let row = image.format().row_bytes(image.size()[0]);
        let (pixels, chroma) = image.planes();
        let used = |plane: &Plane<'_>, rows: usize| plane.stride * (rows - 1) + row;
        let first = used(&pixels, height);
        let second_at = first.next_multiple_of(PLANE_ALIGNMENT);
        let second = chroma.map_or(0, |plane| used(&plane, height / 2));
        let bytes = if second > 0 {
            second_at + second
        } else {
            first
        };
        let room = input.raw.len();
        if bytes > room {
            return Err(ImageRefusal::Image {
                camera,
                problem: format!(
                    "an image of {bytes} bytes; there is room for {room}: raise the largest raw size"
                ),
            });
        }
        let staging = input.staging[turn].as_mut_slice();
        staging[..first].copy_from_slice(&pixels.bytes[..first]);
        if let Some(plane) = chroma {
            staging[second_at..second_at + second].copy_from_slice(&plane.bytes[..second]);
        }
        self.upload.wait(&input.read)?;
        input
            .raw
            .copy_from_pinned(&self.upload, &input.staging[turn], bytes)?;
        input.copied[turn].record(&self.upload)?;
        input.turn = 1 - turn;
        Ok(ImageSource {
            camera,
            format: image.format(),
            address: input.raw.address(),
            stride: pixels.stride,
            chroma_address: input.raw.address() + second_at as u64,
            chroma_stride: chroma.map_or(0, |plane| plane.stride),
        })
    }

    /// Turns images into patches, in one launch. One that is refused does not keep the others out.
    fn process(&mut self, main: &Stream, arrived: &[Arrived]) -> Result<(), ImageRefusal> {
        let Some(first) = arrived.first() else {
            return Ok(());
        };
        let mut sources = [first.source; MAX_CAMERAS];
        let (mut count, mut refusal) = (0, None);
        for image in arrived.iter().take(MAX_CAMERAS) {
            let outcome = self.fit(main, image);
            match self.settled(image.source.camera, outcome) {
                Ok(()) => {
                    sources[count] = image.source;
                    count += 1;
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let sources = &sources[..count];
        match self.preprocess.enqueue(main, sources) {
            Ok(()) => {}
            // Together they say only that one of them is wrong.
            Err(DriverError::Arguments { .. }) if count > 1 => {
                for image in arrived {
                    let alone = self.process(main, std::slice::from_ref(image));
                    refusal = refusal.or(alone.err());
                }
                return refusal.map_or(Ok(()), Err);
            }
            Err(error) => {
                let camera = first.source.camera;
                return self.settled(camera, Err(refused(camera, error)));
            }
        }
        let is_taken = |image: &&Arrived| {
            let mut sources = sources.iter();
            sources.any(|source| source.camera == image.source.camera)
        };
        for image in arrived.iter().filter(is_taken) {
            let input = &mut self.inputs[image.source.camera];
            (input.stamp_ns, input.is_rejected) = (Some(image.stamp_ns), false);
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Makes the camera's tables fit the image.
    fn fit(&mut self, main: &Stream, image: &Arrived) -> Result<(), ImageRefusal> {
        let camera = image.source.camera;
        self.known(camera)?;
        let geometry = self.inputs[camera].geometry_of(&self.spec, image.size);
        if self.inputs[camera].geometry != Some(geometry) {
            let change = self.preprocess.set_geometry(main, camera, &geometry);
            if change.map_err(|error| refused(camera, error))? == GeometryChange::Busy {
                return Err(ImageRefusal::Busy { camera });
            }
            self.inputs[camera].geometry = Some(geometry);
        }
        Ok(())
    }
}

fn refused(camera: usize, error: DriverError) -> ImageRefusal {
    match error {
        DriverError::Arguments { problem, .. } => ImageRefusal::Image { camera, problem },
        other => ImageRefusal::Device(other),
    }
}

impl Input {
    fn state(&self, stamp_ns: i64, policy: &CameraPolicy, is_given: bool) -> CameraState {
        match (self.stamp_ns, &self.calibration) {
            _ if self.is_rejected => CameraState::Rejected,
            (None, _) => CameraState::Missing,
            (Some(image_ns), _) if !policy.is_fresh(image_ns, stamp_ns) => CameraState::Stale,
            (Some(_), None) if !is_given => CameraState::Uncalibrated,
            (Some(_), _) => CameraState::Fresh,
        }
    }

    /// What is done to its images; before the first one, to one of the network's size.
    fn aug(&self, spec: &CameraSpec) -> ImageAug {
        let [height, width] = spec.image_size;
        let [width, height] = self
            .geometry
            .map_or([width, height], |geometry| geometry.raw);
        ImageAug::for_test(spec, width, height)
    }

    /// What is done to an image of that size.
    fn geometry_of(&self, spec: &CameraSpec, raw: [usize; 2]) -> ImageGeometry {
        let aug = ImageAug::for_test(spec, raw[0], raw[1]);
        ImageGeometry {
            raw,
            resized: aug.resized,
            crop: aug.crop,
            resampling: self.resampling,
            lens: self.lens,
        }
    }

    /// What comes on `main` starts when the last image has been uploaded.
    fn read_after_upload(&self, main: &Stream) -> Result<(), DriverError> {
        main.wait(&self.copied[1 - self.turn])
    }
}

/// The image whose buffer fits its size.
fn rgb(image: &RgbImage) -> Option<RawImage<'_>> {
    let RgbImage {
        width,
        height,
        pixels,
    } = image;
    let view = ImageView::new(*width, *height, pixels).ok()?;
    let plane = Plane {
        bytes: view.pixels(),
        stride: view.width() * CHANNELS,
    };
    RawImage::new(PixelFormat::Rgb8, [*width, *height], plane, None).ok()
}
