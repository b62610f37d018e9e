//! The two table sets of the view transform: one in use, one to build the next calibration into.

use std::sync::Arc;

use bevfusion_kernels::cuda::view_record::ViewRecord;
use bevfusion_kernels::cuda::view_tables::{SETS, ViewTables};
use bevfusion_kernels::driver::{Context, DeviceSlice, DriverError, Event, PinnedSlice, Stream};
use bevfusion_kernels::reference::depth_image::DepthCamera;
use bevfusion_kernels::reference::frustum::{FrustumCamera, LidarAugmentation};

use super::program::Detector;
use crate::camera::{CameraMatrices, Matrix4, identity, lidar_augmentation};
use crate::config::CameraSpec;
use crate::exec::MAX_CAMERAS;

/// Which set frames use, and what it was built from.
#[derive(Debug)]
pub(super) struct TableSets {
    names: Vec<String>,
    records: [PinnedSlice<ViewRecord>; SETS],
    built: [Event; SETS],
    used: [Event; SETS],
    current: usize,
    matrices: [Option<CameraMatrices>; MAX_CAMERAS],
    prepared: Vec<(FrustumCamera, DepthCamera)>,
    detector: Option<Arc<Detector>>,
    /// Matrices and cells given from outside in place of those that follow from the calibrations.
    given: Option<(Vec<CameraMatrices>, Matrix4)>,
    ranks: Option<DeviceSlice<i32>>,
    is_stale: bool,
}

impl TableSets {
    pub(super) fn new(context: &Arc<Context>, spec: &CameraSpec) -> Result<Self, DriverError> {
        let event = || Event::ordering(context);
        let record = || PinnedSlice::new(context, 1);
        Ok(Self {
            names: spec.camera_order.clone(),
            records: [record()?, record()?],
            built: [event()?, event()?],
            used: [event()?, event()?],
            current: 0,
            matrices: [None; MAX_CAMERAS],
            prepared: Vec::with_capacity(MAX_CAMERAS),
            detector: None,
            given: None,
            ranks: None,
            is_stale: true,
        })
    }

    /// Whose tables they are; they hold nothing before.
    pub(super) fn attach(&mut self, detector: &Arc<Detector>) {
        self.detector = Some(Arc::clone(detector));
    }

    /// Builds from these matrices from now on, whatever the calibrations say.
    pub(super) fn override_matrices(&mut self, cameras: &[CameraMatrices], lidar_aug: Matrix4) {
        self.given = Some((cameras.to_vec(), lidar_aug));
        self.is_stale = true;
    }

    /// Whether matrices were given from outside.
    pub(super) const fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// Builds from these ranks of frustum points from now on, to compare implementations closely.
    pub(super) fn override_ranks(&mut self, ranks: DeviceSlice<i32>) {
        self.ranks = Some(ranks);
        self.is_stale = true;
    }

    /// The set that fits the calibrations, built on `beside` if they are new; `main` goes on when it is
    /// built. `None` when the other set is still being built.
    pub(super) fn current(
        &mut self,
        main: &Stream,
        beside: &Stream,
        matrices: impl Iterator<Item = Option<CameraMatrices>>,
    ) -> Result<Option<u32>, DriverError> {
        let mut is_new = self.is_stale;
        for (known, matrices) in self.matrices.iter_mut().zip(matrices) {
            if matrices.is_some() && *known != matrices {
                *known = matrices;
                is_new = true;
            }
        }
        if is_new {
            // Until it is built the next frame tries again.
            self.is_stale = true;
            let next = 1 - self.current;
            if !self.built[next].has_happened()? {
                return Ok(None);
            }
            self.build(beside, next)?;
            main.wait(&self.built[next])?;
            (self.current, self.is_stale) = (next, false);
        }
        Ok(Some(self.current as u32))
    }

    fn build(&mut self, beside: &Stream, set: usize) -> Result<(), DriverError> {
        let tables = self
            .detector
            .as_ref()
            .and_then(|detector| detector.camera());
        let Some(tables) = tables.map(super::camera::CameraProgram::tables) else {
            return Ok(());
        };
        let fail = |error: crate::camera::CameraError| DriverError::Arguments {
            kernel: "view tables",
            problem: error.to_string(),
        };
        self.prepared.clear();
        let given = self.given.as_ref();
        for (camera, name) in self.names.iter().enumerate() {
            let given = given.and_then(|(cameras, _)| cameras.get(camera).copied());
            let matrices = given.or_else(|| self.matrices.get(camera).copied().flatten());
            // A camera without calibration adds nothing: any matrices do.
            let matrices = matrices.unwrap_or(CameraMatrices {
                image_from_camera: identity(),
                lidar_from_camera: identity(),
                image_from_lidar: identity(),
                augmentation: identity(),
            });
            self.prepared.push(matrices.prepare(name).map_err(fail)?);
        }
        let (forward, undo): (LidarAugmentation, LidarAugmentation) =
            lidar_augmentation(&given.map_or_else(identity, |(_, lidar)| *lidar)).map_err(fail)?;
        if let Some(record) = self.records[set].as_mut_slice().first_mut() {
            record.set(&self.prepared, &forward, &undo)?;
        }
        beside.wait(&self.used[set])?;
        self.enqueue(tables, beside, set)?;
        self.built[set].record(beside)
    }

    fn enqueue(&self, tables: &ViewTables, beside: &Stream, set: usize) -> Result<(), DriverError> {
        let record = &self.records[set];
        match &self.ranks {
            Some(ranks) => tables.build_from_ranks(beside, set, record, ranks),
            None => tables.build(beside, set, record),
        }
    }

    /// Behind a frame on `main` that used the current set.
    pub(super) fn used(&self, main: &Stream) -> Result<(), DriverError> {
        self.used[self.current].record(main)
    }
}
