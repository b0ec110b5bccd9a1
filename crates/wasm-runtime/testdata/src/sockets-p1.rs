//! Listens on the descriptors that it was given: `echo N`, `poll N`, `shutdown`, `file PATH`, `peek`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd};

fn listener() -> TcpListener {
    assert_eq!(std::env::var("LISTEN_FDS").unwrap(), "1");
    unsafe { TcpListener::from_raw_fd(3) }
}

/// Accepts `connections` one after the other and echoes each until it ends.
fn echo(connections: usize) {
    let listener = listener();
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        loop {
            let count = stream.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            stream.write_all(&buffer[..count]).unwrap();
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Subscription {
    userdata: u64,
    tag: u64,
    fd_or_clock: u32,
    padding: u32,
    timeout: u64,
    precision: u64,
    flags: u16,
}

const _: () = assert!(size_of::<Subscription>() == 48 && std::mem::offset_of!(Subscription, fd_or_clock) == 16);

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    userdata: u64,
    error: u16,
    tag: u8,
    size: u64,
    flags: u16,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn poll_oneoff(subscriptions: *const Subscription, events: *mut Event, count: usize, size: *mut usize) -> u32;
    fn sock_recv(fd: i32, buffers: *const [u32; 2], count: usize, flags: u32, size: *mut usize, out: *mut u16) -> u32;
    fn fd_renumber(from: i32, to: i32) -> u32;
}

fn wait(subscriptions: &[Subscription]) -> Vec<Event> {
    let mut events = vec![Event::default(); subscriptions.len()];
    let mut count = 0;
    let errno = unsafe { poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr(), subscriptions.len(), &mut count) };
    assert_eq!(errno, 0);
    events.truncate(count);
    events
}

fn readable(fd: i32) -> Subscription {
    Subscription { userdata: fd as u64, tag: 1, fd_or_clock: fd as u32, ..Subscription::default() }
}

fn writable(fd: i32) -> Subscription {
    Subscription { userdata: fd as u64, tag: 2, fd_or_clock: fd as u32, ..Subscription::default() }
}

fn after(nanoseconds: u64) -> Subscription {
    Subscription { userdata: 99, tag: 0, fd_or_clock: 1, timeout: nanoseconds, ..Subscription::default() }
}

/// One loop for the listener and all connections, none of which blocks, until `connections` have come and gone.
fn poll(connections: usize) {
    let listener = listener();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let events = wait(&[readable(3), after(1)]);
    assert!(events.iter().any(|event| event.userdata == 99), "the clock is not forgotten");
    println!("polling");
    let mut open = Vec::new();
    let mut gone = 0;
    while gone < connections {
        let mut waiting = vec![readable(3), after(3_600_000_000_000)];
        waiting.extend(open.iter().map(|stream: &std::net::TcpStream| readable(stream.as_raw_fd())));
        for event in wait(&waiting) {
            assert_eq!(event.error, 0);
            if event.userdata == 3 {
                let (stream, _) = listener.accept().unwrap();
                stream.set_nonblocking(true).unwrap();
                assert_eq!(wait(&[writable(stream.as_raw_fd())]).len(), 1, "there is room");
                open.push(stream);
                continue;
            }
            let at = open.iter().position(|stream| stream.as_raw_fd() as u64 == event.userdata).unwrap();
            let mut buffer = [0; 64];
            match open[at].read(&mut buffer) {
                Ok(0) => {
                    assert_eq!(event.flags, 1, "the end is told");
                    gone += 1;
                    drop(open.remove(at));
                }
                Ok(count) => {
                    assert!(event.size as usize >= count);
                    open[at].write_all(&buffer[..count]).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Answers what it has read once the other has finished, and shows what a closed direction does.
fn shutdown() {
    let (mut stream, _) = listener().accept().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    println!("{:?}", stream.write(b"more").unwrap_err().kind());
    stream.shutdown(Shutdown::Both).unwrap();
    let fd = stream.as_raw_fd();
    drop(stream);
    let event = wait(&[readable(fd), after(3_600_000_000_000)])[0];
    println!("closed: {}", event.error);
}

/// Looks at what has come before it takes it.
fn peek() {
    let listener = listener();
    let (mut stream, _) = listener.accept().unwrap();
    let mut seen = [0_u8; 2];
    let (mut size, mut out) = (0, 7);
    let buffers = [[seen.as_mut_ptr() as u32, 2]];
    let errno = unsafe { sock_recv(stream.as_raw_fd(), buffers.as_ptr(), 1, 1, &mut size, &mut out) };
    println!("{errno} {out} {}", String::from_utf8_lossy(&seen[..size]));
    let mut all = [0_u8; 6];
    let buffers = [[all.as_mut_ptr() as u32, 3], [all[3..].as_mut_ptr() as u32, 3]];
    let errno = unsafe { sock_recv(stream.as_raw_fd(), buffers.as_ptr(), 2, 2, &mut size, &mut out) };
    println!("{errno} {size} {}", String::from_utf8_lossy(&all));
    println!("{}", unsafe { fd_renumber(stream.as_raw_fd(), 1) });
    println!("{}", unsafe { fd_renumber(stream.as_raw_fd(), 3) });
    // Both numbers are the stream's now, or nobody's.
    std::mem::forget((stream, listener));
    stream = unsafe { FromRawFd::from_raw_fd(3) };
    stream.write_all(b"moved").unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = || args[2].parse().unwrap();
    match args[1].as_str() {
        "echo" => echo(number()),
        "poll" => poll(number()),
        "shutdown" => shutdown(),
        "file" => print!("{}", std::fs::read_to_string(&args[2]).unwrap()),
        "peek" => peek(),
        other => panic!("{other}"),
    }
}
