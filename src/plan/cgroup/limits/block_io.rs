//! Weights and rates of block devices.

use super::writes::{At, Missing, Value, Writes};
use crate::fault::{Fault, Place};
use crate::plan::cgroup::Version;
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

const WEIGHT: Place = Place::of("linux.resources.blockIO.weight");
const LEAF_WEIGHT: Place = Place::of("linux.resources.blockIO.leafWeight");

pub(super) fn decide(block_io: &LinuxBlockIo, writes: &mut Writes<'_>) -> Result<(), Fault> {
    if let Some(weight) = checked(block_io.weight(), WEIGHT)? {
        match writes.version {
            Version::V1 => {
                let other = Missing::Instead("blkio.bfq.weight", weight.to_string());
                writes.write(WEIGHT, "blkio.weight", weight).missing = other;
            }
            // The BFQ scheduler takes v1's numbers; the general controller has a scale of its own.
            Version::V2 => {
                let other = Missing::Instead("io.weight", weight_v2(weight).to_string());
                writes.write(WEIGHT, "io.bfq.weight", weight).missing = other;
            }
        }
    }
    if let Some(weight) = checked(block_io.leaf_weight(), LEAF_WEIGHT)? {
        match writes.version {
            Version::V1 => {
                writes.write(LEAF_WEIGHT, "blkio.leaf_weight", weight);
            }
            Version::V2 => writes.left_out(LEAF_WEIGHT),
        }
    }
    weights(block_io.weight_device().as_deref().unwrap_or_default(), writes)?;
    const RATES: [(&str, &str, &str); 4] = [
        ("linux.resources.blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
        ("linux.resources.blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
        ("linux.resources.blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
        ("linux.resources.blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
    ];
    let lists = [
        block_io.throttle_read_bps_device(),
        block_io.throttle_write_bps_device(),
        block_io.throttle_read_iops_device(),
        block_io.throttle_write_iops_device(),
    ];
    for ((place, file, key), list) in RATES.into_iter().zip(lists) {
        rates(list.as_deref().unwrap_or_default(), place, file, key, writes)?;
    }
    Ok(())
}

fn checked(weight: Option<u16>, at: Place) -> Result<Option<u16>, Fault> {
    match weight.filter(|weight| *weight != 0) {
        Some(weight) if !(10..=1000).contains(&weight) => {
            Err(Fault::at(at, format!("{weight} is out of range"))
                .remedy("use 10 to 1000, or 0 for the default"))
        }
        weight => Ok(weight),
    }
}

/// 10 to 1000 onto 1 to 10000, as runc and Kubernetes have it.
fn weight_v2(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn weights(listed: &[LinuxWeightDevice], writes: &mut Writes<'_>) -> Result<(), Fault> {
    for (index, entry) in listed.iter().enumerate() {
        let at = Place::nth("linux.resources.blockIO.weightDevice", index);
        let device = device(entry.major(), entry.minor(), at)?;
        if let Some(weight) = checked(entry.weight(), at.field(".weight"))? {
            let (file, other) = match writes.version {
                Version::V1 => ("blkio.weight_device", ("blkio.bfq.weight_device", weight.into())),
                Version::V2 => ("io.bfq.weight", ("io.weight", weight_v2(weight))),
            };
            writes.write(at, file, format!("{device} {weight}")).missing =
                Missing::Instead(other.0, format!("{device} {}", other.1));
        }
        if let Some(weight) = checked(entry.leaf_weight(), at.field(".leafWeight"))? {
            match writes.version {
                Version::V1 => {
                    writes.write(at, "blkio.leaf_weight_device", format!("{device} {weight}"));
                }
                Version::V2 => writes.left_out(at.field(".leafWeight")),
            }
        }
    }
    Ok(())
}

fn rates(
    listed: &[LinuxThrottleDevice],
    place: &'static str,
    file: &'static str,
    key: &str,
    writes: &mut Writes<'_>,
) -> Result<(), Fault> {
    for (index, entry) in listed.iter().enumerate() {
        let at = Place::nth(place, index);
        let device = device(entry.major(), entry.minor(), at)?;
        let (file, value) = match (writes.version, entry.rate()) {
            (Version::V1, rate) => (file, format!("{device} {rate}")),
            // v1 lifts a limit with 0, which v2 refuses.
            (Version::V2, 0) => ("io.max", format!("{device} {key}=max")),
            (Version::V2, rate) => ("io.max", format!("{device} {key}={rate}")),
        };
        writes.add(At::Place(at), file.into(), Value::Text(value));
    }
    Ok(())
}

fn device(major: i64, minor: i64, at: Place) -> Result<String, Fault> {
    if (0..=0xfff).contains(&major) && (0..=0xf_ffff).contains(&minor) {
        return Ok(format!("{major}:{minor}"));
    }
    Err(Fault::at(at, format!("{major}:{minor} is no block device"))
        .remedy("use the numbers of a whole disk, as `lsblk` prints them"))
}
