//! What people and programs are told: tables, and the same figures for JSON.

use comfy_table::{CellAlignment, Table, presets};

mod inspection;
mod kernels;
mod profile;
mod sass;
mod tuning;
mod verification;

pub use inspection::{
    Case, DEVICES, Device, DeviceInspection, Inspection, InspectionError, KernelInspection,
};
pub use kernels::{KernelReport, kernel_table};
pub use profile::{
    access_table, byte_table, line_table, profile_markdown, profile_text, resource_table,
};
pub use sass::sass_table;
pub use tuning::{tile, tuning_table};
pub use verification::{case_failure, verification_table};

/// Version of every JSON document this program prints; it changes when a field changes its meaning or goes.
pub const REPORT_SCHEMA: u32 = 1;

/// A table of plain text whose widths depend on its content alone. The columns of `words` are set to the left, numbers to
/// the right.
fn table(words: &[usize], header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(header.to_vec())
        .add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if !words.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A quantity of bytes or operations to four digits: `251.7 M`.
fn scaled(number: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    match UNITS.iter().find(|(unit, _)| number >= *unit * 10) {
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / *unit as f64),
        None => grouped(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(
            ["0", "999", "1 000", "1 234 567"],
            [0, 999, 1000, 1_234_567].map(grouped)
        );
        assert_eq!(
            ["0", "9 999", "12.3 k", "251.7 M"],
            [0, 9999, 12_345, 251_658_240].map(scaled)
        );
    }
}
