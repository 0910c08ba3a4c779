//! Arguments, terminal, exit codes.
