//! Pictures and result files as a user sees them: the right colour at the right place, and messages
//! that say what to do.

use std::path::Path;

use bevfusion::geometry::{CameraCalibration, Transform};
use bevfusion::input::{CameraFrame, Frame, PointCloud, RgbImage};
use bevfusion::output::{
    BevOptions, Detection, ForwardAxis, FrameResult, FrameView, OutputError, SheetOptions,
    class_color, draw_bev, draw_contact_sheet, project_box, write_frame_json,
};

const SIZE_PX: u32 = 1400;
const RANGE_M: f32 = 50.0;

fn options() -> BevOptions {
    BevOptions {
        size_px: SIZE_PX,
        range_m: RANGE_M,
        ..BevOptions::default()
    }
}

fn names() -> Vec<String> {
    ["car", "pedestrian"].map(str::to_owned).to_vec()
}

/// A standing car ahead to the right that faces +x; y is ahead.
fn car() -> Detection {
    Detection {
        bottom_center: [20.0, 15.0, -1.0],
        size: [8.0, 4.0, 2.0],
        yaw: 0.0,
        velocity: [0.0, 0.0],
        score: 1.0,
        label: 0,
    }
}

#[expect(
    clippy::expect_used,
    reason = "a helper of tests; a failure is the test's"
)]
fn draw(boxes: &[Detection], truth: &[Detection], options: &BevOptions) -> RgbImage {
    let (frame, names) = (Frame::default(), names());
    let view = FrameView::new(("f0", &frame), ("tiny", &names), boxes, truth);
    draw_bev(&view, options).expect("picture")
}

fn pixel(image: &RgbImage, [x, y]: [usize; 2]) -> [u8; 3] {
    let start = (y * image.width + x) * 3;
    [0, 1, 2].map(|channel| image.pixels[start + channel])
}

/// Pixel of a place x to the right, y ahead (m).
fn at([x, y]: [f32; 2]) -> [usize; 2] {
    let (middle, scale) = (SIZE_PX as f32 / 2.0, SIZE_PX as f32 / (2.0 * RANGE_M));
    [middle + scale * x, middle - scale * y].map(|v| v as usize)
}

fn gap(a: [u8; 3], b: [u8; 3]) -> u8 {
    a.iter()
        .zip(&b)
        .map(|(x, y)| x.abs_diff(*y))
        .max()
        .unwrap_or(0)
}

#[test]
fn a_box_has_the_colour_of_its_class_inside_and_nothing_ten_metres_away() {
    let empty = draw(&[], &[], &options());
    for label in [0, 1] {
        let picture = draw(&[Detection { label, ..car() }], &[], &options());
        let color = class_color(&names()[label as usize], label);
        // The heading line runs from the centre to the front at +x.
        assert!(gap(pixel(&picture, at([21.0, 15.0])), color) < 40);
        // Behind the centre there is only the translucent filling.
        let behind = pixel(&picture, at([17.0, 15.0]));
        assert_ne!(behind, pixel(&empty, at([17.0, 15.0])));
        let strongest = |c: [u8; 3]| (0..3).max_by_key(|&i| c[i]);
        assert_eq!(strongest(behind), strongest(color), "{behind:?} {color:?}");
        for aside in [[32.0, 15.0], [20.0, 25.0], [20.0, 5.0]] {
            assert_eq!(pixel(&picture, at(aside)), pixel(&empty, at(aside)));
        }
    }
}

#[test]
fn the_front_edge_is_thicker_than_the_rear_edge() {
    let picture = draw(&[car()], &[], &options());
    let color = class_color("car", 0);
    let width = |x: f32| {
        let [column, row] = at([x, 16.2]);
        (column - 6..column + 6)
            .filter(|&column| gap(pixel(&picture, [column, row]), color) < 60)
            .count()
    };
    assert!(width(24.0) > width(16.0), "{} {}", width(24.0), width(16.0));
}

