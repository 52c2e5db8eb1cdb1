//! Listeners as Clients and operators see them: a real process, real sockets, certificates made for the occasion.

mod addresses;
mod api;
mod authority;
mod certificates;
mod descriptors;
mod ends;
mod files;
mod limits;
mod log;
mod mqtt;
mod node;
mod operator;
mod proxy;
mod revocation;
mod stuck;
mod tester;
mod turns;
mod web_socket;
