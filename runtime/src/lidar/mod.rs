//! The LiDAR branch: sweeps to the LiDAR BEV map.
