//! Bilinear resizing in double precision, pixel centres at half integers (`align_corners = False`).

/// Map `[images, rows, columns, channels]` → the same of another size.
#[must_use]
pub fn upsample(map: &[f32], from: [usize; 2], to: [usize; 2], channels: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for image in map.chunks_exact((from[0] * from[1] * channels).max(1)) {
        let at = |row: usize, column: usize, channel: usize| {
            f64::from(image[(row * from[1] + column) * channels + channel])
        };
        for pixel in 0..to[0] * to[1] {
            let rows = between(pixel / to[1], from[0], to[0]);
            let columns = between(pixel % to[1], from[1], to[1]);
            out.extend((0..channels).map(|channel| {
                let along = |row: usize| columns.mix(|column| at(row, column, channel));
                rows.mix(along) as f32
            }));
        }
    }
    out
}

/// Two neighbouring places along an axis and the weight of the second.
struct Between {
    places: [usize; 2],
    weight: f64,
}

impl Between {
    fn mix(&self, value: impl Fn(usize) -> f64) -> f64 {
        let [first, second] = self.places.map(value);
        (1.0 - self.weight) * first + self.weight * second
    }
}

fn between(to: usize, from: usize, extent: usize) -> Between {
    let at = ((to as f64 + 0.5) * from as f64 / extent as f64 - 0.5).max(0.0);
    let first = (at as usize).min(from - 1);
    Between {
        places: [first, (first + 1).min(from - 1)],
        weight: at - first as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::upsample;

    #[test]
    fn twice_the_size_mixes_quarters() {
        let out = upsample(&[0.0, 4.0], [1, 2], [1, 4], 1);
        assert_eq!(out, [0.0, 1.0, 3.0, 4.0]);
        let rows = upsample(&[0.0, 4.0], [2, 1], [4, 1], 1);
        assert_eq!(rows, out);
    }

    #[test]
    fn the_same_size_is_the_same_map() {
        let map: Vec<f32> = (0..24).map(|i| i as f32).collect();
        assert_eq!(upsample(&map, [2, 3], [2, 3], 4), map);
    }
}
