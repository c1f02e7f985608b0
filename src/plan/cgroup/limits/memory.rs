//! Memory and swap.
//!
//! config.json limits swap as memory and swap together, as v1 does; v2 limits it alone.

use super::writes::{At, Check, Missing, Occasion, Value, Writes, bytes, is_set, negative};
use crate::fault::{Fault, Place};
use crate::plan::cgroup::{Version, v1};
use oci_spec::runtime::LinuxMemory;

const LIMIT: Place = Place::of("linux.resources.memory.limit");
const SWAP: Place = Place::of("linux.resources.memory.swap");
const RESERVATION: Place = Place::of("linux.resources.memory.reservation");
const SWAPPINESS: Place = Place::of("linux.resources.memory.swappiness");

pub(super) fn decide(memory: &LinuxMemory, writes: &mut Writes<'_>) -> Result<Option<Check>, Fault> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    for (value, at) in [(limit, LIMIT), (swap, SWAP)] {
        if let Some(value) = value.filter(|value| *value < -1) {
            return Err(negative(at, value));
        }
    }
    if let (Some(limit), Some(swap)) = (limit, swap)
        && (1..limit).contains(&swap)
    {
        return Err(Fault::at(SWAP, format!("memory+swap limit {swap} should be >= memory limit {limit}"))
            .remedy("swap counts memory and swap together: raise it, or use -1"));
    }
    if let Some(swappiness) = memory.swappiness().filter(|value| is_set(*value) && *value > 100) {
        return Err(Fault::at(SWAPPINESS, format!("{swappiness} is out of range")).remedy("use 0 to 100"));
    }
    match writes.version {
        Version::V2 => v2(memory, limit, swap, writes)?,
        Version::V1 => v1::memory(memory, limit, swap, writes)?,
    }
    kernel_memory(memory, writes);
    let check = memory.check_before_update() == Some(true);
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    Ok(check.then(|| Check { memory: positive(limit), total: positive(swap) }))
}

fn v2(
    memory: &LinuxMemory,
    limit: Option<i64>,
    swap: Option<i64>,
    writes: &mut Writes<'_>,
) -> Result<(), Fault> {
    // Before the memory limit, because it may depend on the old one.
    if let Some((at, value)) = swap_alone(limit, swap, writes.occasion)? {
        // Without swap in the kernel, none at all and all there is are the same.
        let missing = match &value {
            Value::Text(text) if text != "max" && text != "0" => Missing::Refuse,
            Value::SwapOf { .. } => Missing::Refuse,
            _ => Missing::Skip,
        };
        writes.add(At::Place(at), "memory.swap.max".into(), value).missing = missing;
    }
    if let Some(value) = bytes(limit, LIMIT, "max")? {
        writes.write(LIMIT, "memory.max", value);
    }
    if let Some(value) = bytes(memory.reservation(), RESERVATION, "max")? {
        writes.write(RESERVATION, "memory.low", value);
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.left_out(Place::of("linux.resources.memory.disableOOMKiller"));
    }
    if memory.swappiness().is_some_and(is_set) {
        writes.left_out(SWAPPINESS);
    }
    Ok(())
}

fn swap_alone(
    limit: Option<i64>,
    swap: Option<i64>,
    occasion: Occasion,
) -> Result<Option<(Place, Value)>, Fault> {
    let text = |value: &str| Value::Text(value.to_string());
    Ok(match (limit, swap) {
        (_, Some(-1)) => Some((SWAP, text("max"))),
        // Unlimited memory means unlimited swap, as in v1.
        (Some(-1), None) => Some((LIMIT, text("max"))),
        (Some(-1), Some(total)) => Some((SWAP, Value::Text(total.to_string()))),
        (Some(memory), Some(total)) => Some((SWAP, Value::Text((total - memory).to_string()))),
        (None, Some(total)) if occasion == Occasion::Update => Some((SWAP, Value::SwapOf { total })),
        (None, Some(_)) => {
            return Err(Fault::at(SWAP, "unable to set swap limit without memory limit")
                .remedy("set memory.limit too: swap counts both together"));
        }
        (Some(memory), None) if occasion == Occasion::Update => Some((LIMIT, Value::SwapBeside { memory })),
        (_, None) => None,
    })
}

#[allow(deprecated)] // which is what the note says
fn kernel_memory(memory: &LinuxMemory, writes: &mut Writes<'_>) {
    if memory.use_hierarchy() == Some(false) {
        writes.notes.warn(
            "linux.resources.memory.useHierarchy: false is left out: since Linux 5.11 every cgroup's memory counts \
             for those above it"
                .into(),
        );
    }
    let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    if set(memory.kernel()) || set(memory.kernel_tcp()) {
        writes.notes.warn(
            "linux.resources.memory.kernel: Kernel memory settings are ignored and will be removed".into(),
        );
    }
}
