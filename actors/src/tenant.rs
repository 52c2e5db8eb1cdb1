//! Whose a Client is, and its topics. The identity of every actor begins with it, wherever that is asked for.

/// Tenant of every Client until admission names others.
pub const TENANT: &str = "";
