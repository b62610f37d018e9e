//! The camera branch: images to the camera BEV map.
