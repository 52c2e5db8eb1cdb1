//! Faults, an oracle and the promises they judge.
//!
//! Real processes are run ([`fleet`]), real Clients talk to them over TCP ([`client`]), faults strike ([`fault`]) as a
//! story tells ([`scenario`]), all choices follow from one seed ([`sim::seed`]). What happened is written down
//! ([`oracle`]) and judged by properties ([`invariant`]). The suite sees what a Client or an operator sees and nothing else.
//!
//! | Variable | Says | Default |
//! | --- | --- | --- |
//! | `CONVOY_BIN` | the broker to run | none: tests fail and say so |
//! | `CONVOY_TEST_PYTHON` | a Python that has paho-mqtt | `python3` |
//! | `CHAOS_SEED` | the choices of a run, as it printed them | the clock |
//! | `CHAOS_SECONDS` | how long the durability loop runs | 60 |
//! | `CHAOS_CUTS` | power cuts | 6 |
//! | `CHAOS_DAMAGES` | damaged copies, of logs and of tables | 6 |
//! | `CHAOS_SESSIONS`, `CHAOS_QUEUED` | offline Sessions and queued messages | 100,000 and 1,000,000 |
//! | `CHAOS_ATTACKS` | parts of names of attacks, with commas between them | all |
//! | `CHAOS_REQUIRE_ALL` | if set, what this machine lacks fails instead of being skipped by name | unset |
//! | `CHAOS_PROGRAM=mosquitto` | Debian's mosquitto instead, to look at the suite itself | Convoy |
//!
//! `chaos durability --seconds 600 --seed 7` and its like run one story for longer.

pub mod client;
pub mod fault;
pub mod fleet;
pub mod invariant;
pub mod oracle;
pub mod scenario;
pub mod sim;
