//! Frames that are submitted and fetched later give what `run` gives, in order, and no more than fit.

use bevfusion::exec::{FrameOutcome, SubmitError};

use super::rig::{boxes, frame, lidar};

#[test]
fn submitted_frames_come_back_in_order_with_the_boxes_of_run() {
    let mut pipeline = lidar();
    let whole = frame();
    let mut half = frame();
    half.sweeps.clear();
    let want = [boxes(&mut pipeline, &whole), boxes(&mut pipeline, &half)];
    let first = pipeline.submit(&whole).expect("a free slot");
    let second = pipeline.submit(&half).expect("a free slot");
    assert!(first < second);
    assert!(pipeline.poll(second).is_none(), "the first comes first");
    assert!(pipeline.wait(second).is_none(), "the first comes first");
    for (ticket, want) in [first, second].into_iter().zip(want) {
        let outcome = pipeline.wait(ticket).expect("the next frame").outcome;
        assert_eq!(outcome, FrameOutcome::Complete);
        assert_eq!(pipeline.detections(), want);
    }
    assert!(pipeline.poll(second).is_none(), "fetched already");
}

#[test]
fn a_third_frame_waits_until_one_is_fetched() {
    let mut pipeline = lidar();
    let tickets = [(); 2].map(|()| pipeline.submit(&frame()).expect("a free slot"));
    assert_eq!(pipeline.submit(&frame()), Err(SubmitError::Full));
    assert!(pipeline.wait(tickets[0]).is_some());
    let third = pipeline.submit(&frame()).expect("a free slot");
    assert!(pipeline.wait(tickets[1]).is_some());
    assert!(pipeline.wait(third).is_some());
}

#[test]
fn a_pipeline_may_go_while_a_frame_is_under_way() {
    let mut pipeline = lidar();
    let _ticket = pipeline.submit(&frame()).expect("a free slot");
    drop(pipeline);
}
