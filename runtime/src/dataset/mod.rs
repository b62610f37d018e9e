//! Readers of nuScenes and T4 datasets and of single files.
