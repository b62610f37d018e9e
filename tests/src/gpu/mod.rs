//! Device kernels against their CPU twins; needs a GPU.

pub mod head;
