//! Between a client's frames and a node's: what passes, what does not, and how it ends.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wkube_api::remote_command::{Channel, Decoder, Frame, Outcome};

use crate::streams::activity::Activity;
use crate::streams::channels::Sizes;
use crate::streams::limits;
use crate::streams::node::{FromNode, ToNode};
use crate::streams::options::Stdio;

/// A client, whatever its framing.
pub(super) struct Client {
    /// Ends when the client is gone.
    pub(super) incoming: mpsc::Receiver<Frame>,
    /// Dropped after the last frame, which says how the command ended.
    pub(super) outgoing: mpsc::Sender<Frame>,
}

/// A command that runs on a node.
pub(super) struct Command<'a> {
    /// The node's name.
    pub(super) node: &'a str,
    /// What it hears.
    pub(super) to_node: ToNode,
    /// What it says.
    pub(super) from_node: FromNode,
}

/// Carries both directions until the command has ended or the client is gone. In every case but the last the client is
/// told how it ended. Returning gives the request to the node up.
pub(super) async fn run(mut client: Client, stdio: Stdio, command: Command<'_>, stopping: &CancellationToken) {
    let Command { node, to_node, from_node } = command;
    let activity = Activity::default();
    let failed = tokio::select! {
        biased;
        // Before the connections to the nodes end, which they do at the same time.
        () = stopping.cancelled() => "the server is shutting down".to_owned(),
        ended = down(from_node, &client.outgoing, stdio, &activity) => match ended {
            Ok(()) => return,
            Err(why) => format!("the connection to node {node} was lost: {why}"),
        },
        () = up(&mut client.incoming, &to_node, stdio, &activity) => return,
        () = activity.idle_for(limits::IDLE) => format!("nothing moved for {:?}", limits::IDLE),
    };
    let _ = client.outgoing.send(Outcome::Failed(failed).frame()).await;
}

/// Carries what the client sends; ends when the client is gone.
async fn up(incoming: &mut mpsc::Receiver<Frame>, to_node: &ToNode, stdio: Stdio, activity: &Activity) {
    let mut sizes = Sizes::default();
    while let Some(frame) = incoming.recv().await {
        activity.touch();
        let frame = match frame.channel {
            Channel::Stdin if stdio.stdin => frame,
            Channel::Close if stdio.stdin && frame.closes() == Some(Channel::Stdin) => frame,
            Channel::Resize if stdio.tty => match sizes.push(&frame.payload) {
                Some(size) => Frame::new(Channel::Resize, serde_json::json!(size).to_string()),
                None => continue,
            },
            _ => continue,
        };
        // A node that does not listen any more is about to say how the command ended.
        let _ = to_node.send(frame.encode()).await;
    }
}

/// Carries what the command says, up to how it ended.
///
/// # Errors
/// Why nobody knows how it ended.
async fn down(
    mut from_node: FromNode,
    outgoing: &mpsc::Sender<Frame>,
    stdio: Stdio,
    activity: &Activity,
) -> Result<(), String> {
    let mut decoder = Decoder::default();
    while let Some(bytes) = from_node.next().await {
        decoder.push(&bytes.map_err(|error| error.to_string())?);
        while let Some(frame) = decoder.next_frame().map_err(|error| error.to_string())? {
            activity.touch();
            let last = frame.channel == Channel::Error;
            let wanted = match frame.channel {
                Channel::Stdout => stdio.stdout,
                Channel::Stderr => stdio.stderr,
                Channel::Error => true,
                Channel::Stdin | Channel::Resize | Channel::Close => false,
            };
            let gone = wanted && outgoing.send(frame).await.is_err();
            if last || gone {
                return Ok(());
            }
        }
    }
    decoder.finish().map_err(|error| error.to_string())?;
    Err("it did not say how the command ended".to_owned())
}
