//! Faults, an oracle and the promises they judge.
//!
//! Real processes are run ([`fleet`]), real Clients talk to them over TCP ([`client`]), faults strike ([`fault`]) as a
//! story tells ([`scenario`]), all choices follow from one seed ([`sim::seed`]). What happened is written down
//! ([`oracle`]) and judged by properties ([`invariant`]). The suite sees what a Client or an operator sees and nothing else.

pub mod client;
pub mod fault;
pub mod fleet;
pub mod invariant;
pub mod oracle;
pub mod scenario;
pub mod sim;
