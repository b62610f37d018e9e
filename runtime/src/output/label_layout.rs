//! Places for labels: the first proposed place that neither leaves the picture nor covers anything
//! that was placed before; a label without a place is left out.

/// An upright rectangle (px).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Area {
    pub(super) fn new([left, top]: [f32; 2], [width, height]: [f32; 2]) -> Self {
        Self {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }
    }

    /// The smallest area with all points; `None` without points.
    pub(super) fn around(points: &[[f32; 2]]) -> Option<Self> {
        let (first, rest) = points.split_first()?;
        let start = Self::new(*first, [0.0; 2]);
        Some(rest.iter().fold(start, |area, &[x, y]| Self {
            left: area.left.min(x),
            top: area.top.min(y),
            right: area.right.max(x),
            bottom: area.bottom.max(y),
        }))
    }

    pub(super) fn height(self) -> f32 {
        self.bottom - self.top
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn is_within(&self, other: &Self) -> bool {
        self.left >= other.left
            && self.right <= other.right
            && self.top >= other.top
            && self.bottom <= other.bottom
    }
}

/// What is taken so far.
#[derive(Debug)]
pub(super) struct Labels {
    bounds: Area,
    taken: Vec<Area>,
}

impl Labels {
    pub(super) fn new(bounds: Area) -> Self {
        Self {
            bounds,
            taken: Vec::new(),
        }
    }

    /// Keeps labels off `area`.
    pub(super) fn block(&mut self, area: Area) {
        self.taken.push(area);
    }

    /// Top left corner for a label of `size` beside `target`: right, above, left or below.
    pub(super) fn beside(&mut self, target: Area, size: [f32; 2], gap: f32) -> Option<[f32; 2]> {
        let [width, height] = size;
        let (x, y) = (
            0.5 * (target.left + target.right - width),
            0.5 * (target.top + target.bottom - height),
        );
        self.place(
            size,
            &[
                [target.right + gap, y],
                [x, target.top - gap - height],
                [target.left - gap - width, y],
                [x, target.bottom + gap],
            ],
        )
    }

    /// The first of `corners` at which a label of `size` fits; it is taken from then on.
    pub(super) fn place(&mut self, size: [f32; 2], corners: &[[f32; 2]]) -> Option<[f32; 2]> {
        let corner = *corners.iter().find(|&&corner| {
            let area = Area::new(corner, size);
            area.is_within(&self.bounds) && !self.taken.iter().any(|other| other.meets(&area))
        })?;
        self.block(Area::new(corner, size));
        Some(corner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, Labels};

    #[test]
    fn labels_move_aside_and_are_left_out_when_all_is_taken() {
        let mut labels = Labels::new(Area::new([0.0; 2], [100.0; 2]));
        let target = Area::new([40.0, 40.0], [20.0, 20.0]);
        labels.block(target);
        let places: Vec<_> = (0..5)
            .map(|_| labels.beside(target, [20.0, 10.0], 2.0))
            .collect();
        assert_eq!(
            places,
            [
                Some([62.0, 45.0]),
                Some([40.0, 28.0]),
                Some([18.0, 45.0]),
                Some([40.0, 62.0]),
                None
            ]
        );
    }

    #[test]
    fn a_label_stays_inside_the_picture() {
        let mut labels = Labels::new(Area::new([0.0; 2], [100.0; 2]));
        let corner = Area::new([90.0, 0.0], [10.0, 10.0]);
        assert_eq!(labels.beside(corner, [20.0, 10.0], 1.0), Some([69.0, 0.0]));
    }
}
