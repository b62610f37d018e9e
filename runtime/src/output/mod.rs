//! What comes out: boxes, and the forms in which people look at them.

mod detection;

pub use detection::Detection;
