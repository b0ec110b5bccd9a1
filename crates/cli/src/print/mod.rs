//! All that users see on standard output and error.

pub(crate) mod steps;
pub(crate) mod table;
pub(crate) mod template;

use std::io::Write as _;

/// Prints a line on standard output. A reader that has gone away is not an error.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
}

/// Prints bytes on standard output as they are.
pub(crate) fn raw(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints a line on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Prints an error with its causes, as kubectl does for those of the server.
pub(crate) fn error(error: &anyhow::Error) {
    note(message_of(error));
}

fn message_of(error: &anyhow::Error) -> String {
    let client = error.chain().find_map(|cause| cause.downcast_ref::<wkube_client::Error>());
    if let Some(status) = client.and_then(wkube_client::Error::status) {
        let context = error.to_string();
        let server = format!("Error from server ({}): {}", status.reason, status.message);
        return if context == status.message { server } else { format!("{server}\n({context})") };
    }
    // The client's errors name the step that failed, without the word.
    let is_step = error.downcast_ref::<wkube_client::Error>().is_some();
    let mut text = if is_step { format!("error: failed to {error}") } else { format!("error: {error}") };
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A cause that repeats what was said adds nothing.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    if client.is_some_and(wkube_client::Error::is_clock_skew) {
        text.push_str("; compare the clocks of this machine and of the server");
    } else if matches!(client, Some(wkube_client::Error::Transport(_))) {
        text.push_str("; is `wkube up` running, and is this its kubeconfig?");
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn errors_are_printed_with_their_causes_once() {
        let error = Err::<(), _>(anyhow!("no space")).context("failed to write a").expect_err("an error");
        assert_eq!(message_of(&error), "error: failed to write a: no space");
    }
}
