//! `kase update`.

use super::arguments::{Arguments, wrong_value};
use super::context::Context;
use super::exit::ExitCode;
use crate::container::update::{self, Values};
use crate::fault::Fault;
use anyhow::Context as _;
use oci_spec::runtime::LinuxIntelRdt;
use serde_json::Value;

/// How an option's text becomes a field's value.
type Parse = fn(&str) -> Result<Value, String>;

const BYTES: Parse = |text| update::bytes(text).map(Value::from);
const SIGNED: Parse = |text| text.parse::<i64>().map(Value::from).map_err(|error| error.to_string());
const UNSIGNED: Parse = |text| text.parse::<u64>().map(Value::from).map_err(|error| error.to_string());
const WORDS: Parse = |text| Ok(text.into());

/// An option, and the section and field of `linux.resources` that it sets.
const FIELDS: [(&str, Parse, &str, &str); 15] = [
    ("blkio-weight", UNSIGNED, "blockIO", "weight"),
    ("cpu-period", UNSIGNED, "cpu", "period"),
    ("cpu-quota", SIGNED, "cpu", "quota"),
    ("cpu-burst", UNSIGNED, "cpu", "burst"),
    ("cpu-share", UNSIGNED, "cpu", "shares"),
    ("cpu-rt-period", UNSIGNED, "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", SIGNED, "cpu", "realtimeRuntime"),
    ("cpu-idle", SIGNED, "cpu", "idle"),
    ("cpuset-cpus", WORDS, "cpu", "cpus"),
    ("cpuset-mems", WORDS, "cpu", "mems"),
    ("memory", BYTES, "memory", "limit"),
    ("memory-reservation", BYTES, "memory", "reservation"),
    ("memory-swap", BYTES, "memory", "swap"),
    ("kernel-memory-tcp", BYTES, "memory", "kernelTCP"),
    ("pids-limit", SIGNED, "pids", "limit"),
];

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("update {id}");
    let schema = |name| arguments.text(name).map(String::from);
    let (cache, bandwidth) = (schema("l3-cache-schema"), schema("mem-bw-schema"));
    let rdt = (cache.is_some() || bandwidth.is_some()).then(|| {
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_l3_cache_schema(cache).set_mem_bw_schema(bandwidth);
        rdt
    });
    let values = values(arguments)?;
    let resources = match arguments.path("resources") {
        Some(file) => Some(update::read(&file).with_context(doing)?),
        None if !values.is_empty() => Some(values.resources().with_context(doing)?),
        None if rdt.is_some() => None,
        None => {
            return Err(Fault::doing("nothing is to be changed")
                .remedy("give one of the flags of `kase update --help`, or --resources")
                .into());
        }
    };
    let container = context.store()?.ours(id).with_context(doing)?;
    update::update(&container, resources.as_ref(), rdt.as_ref()).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}

fn values(arguments: &Arguments<'_>) -> anyhow::Result<Values> {
    let mut values = Values::default();
    for (option, parse, section, field) in FIELDS {
        if let Some(text) = arguments.text(option) {
            values.set(section, field, parse(text).map_err(|why| wrong_value(option, text, why))?);
        }
    }
    Ok(values)
}
