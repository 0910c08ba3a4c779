//! Whole runs of the real executor on the simulated cluster, in simulated time.

mod thin;
