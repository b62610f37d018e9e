//! From raw head outputs to boxes: decoding, filters, suppression.
