//! Snapshots cost what changed, agree with what a fresh start would make, and say what is wrong.

mod changes;
mod delegates;
mod policies;
mod scale;
