//! The name of a Session.

/// The name of a Session within its slot: tenant and Client Identifier.
pub fn name_of(tenant: &str, client_id: &str) -> Vec<u8> {
    [tenant.as_bytes(), &[0], client_id.as_bytes()].concat()
}

/// Tenant and Client Identifier of a name.
pub fn split_name(name: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(name).ok()?.split_once('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart_again() {
        assert_eq!(split_name(&name_of("t", "vehicle")), Some(("t", "vehicle")));
        assert_eq!(split_name(b"without a tenant"), None);
    }
}
