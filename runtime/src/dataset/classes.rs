//! Which class of a network a dataset's category is.
//!
//! Sources: the nuScenes detection challenge (ten classes); AWML's `name_mapping` and
//! `filter_attributes` for T4 (five classes).

use super::layout::Layout;

/// The ten classes of the nuScenes detection challenge.
pub const NUSCENES_CLASSES: [&str; 10] = [
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
];

/// The five classes of the T4 networks.
pub const T4_CLASSES: [&str; 5] = ["car", "truck", "bus", "bicycle", "pedestrian"];

/// Attributes with which a T4 bicycle or motorcycle has no rider.
const RIDERLESS: [&str; 3] = [
    "vehicle_state.parked",
    "cycle_state.without_rider",
    "motorcycle_state.without_rider",
];

/// The class of a category with these attributes; `None` for what no network is trained to find.
pub(super) fn class_of(
    layout: Layout,
    category: &str,
    attributes: &[String],
) -> Option<&'static str> {
    match layout {
        Layout::Nuscenes => nuscenes_class(category),
        Layout::T4 => {
            let parked = || attributes.iter().any(|a| RIDERLESS.contains(&a.as_str()));
            t4_class(category).filter(|class| *class != "bicycle" || !parked())
        }
    }
}

fn nuscenes_class(category: &str) -> Option<&'static str> {
    Some(match category {
        "vehicle.car" => "car",
        "vehicle.truck" => "truck",
        "vehicle.construction" => "construction_vehicle",
        "vehicle.bus.bendy" | "vehicle.bus.rigid" => "bus",
        "vehicle.trailer" => "trailer",
        "movable_object.barrier" => "barrier",
        "vehicle.motorcycle" => "motorcycle",
        "vehicle.bicycle" => "bicycle",
        "human.pedestrian.adult"
        | "human.pedestrian.child"
        | "human.pedestrian.construction_worker"
        | "human.pedestrian.police_officer" => "pedestrian",
        "movable_object.trafficcone" => "traffic_cone",
        _ => return None,
    })
}

/// Trailers have no class of their own: AWML merges them with their truck or ignores them.
fn t4_class(category: &str) -> Option<&'static str> {
    Some(match category {
        "car"
        | "vehicle.car"
        | "vehicle.emergency (ambulance & police)"
        | "ambulance"
        | "vehicle.ambulance"
        | "police_car"
        | "vehicle.police"
        | "forklift"
        | "kart" => "car",
        "truck"
        | "vehicle.truck"
        | "construction_vehicle"
        | "vehicle.construction"
        | "fire_truck"
        | "vehicle.fire"
        | "tractor_unit" => "truck",
        "bus" | "vehicle.bus" | "vehicle.bus (bendy & rigid)" => "bus",
        "bicycle" | "vehicle.bicycle" | "motorcycle" | "vehicle.motorcycle" => "bicycle",
        "pedestrian"
        | "pedestrian.adult"
        | "pedestrian.child"
        | "construction_worker"
        | "pedestrian.construction_worker"
        | "personal_mobility"
        | "pedestrian.personal_mobility"
        | "police_officer"
        | "pedestrian.police_officer"
        | "stroller"
        | "pedestrian.stroller"
        | "wheelchair"
        | "pedestrian.wheelchair" => "pedestrian",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Layout, class_of};

    #[test]
    fn nuscenes_categories_outside_the_challenge_have_no_class() {
        let class = |category| class_of(Layout::Nuscenes, category, &[]);
        assert_eq!(class("vehicle.bus.bendy"), Some("bus"));
        assert_eq!(class("human.pedestrian.stroller"), None);
        assert_eq!(class("vehicle.emergency.police"), None);
        assert_eq!(class("static_object.bicycle_rack"), None);
    }

    #[test]
    fn a_t4_bicycle_counts_only_with_its_rider() {
        let class = |category, attribute: &str| class_of(Layout::T4, category, &[attribute.into()]);
        assert_eq!(
            class("motorcycle", "cycle_state.with_rider"),
            Some("bicycle")
        );
        assert_eq!(class("motorcycle", "motorcycle_state.without_rider"), None);
        assert_eq!(class("vehicle.bicycle", "vehicle_state.parked"), None);
        assert_eq!(class("car", "vehicle_state.parked"), Some("car"));
        assert_eq!(class("semi_trailer", ""), None);
    }
}
