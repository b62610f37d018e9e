//! Broken input of every kind through the command: it never panics, and its message names the file, the
//! key, what was expected and found, and what to do.

#[cfg(test)]
#[path = "bad_input/cameras.rs"]
mod cameras;
#[cfg(test)]
#[path = "bad_input/clouds.rs"]
mod clouds;
#[cfg(test)]
#[path = "bad_input/models.rs"]
mod models;
#[cfg(test)]
#[path = "bad_input/outputs.rs"]
mod outputs;
#[cfg(test)]
#[path = "bad_input/refusals.rs"]
mod refusals;
#[cfg(test)]
#[path = "bad_input/selections.rs"]
mod selections;
