//! Dense networks described once: ops, builder, the networks of BEVFusion, ONNX.
