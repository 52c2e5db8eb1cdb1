//! Facts about all packets at once, found by generated examples.

mod alike;
mod exhaust;
mod hostile;
mod oracle;
mod packets;
mod round_trip;
