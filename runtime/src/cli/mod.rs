//! The `bevfusion` command.