#[test]
fn ground_truth_is_a_dashed_white_outline_that_can_be_left_out() {
    let truth = [car()];
    let shown = draw(&[], &truth, &options());
    let hidden_options = BevOptions {
        show_ground_truth: false,
        ..options()
    };
    let hidden = draw(&[], &truth, &hidden_options);
    let whites = |image: &RgbImage| {
        let ([left, row], [right, _]) = (at([16.0, 17.0]), at([24.0, 17.0]));
        let on_line = |column| (row - 1..=row + 1).any(|row| pixel(image, [column, row])[0] > 110);
        (left..right).filter(|&column| on_line(column)).count()
    };
    let length = 8 * 14;
    assert!(
        (length / 3..length).contains(&whites(&shown)),
        "{}",
        whites(&shown)
    );
    assert_eq!(whites(&hidden), 0);
}

#[test]
fn an_arrow_shows_the_way_of_one_second() {
    let moving = Detection {
        velocity: [0.0, 9.0],
        ..car()
    };
    let (still, moving) = (
        draw(&[car()], &[], &options()),
        draw(&[moving], &[], &options()),
    );
    for ahead in [19.0, 23.0] {
        let place = at([20.0, ahead]);
        assert!(gap(pixel(&moving, place), class_color("car", 0)) < 40);
        assert!(gap(pixel(&still, place), class_color("car", 0)) > 90);
    }
    assert_eq!(
        pixel(&moving, at([20.0, 26.0])),
        pixel(&still, at([20.0, 26.0]))
    );
}

#[test]
fn boxes_below_the_threshold_and_out_of_range_leave_no_trace() {
    let weak = Detection {
        score: 0.05,
        ..car()
    };
    let far = Detection {
        bottom_center: [51.0, 0.0, 0.0],
        ..car()
    };
    let broken = Detection {
        bottom_center: [f32::NAN; 3],
        ..car()
    };
    let picture = draw(&[weak, far, broken], &[], &options());
    assert!(picture == draw(&[], &[], &options()));
}

#[test]
fn the_front_is_up_whichever_axis_points_ahead() {
    // The same place: x right, y ahead; and x ahead, y left.
    let turned = Detection {
        bottom_center: [15.0, -20.0, -1.0],
        yaw: -std::f32::consts::FRAC_PI_2,
        ..car()
    };
    let forward = BevOptions {
        forward: ForwardAxis::X,
        ..options()
    };
    let (a, b) = (
        draw(&[car()], &[], &options()),
        draw(&[turned], &[], &forward),
    );
    // The axes' names differ, and the origin is elsewhere in the vehicle.
    let axes = 1200..1400;
    let axes = |[x, y]: [usize; 2]| axes.contains(&x) && y < 140;
    let vehicle = |[x, y]: [usize; 2]| (670..730).contains(&x) && (620..760).contains(&y);
    let differ = |[x, y]: [usize; 2]| gap(pixel(&a, [x, y]), pixel(&b, [x, y])) > 2;
    let other = (0..1400)
        .flat_map(|y| (0..1400).map(move |x| [x, y]))
        .filter(|&[x, y]| !axes([x, y]) && !vehicle([x, y]))
        .filter(|&place| differ(place))
        .count();
    assert_eq!(other, 0);
}

#[test]
fn points_are_where_they_were_measured_and_high_ones_are_brighter() {
    let mut frame = Frame {
        points: PointCloud {
            values: Vec::new(),
            columns: 5,
        },
        ..Frame::default()
    };
    for (x, z) in [(-20.0, -2.0), (-30.0, 4.0)] {
        for step in 0_u8..100 {
            let y = 14.0 + 0.02 * f32::from(step);
            frame.points.values.extend([x, y, z, 0.0, 0.0]);
        }
    }
    frame
        .points
        .values
        .extend([f32::NAN, 1.0, f32::NAN, 0.0, 0.0]);
    let names = names();
    let view = FrameView::new(("f0", &frame), ("tiny", &names), &[], &[]);
    let picture = draw_bev(&view, &options()).expect("picture");
    let empty = draw(&[], &[], &options());
    let light = |place| {
        pixel(&picture, at(place))
            .iter()
            .map(|&v| u32::from(v))
            .sum::<u32>()
    };
    let dark = pixel(&empty, at([-25.0, 15.0]))
        .iter()
        .map(|&v| u32::from(v))
        .sum::<u32>();
    assert_eq!(light([-25.0, 15.0]), dark);
    assert!(light([-20.0, 15.0]) > dark + 40);
    assert!(light([-30.0, 15.0]) > light([-20.0, 15.0]) + 100);
}

