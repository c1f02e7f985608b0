//! Whether one config.json runs here, and what would be changed for it: told by the plan, and by nothing else.

use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::container::draft::{self, check_process};
use crate::container::request::Request;
use crate::fault::Report;
use rootless::caller::Caller;
use tracing::Level;

/// What would become of a bundle.
#[derive(Debug)]
pub struct Outlook {
    /// Why it cannot run.
    pub fault: Option<Report>,
    /// What kase would change or leave out, in the plan's words; each with the importance that the log gives it.
    pub adaptations: Vec<(Level, String)>,
}

/// Plans the container that `request` asks for, and makes nothing.
pub fn outlook(caller: Caller, request: &Request) -> Outlook {
    let mut adaptations = Vec::new();
    let fault = look(caller, request, &mut adaptations).err().map(|error| Report::of(&error));
    Outlook { fault, adaptations }
}

fn look(caller: Caller, request: &Request, adaptations: &mut Vec<(Level, String)>) -> anyhow::Result<()> {
    let bundle = Bundle::open(&request.bundle, request.config.as_deref())?;
    let (_, layout, plan) = draft::draw(&bundle, caller, request)?;
    // This note is no adaptation: it is there for runc's tests, which look for it in the log.
    let told = plan.notes.iter().filter(|(_, text)| !text.starts_with("seccomp filter flags"));
    adaptations.extend(told.cloned());
    check_process(&bundle.config)?;
    Cgroup::planned(&plan.cgroup, &layout)?.check_rights(&plan.cgroup, &layout)
}
