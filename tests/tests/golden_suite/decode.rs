pub(crate) fn agree(_case: &crate::fixture::Fixture) {}