#[test]
fn options_that_make_no_picture_are_refused_with_the_limits() {
    let (frame, names) = (Frame::default(), names());
    let view = FrameView::new(("f0", &frame), ("tiny", &names), &[], &[]);
    let message = |options: BevOptions| draw_bev(&view, &options).expect_err("refused").to_string();
    let range = message(BevOptions {
        range_m: f32::NAN,
        ..options()
    });
    assert!(
        range.contains("range NaN m; expected a positive length"),
        "{range}"
    );
    let size = message(BevOptions {
        size_px: 100_000,
        ..options()
    });
    assert!(size.contains("each edge must be 1 to 16384 px"), "{size}");
    let sheet = draw_contact_sheet(&view, &SheetOptions::default()).expect_err("refused");
    assert!(
        sheet.to_string().contains("the frame has no camera"),
        "{sheet}"
    );
}

fn camera(name: &str, has_image: bool) -> CameraFrame {
    let (width, height) = (400, 225);
    CameraFrame {
        name: name.to_owned(),
        image: has_image.then(|| RgbImage {
            width,
            height,
            pixels: vec![70; width * height * 3],
        }),
        calibration: CameraCalibration {
            image_from_camera: [[300.0, 0.0, 200.0], [0.0, 300.0, 112.0], [0.0, 0.0, 1.0]],
            camera_from_lidar: Transform::new(
                [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]],
                [0.0; 3],
            ),
        },
        stamp_ns: None,
    }
}

#[test]
fn the_contact_sheet_draws_a_box_where_the_camera_sees_it() {
    let found = Detection {
        bottom_center: [0.0, 15.0, -1.0],
        yaw: std::f32::consts::FRAC_PI_2,
        ..car()
    };
    let frame = Frame {
        cameras: vec![camera("CAM_FRONT", true), camera("CAM_BACK_RIGHT", false)],
        ..Frame::default()
    };
    let names = names();
    let boxes = [found];
    let view = FrameView::new(("f0", &frame), ("tiny", &names), &boxes, &[]);
    let options = SheetOptions {
        tile_width_px: 400,
        ..SheetOptions::default()
    };
    let sheet = draw_contact_sheet(&view, &options).expect("sheet");
    assert_eq!((sheet.width, sheet.height), (3 * 406 + 6, 2 * 231 + 6));

    // The front camera's tile is the second of the first row.
    let [left, top] = [6 + 406, 6];
    let edges = project_box(&found, &frame.cameras[0].calibration, [400, 225]);
    assert_eq!(edges.len(), 12);
    let color = class_color("car", 0);
    for [a, b] in &edges {
        let [x, y] = [0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])].map(|v| v as usize);
        let near = (x - 2..=x + 2).flat_map(|x| (y - 2..=y + 2).map(move |y| [left + x, top + y]));
        let best = near.map(|place| gap(pixel(&sheet, place), color)).min();
        assert!(best < Some(70), "edge {a:?} to {b:?}: {best:?}");
    }
    let untouched = pixel(&sheet, [left + 390, top + 215]);
    assert_eq!(untouched, [70; 3]);
    // The camera without an image: a dark tile with text in its middle.
    let missing = [6 + 2 * 406, 6 + 231];
    assert!(pixel(&sheet, [missing[0] + 390, missing[1] + 200])[0] < 40);
    let row = missing[1] + 108;
    let lit = (0..400)
        .filter(|x| pixel(&sheet, [missing[0] + x, row])[1] > 90)
        .count();
    assert!(lit > 8, "{lit}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("folder");
    let read_only = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(folder.path(), read_only).expect("permissions");
    let result = FrameResult::new("f0", ("tiny", &names()), &[car()], [].into());
    // The superuser may write into a read-only folder, but not into the kernel's.
    let error = [folder.path(), Path::new("/sys")]
        .iter()
        .find_map(|folder| write_frame_json(&result, &folder.join("f0.json")).err())
        .expect("one of the folders refuses");
    assert!(matches!(error, OutputError::Write { .. }));
    let message = error.to_string();
    assert!(message.contains("f0.json"), "{message}");
    assert!(message.contains("not writable for this user"), "{message}");
}
