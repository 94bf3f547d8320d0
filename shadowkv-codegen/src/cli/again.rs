//! Commands that a user may run next.

use std::borrow::Cow;
use std::ffi::OsString;

/// This program with `arguments`, as a shell takes it.
pub(super) fn command(arguments: impl IntoIterator<Item = OsString>) -> String {
    let package = env!("CARGO_PKG_NAME");
    // Whoever runs the program through cargo has it nowhere else.
    let through_cargo = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == package);
    let mut command = if through_cargo {
        format!("cargo run -p {package} --")
    } else {
        package.to_owned()
    };
    for argument in arguments {
        let text = argument.to_string_lossy();
        // Arguments cannot hold a NUL, the only thing that cannot be quoted.
        let quoted = shlex::try_quote(&text).unwrap_or(Cow::Borrowed(&text));
        command.push(' ');
        command.push_str(&quoted);
    }
    command
}
