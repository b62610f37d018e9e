//! Text of pictures: two fonts that ship with the program, laid out on one line.

use ab_glyph::{Font, FontRef, Glyph, OutlinedGlyph, ScaleFont, point};

use super::OutputError;

/// Which font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// Titles.
    Sans,
    /// Numbers and labels: every digit has the same width.
    Mono,
}

/// The fonts, parsed.
#[derive(Debug)]
pub(super) struct Fonts {
    sans: FontRef<'static>,
    mono: FontRef<'static>,
}

impl Fonts {
    pub(super) fn load() -> Result<Self, OutputError> {
        let parse = |bytes| {
            FontRef::try_from_slice(bytes)
                .map_err(|error| OutputError::Picture(format!("the built-in font: {error}")))
        };
        Ok(Self {
            sans: parse(epaint_default_fonts::UBUNTU_LIGHT)?,
            mono: parse(epaint_default_fonts::HACK_REGULAR)?,
        })
    }

    /// Advance of the whole line (px) at `size` px.
    pub(super) fn width(&self, face: Face, size: f32, text: &str) -> f32 {
        self.glyphs(face, size, text).1
    }

    /// Outlines with the baseline's left end at `at` (px).
    pub(super) fn outlines(
        &self,
        face: Face,
        size: f32,
        at: [f32; 2],
        text: &str,
    ) -> Vec<OutlinedGlyph> {
        let font = self.font(face);
        let (glyphs, _) = self.glyphs(face, size, text);
        glyphs
            .into_iter()
            .filter_map(|mut glyph| {
                glyph.position.x += at[0];
                glyph.position.y += at[1];
                font.outline_glyph(glyph)
            })
            .collect()
    }

    fn font(&self, face: Face) -> &FontRef<'static> {
        match face {
            Face::Sans => &self.sans,
            Face::Mono => &self.mono,
        }
    }

    fn glyphs(&self, face: Face, size: f32, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font(face).as_scaled(size);
        let mut x = 0.0;
        let mut previous = None;
        let mut glyphs = Vec::with_capacity(text.len());
        for character in text.chars() {
            let id = font.glyph_id(character);
            x += previous.map_or(0.0, |before| font.kern(before, id));
            glyphs.push(id.with_scale_and_position(size, point(x, 0.0)));
            x += font.h_advance(id);
            previous = Some(id);
        }
        (glyphs, x)
    }
}

#[cfg(test)]
mod tests {
    use super::{Face, Fonts};

    #[test]
    fn digits_of_the_label_font_have_one_width() {
        let fonts = Fonts::load().expect("fonts");
        let width = |text: &str| fonts.width(Face::Mono, 16.0, text);
        assert!((width("1111") - width("0000")).abs() < 1e-3);
        assert!((width("11") * 2.0 - width("1111")).abs() < 1e-3);
    }

    #[test]
    fn outlines_start_at_the_baseline_and_grow_with_size() {
        let fonts = Fonts::load().expect("fonts");
        let height = |size| {
            let outlines = fonts.outlines(Face::Sans, size, [10.0, 50.0], "H");
            let bounds = outlines[0].px_bounds();
            assert!((bounds.max.y - 50.0).abs() <= 1.0 && bounds.min.x >= 10.0);
            bounds.max.y - bounds.min.y
        };
        assert!(height(40.0) > 1.8 * height(20.0));
    }
}
