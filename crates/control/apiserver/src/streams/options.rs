//! What a request for a stream asks for, and whether the pod can give it (`pkg/registry/core/pod/strategy.go`,
//! `streamLocation`; `kubelet/pkg/cri/streaming/remotecommand/httpstream.go`, `NewOptions`). Pure.

use wkube_api::{Object, Status};

use crate::router::{self, Query};

/// Which of a command's streams the client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the four flags of PodExecOptions")]
pub(crate) struct Stdio {
    /// It sends what the command reads.
    pub(crate) stdin: bool,
    /// It wants what the command writes.
    pub(crate) stdout: bool,
    /// It wants what the command complains about.
    pub(crate) stderr: bool,
    /// It is a terminal.
    pub(crate) tty: bool,
}

impl Stdio {
    /// Reads the flags.
    ///
    /// # Errors
    /// 400 if there would be nothing to stream.
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        let tty = query.flag("tty");
        let stdio = Self {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            // A terminal has one output. The kubelet lets this pass ("bypassing stderr"), and clients rely on it.
            stderr: query.flag("stderr") && !tty,
            tty,
        };
        if !(stdio.stdin || stdio.stdout || stdio.stderr) {
            return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(stdio)
    }

    /// Returns the flags as the node reads them.
    pub(crate) fn query(self) -> String {
        let Self { stdin, stdout, stderr, tty } = self;
        format!("stdin={stdin}&stdout={stdout}&stderr={stderr}&tty={tty}")
    }
}

/// Returns the node of a pod that can be reached.
///
/// # Errors
/// 400 if the pod is on no node, or has ended.
pub(crate) fn node<'a>(pod: &'a Object, action: &str) -> Result<&'a str, Status> {
    let node = pod.str_at(&["spec", "nodeName"]);
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name())));
    }
    let phase = pod.str_at(&["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        // kubectl looks first and says the same.
        return Err(Status::bad_request(format!("cannot {action} a completed pod; current phase is {phase}")));
    }
    Ok(node)
}

/// Returns the node's path for a command in a container.
///
/// # Errors
/// 400 for a command of no words.
pub(crate) fn exec_path(pod: &Object, container: &str, query: &Query, stdio: Stdio) -> Result<String, Status> {
    let mut words = query.all("command").map(|word| format!("command={}&", router::encode(word))).peekable();
    if words.peek().is_none() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    Ok(format!("/exec/{}?{}{}", segments(pod, container), words.collect::<String>(), stdio.query()))
}

/// Returns the node's path for the main process of a container.
pub(crate) fn attach_path(pod: &Object, container: &str, stdio: Stdio) -> String {
    format!("/attach/{}?{}", segments(pod, container), stdio.query())
}

fn segments(pod: &Object, container: &str) -> String {
    [pod.namespace(), pod.name(), container].map(router::encode).join("/")
}

/// Reads the ports of a port-forward over plain WebSocket (`portforward/websocket.go`, `NewV4Options`).
///
/// # Errors
/// 400 for none, too many, or something that is no port.
pub(crate) fn ports(query: &Query, limit: usize) -> Result<Vec<u16>, Status> {
    let mut ports = Vec::new();
    for list in query.all("ports") {
        if list.is_empty() {
            return Err(Status::bad_request("query parameter \"ports\" cannot be empty"));
        }
        for text in list.split(',') {
            match text.parse::<u16>() {
                Ok(0) => return Err(Status::bad_request(format!("port {list:?} must be > 0"))),
                Ok(port) => ports.push(port),
                Err(error) => {
                    return Err(Status::bad_request(format!("unable to parse {list:?} as a port: {error}")));
                }
            }
        }
    }
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"ports\" is required")),
        count if count > limit => Err(Status::bad_request(format!("{count} ports are more than {limit}"))),
        _ => Ok(ports),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value, status: &Value) -> Object {
        let document = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec, "status": status});
        serde_json::from_value(document).expect("an object")
    }

    #[test]
    fn something_must_be_streamed_and_a_terminal_has_one_output() {
        let parse = |query| Stdio::parse(&Query::parse(Some(query))).map(Stdio::query).map_err(|status| status.message);
        assert_eq!(parse("stdin=true&stdout=1&stderr=1"), Ok("stdin=true&stdout=true&stderr=true&tty=false".into()));
        assert_eq!(parse("stdout=1&stderr=1&tty=1"), Ok("stdin=false&stdout=true&stderr=false&tty=true".into()));
        let nothing = Err("you must specify at least 1 of stdin, stdout, stderr".to_owned());
        assert_eq!(parse("stdout=false"), nothing);
        assert_eq!(parse("stderr=1&tty=1"), nothing);
    }

    #[test]
    fn a_pod_must_be_somewhere_and_still_be_there() {
        let check = |spec, status| node(&pod(&spec, &status), "exec into a container in").map(str::to_owned);
        let on_node = || json!({"nodeName": "n"});
        assert_eq!(check(on_node(), json!({"phase": "Running"})), Ok("n".into()));
        assert_eq!(
            check(json!({}), json!({})).map_err(|status| (status.code, status.message)),
            Err((400, "pod p does not have a host assigned".into()))
        );
        assert_eq!(
            check(on_node(), json!({"phase": "Succeeded"})).map_err(|status| status.message),
            Err("cannot exec into a container in a completed pod; current phase is Succeeded".into())
        );
    }

    #[test]
    fn a_commands_words_arrive_as_they_are() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo+a%26b%3D%22c%22&stdout=1"));
        let stdio = Stdio::parse(&query).expect("something to stream");
        let path = exec_path(&pod(&json!({}), &json!({})), "c", &query, stdio).expect("a command");
        let flags = "stdin=false&stdout=true&stderr=false&tty=false";
        assert_eq!(path, format!("/exec/d/p/c?command=sh&command=-c&command=echo%20a%26b%3D%22c%22&{flags}"));
        assert_eq!(attach_path(&pod(&json!({}), &json!({})), "c", stdio), format!("/attach/d/p/c?{flags}"));
        assert!(exec_path(&pod(&json!({}), &json!({})), "c", &Query::default(), stdio).is_err());
    }

    #[test]
    fn ports_come_in_lists_and_are_checked() {
        let parse = |query| ports(&Query::parse(Some(query)), 3).map_err(|status| status.message);
        assert_eq!(parse("ports=80,443&ports=8080"), Ok(vec![80, 443, 8080]));
        assert_eq!(parse(""), Err("query parameter \"ports\" is required".into()));
        assert_eq!(parse("ports="), Err("query parameter \"ports\" cannot be empty".into()));
        assert_eq!(parse("ports=0"), Err("port \"0\" must be > 0".into()));
        assert!(parse("ports=80,x").is_err_and(|message| message.starts_with("unable to parse \"80,x\" as a port")));
        assert!(parse("ports=65536").is_err());
        assert_eq!(parse("ports=1,2,3,4"), Err("4 ports are more than 3".into()));
    }
}
