//! Colours of pictures and recordings.
//!
//! Class colours keep apart under normal vision, protanopia and deuteranopia (least OKLab distance
//! 0.078 among the ten) and are light enough for a dark background. The map for heights is made in
//! OKLCh, so that equal steps look equal, and its lightness rises all the way.

/// The ten nuScenes classes; T4 models use five of the names.
const CLASS_COLORS: [(&str, [u8; 3]); 10] = [
    ("car", [0x62, 0xB6, 0xF7]),
    ("truck", [0xF2, 0xA0, 0x3D]),
    ("construction_vehicle", [0x91, 0x8A, 0x18]),
    ("bus", [0xF7, 0xE4, 0x63]),
    ("trailer", [0xA1, 0x7C, 0xFF]),
    ("barrier", [0x78, 0x8D, 0x96]),
    ("motorcycle", [0xFF, 0x7B, 0xD3]),
    ("bicycle", [0x6B, 0xAF, 0x91]),
    ("pedestrian", [0xFF, 0x5C, 0x5C]),
    ("traffic_cone", [0xFF, 0xC9, 0xB0]),
];

/// sRGB colour of a class: by its name, in any case, or by its label for other names.
#[must_use]
pub fn class_color(name: &str, label: u32) -> [u8; 3] {
    CLASS_COLORS
        .iter()
        .find(|(class, _)| name.eq_ignore_ascii_case(class))
        .or_else(|| {
            let index = usize::try_from(label).unwrap_or(0) % CLASS_COLORS.len();
            CLASS_COLORS.get(index)
        })
        .map_or(TEXT.rgb, |&(_, color)| color)
}

/// Half way to the text colour: what is written about a class.
pub(super) fn lighter(rgb: [u8; 3]) -> [u8; 3] {
    std::array::from_fn(|channel| rgb[channel].midpoint(TEXT.rgb[channel]))
}

/// A colour and how much of it covers what lies below (0..=1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    pub(super) rgb: [u8; 3],
    pub(super) alpha: f32,
}

impl Ink {
    pub(super) const fn solid(rgb: [u8; 3]) -> Self {
        Self { rgb, alpha: 1.0 }
    }

    pub(super) const fn with_alpha(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }
}

/// Behind everything.
pub(super) const BACKGROUND: Ink = Ink::solid([0x0E, 0x11, 0x16]);
/// Behind titles and legends.
pub(super) const PANEL: Ink = Ink {
    rgb: [0x15, 0x1A, 0x21],
    alpha: 0.92,
};
/// Edge of panels.
pub(super) const PANEL_EDGE: Ink = Ink::solid([0x2B, 0x33, 0x3D]);
/// Range rings and axes.
pub(super) const GRID: Ink = Ink {
    rgb: [0x8A, 0x99, 0xAA],
    alpha: 0.30,
};
/// Main text.
pub(super) const TEXT: Ink = Ink::solid([0xE8, 0xED, 0xF2]);
/// Secondary text.
pub(super) const TEXT_DIM: Ink = Ink::solid([0x93, 0xA1, 0xB0]);
/// Ground truth.
pub(super) const GROUND_TRUTH: Ink = Ink::solid([0xFF, 0xFF, 0xFF]);
/// The vehicle itself.
pub(super) const EGO: Ink = Ink::solid([0xE8, 0xED, 0xF2]);
/// On and off lengths of ground-truth dashes, in line widths.
pub(super) const DASH: [f32; 2] = [4.0, 3.0];

/// 256 colours from low to high.
#[derive(Clone, Debug)]
pub(super) struct ColorMap {
    colors: Vec<[u8; 3]>,
}

impl ColorMap {
    /// Dark violet over teal to light yellow.
    pub(super) fn new() -> Self {
        const LAST: u8 = u8::MAX;
        let colors = (0..=LAST)
            .map(|i| {
                let t = f32::from(i) / f32::from(LAST);
                oklch(0.36 + 0.54 * t, 0.10 + 0.02 * t, 290.0 - 190.0 * t)
            })
            .collect();
        Self { colors }
    }

    /// Colour at `t`; values outside 0..=1 take the ends, NaN the lower one.
    pub(super) fn at(&self, t: f32) -> [u8; 3] {
        let last = self.colors.len().saturating_sub(1);
        // A float to integer cast saturates and sends NaN to zero.
        let index = (t * last as f32).round() as usize;
        self.colors.get(index.min(last)).copied().unwrap_or([0; 3])
    }
}

/// OKLCh to sRGB; `hue` in degrees. Channels beyond the gamut are cut.
fn oklch(lightness: f32, chroma: f32, hue_deg: f32) -> [u8; 3] {
    let (sin, cos) = hue_deg.to_radians().sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
        -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    linear.map(|value| {
        let gamma = if value <= 0.003_130_8 {
            12.92 * value
        } else {
            1.055 * value.powf(1.0 / 2.4) - 0.055
        };
        (gamma.clamp(0.0, 1.0) * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::{CLASS_COLORS, ColorMap, class_color};

    fn luminance([r, g, b]: [u8; 3]) -> f32 {
        let linear = |v: u8| (f32::from(v) / 255.0).powf(2.2);
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn the_colour_map_brightens_from_end_to_end() {
        let map = ColorMap::new();
        let steps: Vec<_> = (0..=32)
            .map(|i| luminance(map.at(i as f32 / 32.0)))
            .collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{steps:?}");
    }

    #[test]
    fn values_outside_the_range_take_the_ends() {
        let map = ColorMap::new();
        assert_eq!(map.at(-3.0), map.at(0.0));
        assert_eq!(map.at(f32::NAN), map.at(0.0));
        assert_eq!(map.at(f32::INFINITY), map.at(1.0));
        assert_ne!(map.at(0.0), map.at(1.0));
    }

    #[test]
    fn every_class_has_its_own_colour_in_any_case() {
        for (i, (name, color)) in CLASS_COLORS.iter().enumerate() {
            assert_eq!(class_color(&name.to_uppercase(), 99), *color);
            assert!(CLASS_COLORS[..i].iter().all(|(_, other)| other != color));
        }
        assert_eq!(class_color("tram", 1), class_color("truck", 0));
    }
}
