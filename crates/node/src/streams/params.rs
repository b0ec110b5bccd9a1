//! What an exec or attach asks for, from the query. Pure.

use wkube_api::Status;

/// `PodExecOptions` and `PodAttachOptions`.
#[expect(clippy::struct_excessive_bools, reason = "the options of Kubernetes, by their names")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params {
    /// `argv`.
    pub(super) command: Vec<String>,
    /// Whether the client speaks.
    pub(super) stdin: bool,
    /// Whether it wants standard output.
    pub(super) stdout: bool,
    /// Whether it wants standard error.
    pub(super) stderr: bool,
    /// Whether it is a terminal.
    pub(super) tty: bool,
}

impl Params {
    /// Reads a query. Unknown parameters are somebody else's.
    pub(super) fn parse(query: &str) -> Result<Self, Status> {
        let mut params = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match name {
                "command" => params.command.push(value),
                "stdin" => params.stdin = flag(&value),
                "stdout" => params.stdout = flag(&value),
                "stderr" => params.stderr = flag(&value),
                "tty" => params.tty = flag(&value),
                _ => {}
            }
        }
        Ok(params)
    }
}

/// As `apimachinery/pkg/runtime/converter.go`, `Convert_Slice_string_To_bool`: everything but these is true.
fn flag(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "0" | "false")
}

fn decode(text: &str) -> Result<String, Status> {
    let bad = || Status::bad_request(format!("invalid URL escape in {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order_and_their_characters() {
        let params = Params::parse("command=sh&command=-c&command=echo+%24HOME%20%2B%C3%A4&stdout=true").unwrap();
        assert_eq!(params.command, ["sh", "-c", "echo $HOME +ä"]);
        assert!(params.stdout && !params.stdin && !params.stderr && !params.tty);
    }

    #[test]
    fn a_flag_is_true_unless_it_says_otherwise() {
        let params = Params::parse("stdin=1&stdout=false&stderr=0&tty=true&other=x").unwrap();
        assert_eq!(params, Params { stdin: true, tty: true, ..Params::default() });
        assert!(Params::parse("stdin").unwrap().stdin, "present without a value");
    }

    #[test]
    fn broken_escapes_are_refused() {
        for query in ["command=%", "command=%2", "command=%zz", "command=%ff"] {
            assert_eq!(Params::parse(query).unwrap_err().code, 400, "{query}");
        }
    }
}
