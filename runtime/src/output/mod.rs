//! What comes out: boxes, and the forms in which people and tools look at them.
//!
//! [`Detection`] is the result itself. [`FrameView`] lends one frame with its result to the writers:
//! a table, JSON, nuScenes result files, pictures and MCAP recordings. A file appears under its name
//! only when it is complete.

#[cfg(feature = "cli")]
mod axis;
#[cfg(feature = "cli")]
mod base64;
#[cfg(feature = "cli")]
mod bev_furniture;
#[cfg(feature = "cli")]
mod bev_picture;
#[cfg(feature = "cli")]
mod canvas;
#[cfg(feature = "cli")]
mod chart;
#[cfg(feature = "cli")]
mod contact_sheet;
mod detection;
mod error;
mod file;
#[cfg(feature = "cli")]
mod foxglove;
#[cfg(feature = "cli")]
mod foxglove_schema;
mod frame_view;
mod json;
#[cfg(feature = "cli")]
mod label_layout;
#[cfg(feature = "cli")]
mod latency_plot;
#[cfg(feature = "cli")]
mod mcap_file;
mod nuscenes_json;
mod nuscenes_merge;
#[cfg(feature = "cli")]
mod projection;
mod rotation;
#[cfg(feature = "cli")]
mod style;
mod table;
#[cfg(feature = "cli")]
mod text;
#[cfg(feature = "cli")]
mod timeline;
#[cfg(feature = "cli")]
mod timeline_plot;

#[cfg(feature = "cli")]
pub use bev_picture::{BevOptions, ForwardAxis, PointColor, draw_bev};
#[cfg(feature = "cli")]
pub use canvas::write_png;
#[cfg(feature = "cli")]
pub(crate) use chart::Format as ChartFormat;
#[cfg(feature = "cli")]
pub use contact_sheet::{SheetOptions, draw_contact_sheet};
pub use detection::Detection;
pub use error::OutputError;
pub use frame_view::FrameView;
#[cfg(feature = "cli")]
pub(crate) use json::write_json;
pub use json::{FrameResult, write_frame_json};
#[cfg(feature = "cli")]
pub(crate) use latency_plot::LatencyPlot;
#[cfg(feature = "cli")]
pub use mcap_file::{FrameStamp, Recording, RecordingOptions};
pub use nuscenes_json::{Modality, NuscenesWriter};
pub use nuscenes_merge::{MergeReport, merge_nuscenes};
#[cfg(feature = "cli")]
pub use projection::project_box;
#[cfg(feature = "cli")]
pub use style::class_color;
pub use table::detection_table;
#[cfg(feature = "cli")]
pub(crate) use timeline::interval_length;
#[cfg(feature = "cli")]
pub use timeline::{Lane, Timeline, lane_of, median_place, micro};
#[cfg(feature = "cli")]
pub use timeline_plot::TimelinePlot;
