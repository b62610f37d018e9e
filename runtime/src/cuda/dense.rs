//! A dense graph as a program of convolutions and resizings on the device.
//!
//! [`DenseProgram::new`] fuses the graph, lays out its maps and packs its weights; [`enqueue`] only launches.
//! Memory of maps that nobody reads any more is used again.
//!
//! [`enqueue`]: DenseProgram::enqueue

use std::collections::BTreeMap;

use bevfusion_kernels::cuda::dense_conv::{DenseConv, DenseConvKernels};
use bevfusion_kernels::cuda::upsample::Upsample;
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};

use super::fuse::{Fused, FusedStep, fuse};
use super::layout::{Channels, DenseMap};
use super::pool::MapMemory;
use super::steps::{Steps, shape_of};
use crate::engine::EngineError;
use crate::graph::{Graph, ValueId};

/// What a program is asked for besides the graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenseRequest<'a> {
    /// Names of outputs that are kept in float32.
    pub float_outputs: &'a [&'a str],
    /// Names of outputs and the channels that a pixel has at least, zeros beyond the real ones.
    pub least_pitch: &'a [(&'a str, usize)],
    /// Inputs and outputs by name that lie in maps of the caller, for example where another program reads.
    pub given: &'a [(&'a str, &'a DenseMap)],
    /// Memory shared with networks that do not run at the same time; absent: its own.
    pub memory: Option<&'a MapMemory>,
}

/// A launch.
#[derive(Clone, Debug)]
enum Step {
    Conv(DenseConv),
    Resize(Upsample),
}

/// A dense network, ready to be enqueued.
#[derive(Clone, Debug)]
pub struct DenseProgram {
    steps: Vec<Step>,
    inputs: Vec<DenseMap>,
    outputs: Vec<DenseMap>,
}

impl DenseProgram {
    /// Plans `graph`.
    ///
    /// # Errors
    /// When the graph holds what the engine does not run, or the GPU refuses.
    pub fn new(
        kernels: &DenseConvKernels,
        arena: &DeviceArena,
        graph: &Graph,
        request: DenseRequest<'_>,
    ) -> Result<Self, EngineError> {
        let fail = |problem: String| EngineError::Load {
            engine: super::NAME,
            network: graph.name.clone(),
            problem,
        };
        let fused = fuse(graph).map_err(|error| fail(error.to_string()))?;
        let own = MapMemory::default();
        let memory = request.memory.unwrap_or(&own);
        let mut planner = Planner::new(graph, &fused, arena, (request, memory));
        planner.take_given().map_err(fail)?;
        planner.plan().map_err(|error| fail(error.to_string()))?;
        let mut steps = Vec::with_capacity(fused.steps.len());
        for (index, step) in fused.steps.iter().enumerate() {
            let made = match step {
                FusedStep::Conv(conv) => planner.steps().conv(kernels, index, conv).map(Step::Conv),
                FusedStep::Resize { input, output } => planner
                    .steps()
                    .resize(index, *input, *output)
                    .map(Step::Resize),
            };
            steps.push(made.map_err(|error| fail(error.to_string()))?);
        }
        let maps = |ports: &[crate::graph::Port]| {
            let found = ports
                .iter()
                .map(|port| planner.maps.get(&port.value).cloned());
            let found: Option<Vec<DenseMap>> = found.collect();
            found.ok_or_else(|| fail("an input or output is no map of the network".to_owned()))
        };
        Ok(Self {
            inputs: maps(&graph.inputs)?,
            outputs: maps(&graph.outputs)?,
            steps,
        })
    }

    /// Maps that the caller fills, in the graph's order.
    #[must_use]
    pub fn inputs(&self) -> &[DenseMap] {
        &self.inputs
    }

    /// Maps that a run fills, in the graph's order.
    #[must_use]
    pub fn outputs(&self) -> &[DenseMap] {
        &self.outputs
    }

    /// Enqueues one run.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Conv(conv) => conv.enqueue(stream),
            Step::Resize(resize) => resize.enqueue(stream),
        })
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    fused: &'a Fused,
    arena: &'a DeviceArena,
    request: DenseRequest<'a>,
    maps: BTreeMap<ValueId, DenseMap>,
    memory: &'a MapMemory,
}

impl<'a> Planner<'a> {
    fn new(
        graph: &'a Graph,
        fused: &'a Fused,
        arena: &'a DeviceArena,
        (request, memory): (DenseRequest<'a>, &'a MapMemory),
    ) -> Self {
        Self {
            graph,
            fused,
            arena,
            request,
            maps: BTreeMap::new(),
            memory,
        }
    }

