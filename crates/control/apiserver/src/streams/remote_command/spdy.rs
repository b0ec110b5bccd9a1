//! A remote command over SPDY: one stream for each of its channels
//! (`kubelet/pkg/cri/streaming/remotecommand/httpstream.go`).

use std::future::pending;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tracing::debug;
use wkube_api::remote_command::{Channel, Frame};

use super::Ends;
use crate::streams::channels::{self, Version};
use crate::streams::limits;
use crate::streams::options::Stdio;
use crate::streams::spdy::{self, Connection, Incoming, Outgoing, Piece, Stream};

/// Carries frames on streams until the client is gone, or has been told how the command ended.
pub(super) async fn run<S>(stream: S, version: Version, stdio: Stdio, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (read, write) = tokio::io::split(stream);
    let (connection, driver) = spdy::open(read, write);
    tokio::join!(driver, serve(connection, version, stdio, ends));
}

/// The streams of one command.
#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    /// Waits for the streams that the client said it would make.
    async fn gather(connection: &mut Connection, version: Version, stdio: Stdio) -> Option<Self> {
        let Stdio { stdin, stdout, stderr, tty } = stdio;
        let resize = tty && version >= Version::V3;
        let mut missing = [true, stdin, stdout, stderr, resize].into_iter().filter(|wanted| *wanted).count();
        let mut streams = Self::default();
        while missing > 0 {
            let stream = connection.accept().await?;
            let place = match stream.headers.get("streamtype") {
                "error" => &mut streams.error,
                "stdin" if stdin => &mut streams.stdin,
                "stdout" if stdout => &mut streams.stdout,
                "stderr" if stderr => &mut streams.stderr,
                "resize" if resize => &mut streams.resize,
                _ => {
                    stream.refuse().await;
                    continue;
                }
            };
            if place.is_some() {
                stream.refuse().await;
                continue;
            }
            stream.accept().await;
            *place = Some(stream);
            missing -= 1;
        }
        Some(streams)
    }
}

async fn serve(mut connection: Connection, version: Version, stdio: Stdio, ends: Ends) {
    let gathering = Streams::gather(&mut connection, version, stdio);
    let streams = match tokio::time::timeout(limits::STREAM_CREATION, gathering).await {
        Ok(Some(streams)) => streams,
        Ok(None) => return,
        Err(_) => return debug!("timed out waiting for client to create streams"),
    };
    let Ends { from_client, to_client } = ends;
    let split = |stream: Option<Stream>| stream.map(|stream| (stream.incoming, stream.outgoing)).unzip();
    let (input, input_end) = split(streams.stdin);
    let (resize, resize_end) = split(streams.resize);
    let outgoing = |stream: Option<Stream>| stream.map(|stream| stream.outgoing);
    let outputs = Outputs {
        error: outgoing(streams.error),
        stdout: outgoing(streams.stdout),
        stderr: outgoing(streams.stderr),
        // The client waits for the ends of these, too.
        silent: [input_end, resize_end],
    };
    let inputs = async {
        tokio::join!(read(input, Channel::Stdin, &from_client), read(resize, Channel::Resize, &from_client));
        pending::<()>().await;
    };
    let gone = async {
        while let Some(late) = connection.accept().await {
            late.refuse().await;
        }
    };
    tokio::select! {
        biased;
        () = write(outputs, version, to_client) => {}
        () = gone => {}
        () = inputs => {}
    }
}

/// Carries what arrives on a stream. Its end is passed on where a command can notice it.
async fn read(stream: Option<Incoming>, channel: Channel, to: &mpsc::Sender<Frame>) {
    let Some(mut stream) = stream else { return };
    while let Piece::Data(payload) = stream.next().await {
        if to.send(Frame::new(channel, payload)).await.is_err() {
            return;
        }
    }
    if channel == Channel::Stdin {
        let _ = to.send(Frame::close(channel)).await;
    }
}

/// The streams on which the server speaks, or only says that it is done.
struct Outputs {
    error: Option<Outgoing>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    silent: [Option<Outgoing>; 2],
}

/// Carries what the command says, and ends every stream after the last of it.
async fn write(outputs: Outputs, version: Version, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        let (stream, payload) = match frame.channel {
            Channel::Stdout => (&outputs.stdout, Some(frame.payload)),
            Channel::Stderr => (&outputs.stderr, Some(frame.payload)),
            Channel::Error => (&outputs.error, channels::outcome(version, &frame.payload)),
            Channel::Stdin | Channel::Resize | Channel::Close => continue,
        };
        if let (Some(stream), Some(payload)) = (stream, payload)
            && stream.send(payload).await.is_err()
            && frame.channel == Channel::Error
        {
            break;
        }
    }
    let Outputs { error, stdout, stderr, silent: [stdin, resize] } = outputs;
    for stream in [stdout, stderr, error, stdin, resize].into_iter().flatten() {
        stream.finish().await;
    }
}
