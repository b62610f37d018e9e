//! What names a submitted frame, and why one is not taken.

use super::FrameFault;

/// A frame that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// All slots are under way or hold results that nobody has fetched.
    #[error("all slots are taken: fetch the oldest frame first")]
    Full,
    /// The frame is at fault.
    #[error(transparent)]
    Frame(#[from] FrameFault),
}
