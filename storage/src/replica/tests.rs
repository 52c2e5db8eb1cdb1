//! Events in, effects out, on the model engine.

mod alone;
