//! A client that runs a command or is attached to a container, from the first frame to the last.
//!
//! ```text
//!  frames in  ─ listen ─> stdin of the command or container
//!  output     ─ show ───> frames out ... and in the end how it ended
//!  the client goes away: everything here is dropped, and with it the command
//! ```

use std::future::{Future, pending};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use wkube_api::remote_command::{Channel, Frame, Outcome};

use super::frames::FrameReader;
use super::params::Params;
use super::terminal::{Terminal, Typed};
use crate::logs::entry::Stream;
use crate::pod::live::Beside;
use crate::runtime::Exit;
use crate::stdio::{Attached, QueueReader};

/// What a shell shows for a program that Ctrl-C ended (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// The client's side of a session.
pub(super) struct Client {
    frames: FrameReader,
    shown: Shown,
}

/// Sends the client what it asked to see.
#[derive(Clone)]
struct Shown {
    sender: mpsc::Sender<Frame>,
    wants_stdout: bool,
    wants_stderr: bool,
    /// There is one screen: standard error appears among standard output.
    is_terminal: bool,
}

/// The client has gone.
struct Gone;

/// Where what a client says goes.
trait Listener: Send {
    /// Takes a piece; waits until there is room for it.
    fn hear(&self, piece: Bytes) -> impl Future<Output = ()> + Send;

    /// There will be no more.
    fn hear_the_end(&mut self);
}

/// The input of a command; `None` once it has ended.
struct ToCommand(Option<mpsc::Sender<Bytes>>);

impl Listener for ToCommand {
    async fn hear(&self, piece: Bytes) {
        if let Some(stdin) = &self.0 {
            // A command that has stopped reading loses it, as with a pipe.
            let _ = stdin.send(piece).await;
        }
    }

    fn hear_the_end(&mut self) {
        self.0 = None;
    }
}

/// The input of a container, which others may speak to as well.
struct ToContainer(Option<Arc<Attached>>);

impl Listener for ToContainer {
    async fn hear(&self, piece: Bytes) {
        if let Some(attached) = &self.0 {
            attached.speak(piece).await;
        }
    }

    fn hear_the_end(&mut self) {
        if let Some(attached) = &self.0 {
            attached.fall_silent();
        }
    }
}

impl Drop for ToContainer {
    /// Whoever goes away without a word has no more to say either.
    fn drop(&mut self) {
        self.hear_the_end();
    }
}

impl Client {
    /// Returns the client that sends `frames` and receives what goes to `sender`.
    pub(super) fn new(frames: FrameReader, sender: mpsc::Sender<Frame>, params: &Params) -> Self {
        let (wants_stdout, wants_stderr) = (params.stdout, params.stderr);
        Self { frames, shown: Shown { sender, wants_stdout, wants_stderr, is_terminal: params.tty } }
    }
}

/// Stays with a client and its command until one of them is gone.
pub(super) async fn attend_command(
    command: Beside,
    printed: QueueReader,
    stdin: Option<mpsc::Sender<Bytes>>,
    client: Client,
) {
    let Client { frames, shown } = client;
    let interrupted = Interrupt::default();
    let ending = async {
        let exit = tokio::select! {
            biased;
            exit = command.ended() => exit,
            () = interrupted.happened() => Exit::of(INTERRUPTED),
        };
        outcome(exit)
    };
    let showing = async {
        let ((), (outcome, last_words)) = tokio::join!(shown.show_all(printed), ending);
        if !last_words.is_empty() {
            shown.show(Stream::Stderr, last_words.into()).await?;
        }
        shown.send(outcome.frame()).await
    };
    attend(frames, ToCommand(stdin), &shown, showing, &interrupted).await;
}

