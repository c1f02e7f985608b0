//! Makes a container's init.

use super::child::{Child, Successor, clone_into};
use super::ids::Unmapped;
use crate::fault::Fault;
use crate::handshake::{self, ToInit, ToKase};
use crate::host::Host;
use crate::init;
pub use crate::init::Inputs;
use crate::init::namespaces::not_made;
use crate::kernel::clone::Cloned;
use crate::kernel::descriptor::close_copies;
use crate::kernel::process::{Dumpable, set_dumpable};
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::plan::payload::Payload;
use crate::trace;
use rootless::caller::Standing;
use std::io;
use std::os::fd::BorrowedFd;

/// Makes init, in its namespaces, or on its way into them as far as it has to go there itself; in `cgroup`, a directory
/// of v2, if there is one. It gets no copy of the descriptors that are `private`.
///
/// # Errors
/// Namespaces that this host does not give, with the host setting that is behind it.
pub fn spawn(
    plan: &Plan<'_>,
    host: &Host,
    payload: &Payload<'_>,
    inputs: Inputs<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    private: &[BorrowedFd<'_>],
    ids: &mut Unmapped<'_>,
) -> anyhow::Result<Child> {
    // Nobody may look into init while it is made (CVE-2016-9962). Who maps ids for a user has to see that the process is
    // that user's: see init.
    if host.caller.standing != Standing::User {
        set_dumpable(Dumpable::No);
    }
    let (kase, init) = handshake::pair()?;
    // The cgroup namespace is made by init itself, once it is in its cgroup.
    let namespaces = match plan.namespaces.needs_hop() {
        true => 0,
        false => plan.namespaces.made() & !Kind::Cgroup.flag(),
    };
    trace::step("clone");
    let process = match clone_into(namespaces, cgroup) {
        Ok((Cloned::New, _)) => {
            drop(kase);
            close_copies(private);
            init::run(plan, payload, inputs, init)
        }
        Ok((Cloned::Caller(process), in_cgroup)) => (process, in_cgroup),
        Err(error) => return Err(refused(plan, host, error)),
    };
    drop((inputs, init));
    let successor = if plan.namespaces.needs_hop() { Successor::Awaited } else { Successor::None };
    let mut child = Child::new("the container's init", process, kase, successor);
    while plan.namespaces.needs_hop() {
        match child.next()? {
            ToKase::MapOwnIds => {
                ids.write(child.process.pid)?;
                child.say(ToInit::IdsMapped, &[])?;
            }
            ToKase::Namespaces => break,
            ToKase::Continues(pidfd) => {
                child.continue_as(pidfd)?;
                break;
            }
            _ => return Err(child.vanished()),
        }
    }
    Ok(child)
}

fn refused(plan: &Plan<'_>, host: &Host, error: io::Error) -> anyhow::Error {
    let words: Vec<_> =
        Kind::ALL.into_iter().filter(|kind| plan.namespaces.makes(*kind)).map(Kind::word).collect();
    let doing = format!("make the namespaces {}", words.join(", "));
    let diagnosis = rootless::diagnose::user_namespace(crate::kernel::errno(&error));
    let fault = match diagnosis {
        Some(diagnosis) => {
            Fault::at("linux.namespaces", format!("{doing} ({})", diagnosis.cause)).remedy(diagnosis.remedy)
        }
        None if host.caller.standing == Standing::User && !plan.namespaces.makes(Kind::User) => {
            Fault::at("linux.namespaces", doing).remedy(
                "add {\"type\": \"user\"} to linux.namespaces, or let kase do it: leave --rootless=false out",
            )
        }
        None => Fault::at("linux.namespaces", doing),
    };
    not_made(fault, error)
}
