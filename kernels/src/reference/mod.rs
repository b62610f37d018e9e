//! CPU twins of the kernels, one file each.
