//! The pipeline as a caller meets it: the same frame gives the same boxes, and a frame with less in it
//! gives what is left, flagged and counted.

#[cfg(test)]
#[path = "pipeline/cameras.rs"]
mod cameras;
#[cfg(test)]
#[path = "pipeline/degraded.rs"]
mod degraded;
#[cfg(test)]
#[path = "pipeline/dropped.rs"]
mod dropped;
#[cfg(test)]
#[path = "pipeline/repeatable.rs"]
mod repeatable;
#[cfg(test)]
#[path = "pipeline/rig.rs"]
mod rig;
#[cfg(test)]
#[path = "pipeline/tickets.rs"]
mod tickets;
