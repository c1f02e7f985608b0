//! What a container's init says to kase: words with descriptors, such as a filter's listener, and reports.

use crate::fault::Report;
use crate::handshake::{self, LONGEST, ToKase, pack, unpack};
use crate::kernel::socket;
use std::os::fd::AsFd;

pub fn execute(bytes: &[u8]) {
    let Some((with, packet)) = bytes.split_first() else { return };
    let packet = &packet[..packet.len().min(LONGEST)];
    if packet.is_empty() {
        return;
    }
    let (kase, init) = handshake::pair().expect("two sockets can be made");
    let fd = (with % 2 != 0).then(|| init.as_fd());
    socket::send(init.as_fd(), packet, fd).expect("a packet can be sent");
    match kase.hear() {
        Ok(None) => panic!("init has said something"),
        Ok(Some(word)) => {
            let takes = matches!(
                word,
                ToKase::Continues(_)
                    | ToKase::MapMountIds(..)
                    | ToKase::Serve(_)
                    | ToKase::Terminal(_)
                    | ToKase::Listener(_)
            );
            assert_eq!(takes, fd.is_some(), "{word:?}");
            if let ToKase::Failed(report) = word {
                check(report);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(init);
    assert!(kase.hear().is_ok_and(|word| word.is_none()), "there is no more");
}

fn check(report: Report) {
    let packed = pack(&report);
    assert!(packed.len() <= LONGEST);
    // A remedy is cut off where it does not fit, and nothing is where it does.
    if packed.len() < LONGEST {
        assert_eq!(unpack(&packed[1..]), report);
    }
    let told = report.into_error();
    assert!(!Report::of(&told).line.contains(char::is_control));
}