/// Stays with an attached client until it or the container is gone.
pub(super) async fn attend_attached(printed: QueueReader, speaker: Option<Arc<Attached>>, client: Client) {
    let Client { frames, shown } = client;
    let showing = async {
        shown.show_all(printed).await;
        shown.send(Outcome::Success.frame()).await
    };
    // A guest takes no signals, so Ctrl-C does not reach a container; `kubectl` can still be ended by closing it.
    attend(frames, ToContainer(speaker), &shown, showing, &Interrupt::default()).await;
}

async fn attend(
    frames: FrameReader,
    listener: impl Listener,
    shown: &Shown,
    showing: impl Future<Output = Result<(), Gone>>,
    interrupted: &Interrupt,
) {
    let listening = async {
        if listen(frames, listener, shown, interrupted).await.is_ok() {
            // The client has said everything; what it is told goes on.
            pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = shown.sender.closed() => {}
        _ = showing => {}
        () = listening => {}
    }
}

async fn listen(
    mut frames: FrameReader,
    mut listener: impl Listener,
    shown: &Shown,
    interrupted: &Interrupt,
) -> Result<(), Gone> {
    let mut terminal = shown.is_terminal.then(Terminal::default);
    loop {
        // A body that breaks off, or bytes that are no frames: nobody is there any more whom we understand.
        let Some(frame) = frames.next().await.map_err(|_| Gone)? else { break };
        match frame.channel {
            Channel::Stdin => match &mut terminal {
                None => listener.hear(frame.payload).await,
                Some(terminal) => {
                    let (typed, echo) = terminal.press(&frame.payload);
                    shown.echo(echo).await?;
                    for typed in typed {
                        match typed {
                            Typed::Text(text) => listener.hear(text.into()).await,
                            Typed::End => listener.hear_the_end(),
                            Typed::Interrupt => interrupted.happen(),
                        }
                    }
                }
            },
            Channel::Close if frame.closes() == Some(Channel::Stdin) => listener.hear_the_end(),
            // There is no terminal whose size could change, and nothing else is for us.
            Channel::Resize | Channel::Close | Channel::Stdout | Channel::Stderr | Channel::Error => {}
        }
    }
    listener.hear_the_end();
    Ok(())
}

impl Shown {
    /// Sends everything that is printed; what a client that has gone does not take is dropped.
    async fn show_all(&self, mut printed: QueueReader) {
        while let Some((stream, bytes)) = printed.next().await {
            if self.show(stream, bytes).await.is_err() {
                return;
            }
        }
    }

    async fn show(&self, stream: Stream, bytes: Bytes) -> Result<(), Gone> {
        let (channel, is_wanted) = match stream {
            Stream::Stderr if !self.is_terminal => (Channel::Stderr, self.wants_stderr),
            Stream::Stdout | Stream::Stderr => (Channel::Stdout, self.wants_stdout),
        };
        if !is_wanted {
            return Ok(());
        }
        let bytes = if self.is_terminal { Terminal::shown(&bytes).into() } else { bytes };
        self.send(Frame::new(channel, bytes)).await
    }

    async fn echo(&self, echo: Vec<u8>) -> Result<(), Gone> {
        if echo.is_empty() || !self.wants_stdout {
            return Ok(());
        }
        self.send(Frame::new(Channel::Stdout, echo)).await
    }

    async fn send(&self, frame: Frame) -> Result<(), Gone> {
        self.sender.send(frame).await.map_err(|_| Gone)
    }
}

/// Says how a command ended, and what it could not say itself: a trap, or that its memory was not enough.
fn outcome(exit: Exit) -> (Outcome, String) {
    let mut last_words = exit.message;
    if !last_words.is_empty() && !last_words.ends_with('\n') {
        last_words.push('\n');
    }
    let outcome = if exit.code == 0 { Outcome::Success } else { Outcome::Exited(exit.code) };
    (outcome, last_words)
}

/// Ctrl-C.
#[derive(Default)]
struct Interrupt(tokio::sync::Notify);

impl Interrupt {
    fn happen(&self) {
        self.0.notify_one();
    }

    async fn happened(&self) {
        self.0.notified().await;
    }
}
