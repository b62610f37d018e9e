//! Dataset readers on a made-up drive, and on real nuScenes and T4 samples where they are installed.

#[cfg(test)]
#[path = "datasets/drive.rs"]
mod drive;
#[cfg(test)]
#[path = "datasets/made_up.rs"]
mod made_up;
#[cfg(test)]
#[path = "datasets/messages.rs"]
mod messages;
#[cfg(test)]
#[path = "datasets/real.rs"]
mod real;
