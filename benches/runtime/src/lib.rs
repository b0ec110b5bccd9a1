//! What the programs of this bench share: an engine whose cache is thrown away, the guests, and how figures are printed.

pub mod guests;
pub mod report;
