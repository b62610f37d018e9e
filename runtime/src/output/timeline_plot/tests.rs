//! Nothing that is written covers anything else that is written.

use super::{COLUMNS, Flag, TEXT_SIZE, TimelinePlot, WIDTH, flag_rows, width_of};
use crate::cuda::StageSpan;
use crate::exec::StageId;
use crate::output::chart::{Anchor, Chart, Shape};
use crate::output::style::{BACKGROUND, TEXT};
use crate::output::timeline::Timeline;

fn plot(spans: &[(StageId, f32, f32)]) -> TimelinePlot {
    let span = |&(stage, begin_us, end_us): &(StageId, f32, f32)| StageSpan {
        stage,
        begin_us,
        end_us,
    };
    let spans: Vec<StageSpan> = spans.iter().map(span).collect();
    TimelinePlot {
        title: "nuscenes_CL on engine cuda: one frame, 3,246 µs".to_owned(),
        subtitle: [
            "a GPU (compute capability 9.0)".to_owned(),
            "the median of 101 frames by total time".to_owned(),
        ],
        timeline: Timeline::new(&spans),
    }
}

fn drive() -> TimelinePlot {
    plot(&[
        (StageId::Sweeps, 4.0, 41.0),
        (StageId::Voxelize, 42.0, 92.5),
        (StageId::SparseEncoder, 93.5, 1_104.0),
        (StageId::CameraBackbone, 9.0, 1_903.0),
        (StageId::DepthNet, 1_904.0, 2_228.0),
        (StageId::BevPool, 2_229.0, 2_277.0),
        (StageId::BevDownsample, 2_278.0, 2_374.0),
        (StageId::BevDecoder, 2_375.0, 2_867.0),
        (StageId::Head, 2_868.0, 3_240.0),
        (StageId::Postprocess, 3_241.0, 3_246.0),
    ])
}

/// Left, top, right, bottom of a text with its letters' height.
fn area(shape: &Shape) -> Option<([f32; 4], &str)> {
    let Shape::Text {
        at,
        size,
        anchor,
        text,
        ..
    } = shape
    else {
        return None;
    };
    let width = width_of(text) * size / TEXT_SIZE;
    let left = match anchor {
        Anchor::Start => at[0],
        Anchor::Middle => at[0] - 0.5 * width,
        Anchor::End => at[0] - width,
    };
    Some(([left, at[1] - 0.75 * size, left + width, at[1]], text))
}

fn assert_readable(chart: &Chart) {
    let texts: Vec<_> = chart.shapes.iter().filter_map(area).collect();
    let bottom = chart.size[1] as f32;
    for (index, (a, text)) in texts.iter().enumerate() {
        let [left, top, right, low] = *a;
        let is_inside = left >= 0.0 && top >= 0.0 && right <= WIDTH && low <= bottom;
        assert!(is_inside, "{text:?} leaves the picture: {a:?}");
        for (b, other) in &texts[..index] {
            let meets = left < b[2] && b[0] < right && top < b[3] && b[1] < low;
            assert!(!meets, "{text:?} covers {other:?}: {a:?} {b:?}");
        }
        for shape in &chart.shapes {
            let Shape::Line { points, pen } = shape else {
                continue;
            };
            // Lines of the grid lie behind everything.
            if pen.ink.alpha < 1.0 {
                continue;
            }
            let [[x, y], [_, end]] = points[..] else {
                panic!("leaders have two ends")
            };
            let (upper, lower) = (y.min(end), y.max(end));
            let meets = x > left && x < right && upper < low && top < lower;
            assert!(!meets, "a leader at {x} crosses {text:?}");
        }
    }
}

fn texts(chart: &Chart) -> Vec<&str> {
    (chart.shapes.iter().filter_map(area))
        .map(|(_, text)| text)
        .collect()
}

#[test]
fn every_stage_of_a_frame_has_its_name_and_its_time() {
    let chart = drive().chart();
    assert_readable(&chart);
    let found = texts(&chart).join("\n");
    for stage in StageId::ALL {
        let ran = stage != StageId::Preprocess;
        assert_eq!(found.contains(stage.name()), ran, "{}", stage.name());
    }
    assert!(found.contains("postprocess 5.0 µs"), "{found}");
    assert!(found.contains("(99.5 %) are hidden"), "{found}");
}

