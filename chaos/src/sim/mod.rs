//! What a run draws its choices from. Simulated clock, network and disk join the seed here when the fleet is simulated.

pub mod seed;
