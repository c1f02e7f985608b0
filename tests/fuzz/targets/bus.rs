//! What the other end of a D-Bus says that systemd is expected at; and values that are written are read.

use crate::cgroup::systemd::bus::{Bus, Target};
use crate::cgroup::systemd::marshal::{Body, Reader};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

const TARGET: Target = Target { destination: "org.example", path: "/", interface: "org.example" };

pub fn execute(bytes: &[u8]) {
    values(bytes);
    let (ours, mut theirs) = UnixStream::pair().expect("two sockets can be made");
    // As much as a socket takes without anybody who reads.
    theirs.write_all(&bytes[..bytes.len().min(64 << 10)]).expect("it can be sent");
    theirs.shutdown(Shutdown::Write).expect("it can be closed");
    let Ok(mut bus) = Bus::over(ours) else { return };
    for _ in 0..2 {
        match bus.ask(TARGET, "StartTransientUnit", Body::of("")) {
            Ok(Ok(message)) => read(&mut message.reader()),
            Ok(Err(refused)) => assert!(refused.to_string().ends_with(&format!("({})", refused.name))),
            Err(_) => return,
        }
    }
    if let Ok(message) = bus.signal(|message| message.name == "JobRemoved") {
        read(&mut message.reader());
    }
}

/// As systemd's answers are read.
fn read(reader: &mut Reader<'_>) {
    while !reader.is_empty() {
        if reader.uint32().is_none() || reader.text().is_none() || reader.signature().is_none() {
            return;
        }
    }
}

fn values(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).replace('\0', "");
    let short: String = text.chars().take(60).collect();
    let number = u32::try_from(bytes.len()).unwrap_or(0);
    let mut body = Body::of("");
    body.byte(bytes.first().copied().unwrap_or(0));
    body.text(&text);
    body.signature(&short);
    body.uint32(number);
    let (_, written) = body.finish();
    let mut reader = Reader::new(&written);
    assert_eq!(reader.byte(), Some(bytes.first().copied().unwrap_or(0)));
    assert_eq!(reader.text().as_deref(), Some(text.as_str()));
    assert_eq!(reader.signature().as_deref(), Some(short.as_str()));
    assert_eq!(reader.uint32(), Some(number));
    assert!(reader.is_empty());
    let mut cut = Reader::new(&written[..written.len() - 1]);
    cut.byte();
    assert!((cut.text(), cut.signature(), cut.uint32()).2.is_none());
}
