//! The model variants that ship with the library.

/// Names of the shipped models.
pub const PRESETS: [&str; 7] = [
    "nuscenes_L",
    "nuscenes_CL",
    "t4_L",
    "t4_L_intensity",
    "t4_CL",
    "t4_C",
    "t4_L_offline",
];

/// TOML of a shipped model.
pub(super) fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "nuscenes_L" => include_str!("models/nuscenes_L.toml"),
        "nuscenes_CL" => include_str!("models/nuscenes_CL.toml"),
        "t4_L" => include_str!("models/t4_L.toml"),
        "t4_L_intensity" => include_str!("models/t4_L_intensity.toml"),
        "t4_CL" => include_str!("models/t4_CL.toml"),
        "t4_C" => include_str!("models/t4_C.toml"),
        "t4_L_offline" => include_str!("models/t4_L_offline.toml"),
        _ => return None,
    })
}
