//! What a refusal must look like.

use bevfusion_tests::command::{Ended, says};

/// The message of a command that failed without a result, which holds every part.
pub(crate) fn refused(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.starts_with("error: "), "{}", ended.err);
    assert!(ended.out.is_empty(), "{}", ended.out);
    says(&ended.err, parts);
}

/// A run that went on past frames that cannot be read, named each of them with every part, and failed
/// in the end.
pub(crate) fn unreadable(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("unreadable "), "{}", ended.err);
    assert!(
        ended.err.contains("the lines above say why"),
        "{}",
        ended.err
    );
    says(&ended.out, &["frames: ", " unreadable; results in "]);
    says(&ended.err, parts);
}
