//! The core for real: SQLite on disk, real signatures, a clock that is moved by hand. The tests stand where the doors stand.

mod approvals;
mod delivery;
mod factors;
mod hosts;
mod lifecycle;
mod place;
mod restart;
mod watching;
