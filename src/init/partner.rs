//! Who waits to hear of this process: the kase that made it, and then whoever starts it.

use crate::fault::Report;
use crate::gate::{Gate, Starter};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::kernel::process::{Dumpable, heed_signals, set_dumpable};
use crate::trace;
use std::os::fd::{AsFd, BorrowedFd};

/// The ways to them.
#[derive(Debug)]
pub struct Partner {
    /// The kase that made this process.
    pub kase: InitEnd,
    /// Where `start` comes to; nothing where that kase says it itself.
    gate: Option<Gate>,
    /// Whether this process may be looked into while it waits there.
    at_gate: Dumpable,
    /// The `start` that waits for the outcome.
    starter: Option<Starter>,
}

impl Partner {
    /// With a gate, the container is to be started through that.
    pub fn new(kase: InitEnd, gate: Option<Gate>, at_gate: Dumpable) -> Self {
        Self { kase, gate, at_gate, starter: None }
    }

    /// The descriptors that they are reached by.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.kase.as_fd()].into_iter().chain(self.gate.as_ref().map(AsFd::as_fd))
    }

    /// Says that nothing is missing but the start, and waits for that.
    pub fn wait_for_start(&mut self) -> anyhow::Result<()> {
        let Some(gate) = &self.gate else {
            trace::step("wait for the start");
            self.kase.say(&ToKase::Ready)?;
            return self.kase.expect(ToInit::Start).map(drop);
        };
        // Who made a container may end it before its start, and not by SIGKILL alone: at once, so this is before kase
        // is told that it is there.
        heed_signals();
        if self.at_gate == Dumpable::Yes {
            set_dumpable(Dumpable::Yes);
        }
        // Whoever comes to the gate does so after the trace.
        trace::leave();
        self.kase.say(&ToKase::Ready)?;
        // It stays until the exec, which is the start.
        self.starter = Some(gate.wait()?);
        Ok(())
    }

    /// Tells them why the program does not run.
    pub fn refuse(&self, error: &anyhow::Error) {
        let report = Report::in_step(error, trace::last_step());
        match &self.starter {
            Some(starter) => starter.refuse(&report),
            // When kase is gone there is nobody left to tell.
            None => drop(self.kase.say(&ToKase::Failed(report))),
        }
    }
}
