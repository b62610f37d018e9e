//! Where the maps of a dense network lie on the device.
//!
//! A map is NHWC. The channels of a joined map are segments, one per part, each at a multiple of 16, so
//! that its convolution writes them in place; consumers are told which physical channel is which real one.

use bevfusion_kernels::driver::DeviceSlice;

/// Physical channels start and end at a multiple of this.
const SEGMENT: usize = 16;
/// A convolution reads channels in such groups.
const GROUP: usize = 32;

/// Real channels that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Physical place of the first.
    pub(super) first: usize,
    /// Real channels.
    pub(super) channels: usize,
}

/// Channels of a map as they lie in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) segments: Vec<Segment>,
}

impl Channels {
    /// `channels` real ones from the start.
    pub(super) fn plain(channels: usize) -> Self {
        Self {
            segments: vec![Segment { first: 0, channels }],
        }
    }

    /// The parts one after the other.
    pub(super) fn joined<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let (mut segments, mut first) = (Vec::new(), 0);
        for part in parts {
            segments.extend(part.segments.iter().map(|segment| Segment {
                first: first + segment.first,
                channels: segment.channels,
            }));
            first += part.written();
        }
        Self { segments }
    }

    /// Physical channels that producers write.
    pub(super) fn written(&self) -> usize {
        self.segments.last().map_or(0, |last| {
            last.first + last.channels.next_multiple_of(SEGMENT)
        })
    }

    /// Physical channels of a pixel.
    pub(super) fn pitch(&self) -> usize {
        self.written().next_multiple_of(GROUP)
    }

    /// Whether some physical channel is written by nobody and must be zero from the start.
    pub(super) fn has_gap(&self) -> bool {
        self.pitch() != self.written()
    }

    /// The real channel at each physical place of a pixel.
    pub(super) fn real(&self) -> Vec<Option<usize>> {
        let mut real = vec![None; self.pitch()];
        let mut next = 0;
        for segment in &self.segments {
            for place in &mut real[segment.first..segment.first + segment.channels] {
                *place = Some(next);
                next += 1;
            }
        }
        real
    }
}

/// A map on the device: NHWC, `[images, rows, columns, pitch]`.
#[derive(Clone, Debug)]
pub struct DenseMap {
    pub(super) half: Option<DeviceSlice<u16>>,
    pub(super) float: Option<DeviceSlice<f32>>,
    pub(super) images: usize,
    pub(super) size: [usize; 2],
    pub(super) channels: Channels,
    /// Elements of a pixel in memory.
    pub(super) pitch: usize,
    /// First physical channel in memory.
    pub(super) offset: usize,
}

impl DenseMap {
    /// The fp16 values; none for a map of float32.
    #[must_use]
    pub const fn half(&self) -> Option<&DeviceSlice<u16>> {
        self.half.as_ref()
    }

    /// The float32 values; none for a map of fp16.
    #[must_use]
    pub const fn float(&self) -> Option<&DeviceSlice<f32>> {
        self.float.as_ref()
    }

    /// Elements from one pixel to the next.
    #[must_use]
    pub const fn pitch(&self) -> usize {
        self.pitch
    }

    /// First element of a pixel that belongs to the map.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Rows, columns.
    #[must_use]
    pub const fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Real channels.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.segments.iter().map(|s| s.channels).sum()
    }

    /// Puts NHWC elements of this map into `[N, C, H, W]` order.
    #[must_use]
    pub fn to_planar<T: Copy>(&self, elements: &[T]) -> Vec<T> {
        let area = self.size[0] * self.size[1];
        let places: Vec<usize> = physical(&self.channels);
        let mut planar = Vec::with_capacity(self.images * places.len() * area);
        for image in 0..self.images {
            for place in &places {
                let first = image * area * self.pitch + self.offset + place;
                planar.extend((0..area).map(|pixel| elements[first + pixel * self.pitch]));
            }
        }
        planar
    }

    /// Puts `[N, C, H, W]` values into the map's elements.
    pub fn from_planar<T: Copy>(&self, planar: &[T], elements: &mut [T]) {
        let area = self.size[0] * self.size[1];
        let places: Vec<usize> = physical(&self.channels);
        for (index, plane) in planar.chunks_exact(area).enumerate() {
            let (image, channel) = (index / places.len(), index % places.len());
            let first = image * area * self.pitch + self.offset + places[channel];
            for (pixel, value) in plane.iter().enumerate() {
                elements[first + pixel * self.pitch] = *value;
            }
        }
    }
}

/// The physical place of each real channel.
fn physical(channels: &Channels) -> Vec<usize> {
    let places = channels.segments.iter();
    places
        .flat_map(|segment| segment.first..segment.first + segment.channels)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Channels, DenseMap};

    #[test]
    fn joined_channels_keep_their_order_and_stand_apart() {
        let parts = [Channels::plain(12), Channels::plain(32)];
        let joined = Channels::joined(parts.iter());
        assert_eq!(joined.written(), 48);
        assert_eq!(joined.pitch(), 64);
        let real = joined.real();
        assert_eq!(real[11], Some(11));
        assert_eq!(real[12], None);
        assert_eq!(real[16], Some(12));
        assert_eq!(real[47], Some(43));
        assert_eq!(real[48], None);
    }

    #[test]
    fn planar_values_come_back() {
        let parts = [Channels::plain(3), Channels::plain(2)];
        let map = DenseMap {
            half: None,
            float: None,
            images: 2,
            size: [2, 3],
            channels: Channels::joined(parts.iter()),
            pitch: 48,
            offset: 8,
        };
        let planar: Vec<i32> = (0..2 * 5 * 6).collect();
        let mut elements = vec![-1; 2 * 6 * 48];
        map.from_planar(&planar, &mut elements);
        assert_eq!(map.to_planar(&elements), planar);
    }
}
