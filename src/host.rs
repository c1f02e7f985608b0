//! What planning needs to know of this machine and of who is asking.

pub mod facilities;
pub mod hierarchies;
pub mod mountinfo;

use crate::fault::Fault;
use facilities::{Facilities, Facility};
use rootless::caller::{Caller, Standing};
use rootless::id_writer::{self, Means};
use rootless::subid::Subordinate;

/// The facts, looked up once.
#[derive(Debug)]
pub struct Host {
    /// Who runs kase.
    pub caller: Caller,
    /// The ids beside its own that the caller may map.
    pub subordinate: Subordinate,
    /// Whether newuidmap and newgidmap are there to map these.
    pub helpers: Helpers,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
    /// What only some configurations need.
    pub facilities: Facilities,
}

/// Which of these flags of seccomp(2) the kernel knows.
pub fn seccomp_flags<T>(flags: impl IntoIterator<Item = (T, u32)>) -> Vec<T> {
    flags
        .into_iter()
        .filter(|(_, bit)| crate::kernel::seccomp::knows_flag(*bit))
        .map(|(flag, _)| flag)
        .collect()
}

/// The highest capability that the kernel knows.
pub fn last_capability() -> u8 {
    crate::kernel::capability::last()
}

/// Whether the programs that map subordinate ids are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helpers {
    /// They are, or nobody needs them.
    Found,
    /// An ordinary user can map its own id only.
    Missing,
    /// So it is in a user namespace that does not map uid 0, whom the programs are to become.
    Powerless,
}

/// Whether the caller's subordinate ids matter; root and a map of one's own id do without the look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subids {
    /// Look them up.
    Needed,
    /// Leave the files closed.
    Unneeded,
}

impl Host {
    /// Looks up the facts, and of the facilities those that are needed.
    pub fn look(caller: Caller, subids: Subids, needs: &[Facility]) -> anyhow::Result<Self> {
        let subordinate = if caller.standing == Standing::Root || subids == Subids::Unneeded {
            Subordinate::default()
        } else {
            Subordinate::look(&caller).map_err(|error| {
                let fault = Fault::doing("find the caller's subordinate ids");
                error.remedy().into_iter().fold(fault, Fault::remedy).caused_by(error)
            })?
        };
        let helpers = match caller.standing {
            Standing::User if !subordinate.is_incomplete() => {
                match Means::helpers(std::env::var_os("PATH").as_deref()) {
                    Ok(_) => Helpers::Found,
                    Err(id_writer::Error::Unmapped(_)) => Helpers::Powerless,
                    Err(_) => Helpers::Missing,
                }
            }
            _ => Helpers::Found,
        };
        Ok(Self {
            caller,
            subordinate,
            helpers,
            last_capability: crate::kernel::capability::last(),
            facilities: Facilities::look(needs)?,
        })
    }

    /// A host that is told, without looking: for what is to be said of any host, and for tests of decisions.
    pub fn assumed(caller: Caller) -> Self {
        Self {
            caller,
            subordinate: Subordinate::default(),
            helpers: Helpers::Found,
            last_capability: 40,
            facilities: Facilities::default(),
        }
    }
}