#[test]
fn many_short_stages_at_one_place_stay_readable() {
    // All at the end, all at the beginning, all in one point, and one after the other.
    for (start, step) in [(99_990.0, 1.0), (0.0, 1.0), (50_000.0, 0.0), (0.0, 9_000.0)] {
        let mut spans: Vec<(StageId, f32, f32)> = (StageId::ALL.iter().enumerate())
            .map(|(index, stage)| {
                let begin = start + step * index as f32;
                (*stage, begin, begin + 0.9 * step)
            })
            .collect();
        spans[10].2 = 100_000.0;
        let chart = plot(&spans).chart();
        assert_readable(&chart);
        let found = texts(&chart).join("\n");
        assert!(
            StageId::ALL
                .iter()
                .all(|stage| found.contains(stage.name()))
        );
    }
}

#[test]
fn random_frames_stay_readable() {
    let mut noise = crate::dataset::synthetic::Noise::new(5);
    for _ in 0..300 {
        let scale = 10.0_f64.powf(1.0 + 3.5 * noise.unit());
        let span = |stage: &StageId| {
            let begin = scale * noise.unit().powi(3);
            let end = begin + scale * noise.unit().powi(6);
            (*stage, begin as f32, end as f32)
        };
        let spans: Vec<_> = StageId::ALL.iter().map(span).collect();
        // Bars of a lane that ran at once cannot all be named inside: stages never do.
        let chart = plot(&one_after_the_other(spans)).chart();
        assert_readable(&chart);
    }
}

/// Moves beginnings behind the ends of earlier stages of the lane.
fn one_after_the_other(mut spans: Vec<(StageId, f32, f32)>) -> Vec<(StageId, f32, f32)> {
    let mut free = [0.0_f32; 2];
    spans.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (stage, begin, end) in &mut spans {
        let lane = usize::from(super::lane_of(*stage) == super::Lane::Main);
        let length = *end - *begin;
        *begin = begin.max(free[lane]);
        *end = *begin + length;
        free[lane] = *end;
    }
    spans
}

#[test]
fn bars_are_where_the_axis_says_and_none_without_stages() {
    let shapes = drive().chart().shapes;
    let bar = shapes.iter().find_map(|shape| match shape {
        Shape::Rect { at, size, ink } if *ink == super::ink_of(StageId::CameraBackbone) => {
            Some((at[0], size[0]))
        }
        _ => None,
    });
    let (left, width) = bar.expect("the backbone's bar");
    let scale = (COLUMNS[1] - COLUMNS[0]) / 3_246.0;
    assert!((left - COLUMNS[0] - 9.0 * scale).abs() < 0.1);
    assert!((width + 1.0 - 1_894.0 * scale).abs() < 0.1);
    for spans in [&[][..], &[(StageId::Sweeps, 0.0, 0.0)]] {
        let chart = plot(spans).chart();
        assert!(!chart.svg().contains("NaN") && !chart.svg().contains("inf"));
        chart.picture().expect("a picture");
    }
}

#[test]
fn flags_take_the_nearest_row_that_is_free() {
    let flag = |at| Flag {
        at,
        ink: TEXT,
        text: "ten letter".to_owned(),
    };
    let apart = width_of("ten letter") + 20.0;
    assert_eq!(
        flag_rows(&[flag(0.0), flag(apart), flag(2.0 * apart)]),
        [0, 0, 0]
    );
    assert_eq!(flag_rows(&[flag(0.0), flag(10.0), flag(20.0)]), [2, 1, 0]);
    // The first text would end before the last one, but the second one's leader is in its way.
    let (second, third) = (apart - 30.0, apart + 10.0);
    assert_eq!(
        flag_rows(&[flag(0.0), flag(second), flag(third)]),
        [2, 1, 0]
    );
    assert_eq!(flag_rows(&[]), Vec::<usize>::new());
}

#[test]
fn every_stage_has_its_own_colour_that_text_is_readable_on() {
    let light = |rgb: [u8; 3]| rgb.map(u32::from).iter().sum::<u32>();
    for (index, stage) in StageId::ALL.iter().enumerate() {
        let ink = super::ink_of(*stage);
        assert!(light(ink.rgb) > light(BACKGROUND.rgb) + 350);
        let others = StageId::ALL[..index].iter();
        assert!(others.clone().all(|other| super::ink_of(*other) != ink));
    }
}

#[test]
fn the_file_is_written_under_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.svg", "a.png"] {
        let file = folder.path().join(name);
        drive().write(&file).expect("written");
        assert!(std::fs::metadata(&file).expect("there").len() > 2_000);
    }
}
