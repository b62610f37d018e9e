//! What runs a dense graph.
