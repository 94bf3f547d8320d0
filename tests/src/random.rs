//! Valid specs at random.
