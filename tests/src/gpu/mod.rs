//! What the kernels compute on a GPU, held against the CPU twins.

pub mod cameras;
pub mod conv;
pub mod head;
pub mod image;
pub mod model;
pub mod points;
pub mod presets;
mod random;
pub mod stages;
pub mod steady;
pub mod swin;
pub mod timing;
pub mod view;