    fn steps(&self) -> Steps<'_> {
        Steps {
            graph: self.graph,
            arena: self.arena,
            maps: &self.maps,
        }
    }

    /// The caller's maps, which must have the extents of their ports.
    fn take_given(&mut self) -> Result<(), String> {
        for (name, map) in self.request.given {
            let graph = self.graph;
            let mut ports = graph.inputs.iter().chain(&graph.outputs);
            let port = ports.find(|port| port.name == *name);
            let port = port.ok_or_else(|| format!("there is no input or output {name:?}"))?;
            let [images, channels, rows, columns] = self.shape(port.value);
            // A part of a join has to be written where the other parts lie.
            let mut joins = self.fused.joins.iter();
            let joined = joins.any(|join| join.parts.contains(&port.value));
            let same = map.images == images && map.size == [rows, columns];
            if !same || joined || map.channel_count() != channels {
                return Err(format!("{name:?} is another map"));
            }
            self.maps.insert(port.value, (*map).clone());
        }
        Ok(())
    }

    /// Gives every map a place: joined maps and the caller's own first, then the others in order, in
    /// memory that has become free.
    fn plan(&mut self) -> Result<(), DriverError> {
        for join in self.fused.joins.iter().rev() {
            self.place_join(&join.parts, join.output)?;
        }
        let graph = self.graph;
        for port in graph.inputs.iter().chain(&graph.outputs) {
            let is_float = self.request.float_outputs.contains(&port.name.as_str());
            if !self.maps.contains_key(&port.value) {
                let least = self.request.least_pitch.iter();
                let least = least
                    .filter(|(name, _)| *name == port.name)
                    .map(|(_, pitch)| *pitch);
                let map = self.own(port.value, is_float, least.max().unwrap_or(0))?;
                self.maps.insert(port.value, map);
            }
        }
        for (index, step) in self.fused.steps.iter().enumerate() {
            let output = step.output();
            if !self.maps.contains_key(&output) {
                let map = self.reused(output)?;
                self.maps.insert(output, map);
            }
            self.release(index, step);
        }
        Ok(())
    }

    fn place_join(&mut self, parts: &[ValueId], output: ValueId) -> Result<(), DriverError> {
        let channels: Vec<Channels> = parts.iter().map(|part| self.channels(*part)).collect();
        let whole = match self.maps.get(&output) {
            Some(map) => map.clone(),
            None => self.private(output, Channels::joined(channels.iter()))?,
        };
        let mut offset = whole.offset;
        for (part, channels) in parts.iter().zip(channels) {
            let written = channels.written();
            let map = DenseMap {
                channels,
                offset,
                ..whole.clone()
            };
            self.maps.insert(*part, map);
            offset += written;
        }
        self.maps.insert(output, whole);
        Ok(())
    }

    /// Channels of a value: those of its parts where it is joined.
    fn channels(&self, id: ValueId) -> Channels {
        let join = self.fused.joins.iter().find(|join| join.output == id);
        match join {
            Some(join) => {
                let parts: Vec<Channels> =
                    join.parts.iter().map(|part| self.channels(*part)).collect();
                Channels::joined(parts.iter())
            }
            None => Channels::plain(self.graph.value(id).shape.get(1).copied().unwrap_or(0)),
        }
    }

    fn shape(&self, id: ValueId) -> [usize; 4] {
        shape_of(self.graph, id)
    }

    fn private(&self, id: ValueId, channels: Channels) -> Result<DenseMap, DriverError> {
        self.with_pitch(id, channels, 0)
    }

    fn with_pitch(
        &self,
        id: ValueId,
        channels: Channels,
        least: usize,
    ) -> Result<DenseMap, DriverError> {
        let [images, _, rows, columns] = self.shape(id);
        let pitch = channels.pitch().max(least);
        let len = images * rows * columns * pitch;
        Ok(DenseMap {
            half: Some(self.arena.take_zeroed("dense map", len)?),
            float: None,
            images,
            size: [rows, columns],
            channels,
            pitch,
            offset: 0,
        })
    }

    fn own(
        &self,
        id: ValueId,
        is_float: bool,
        least_pitch: usize,
    ) -> Result<DenseMap, DriverError> {
        let channels = self.channels(id);
        if !is_float {
            return self.with_pitch(id, channels, least_pitch);
        }
        let [images, _, rows, columns] = self.shape(id);
        let pitch = channels.written();
        let len = images * rows * columns * pitch;
        Ok(DenseMap {
            half: None,
            float: Some(self.arena.take_zeroed("dense output", len)?),
            images,
            size: [rows, columns],
            channels,
            pitch,
            offset: 0,
        })
    }

    /// A map in memory that nobody needs any more, or in new memory.
    fn reused(&mut self, id: ValueId) -> Result<DenseMap, DriverError> {
        let channels = self.channels(id);
        if channels.has_gap() {
            return self.private(id, channels);
        }
        let [images, _, rows, columns] = self.shape(id);
        let len = images * rows * columns * channels.pitch();
        let memory = self.memory.take(self.arena, len)?;
        Ok(DenseMap {
            half: Some(memory),
            float: None,
            images,
            size: [rows, columns],
            pitch: channels.pitch(),
            channels,
            offset: 0,
        })
    }

    /// Frees the input of step `index` when no later step, join or output reads it.
    fn release(&mut self, index: usize, step: &FusedStep) {
        for id in step.reads() {
            let later = self.fused.steps[index + 1..]
                .iter()
                .any(|other| other.reads().any(|read| read == id));
            let joined = self.fused.joins.iter().any(|join| join.parts.contains(&id));
            let is_join = self.fused.joins.iter().any(|join| join.output == id);
            let ports = self.graph.inputs.iter().chain(&self.graph.outputs);
            let outside = ports.into_iter().any(|port| port.value == id);
            let map = self.maps.get(&id);
            let gap = map.is_none_or(|map| map.channels.has_gap());
            if later || joined || is_join || outside || gap {
                continue;
            }
            if let Some(memory) = map.and_then(|map| map.half.clone()) {
                self.memory.give(memory);
            }
        }
    }
}
