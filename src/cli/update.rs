//! `kase update`.

use super::{Building, Context, ExitCode};
use crate::container::update::{self, Values};
use crate::fault::Fault;
use anyhow::Context as _;
use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command, value_parser};
use oci_spec::runtime::LinuxIntelRdt;

/// What a flag's value is.
#[derive(Clone, Copy)]
enum Kind {
    Bytes,
    Signed,
    Unsigned,
    Text,
}

/// A flag, the section and field of `linux.resources` that it sets, and its help.
const FLAGS: [(&str, Kind, &str, &str, &str); 15] = [
    ("blkio-weight", Kind::Unsigned, "blockIO", "weight", "Relative share of block I/O, from 10 to 1000"),
    ("cpu-period", Kind::Unsigned, "cpu", "period", "Period that the quota is for, in microseconds"),
    ("cpu-quota", Kind::Signed, "cpu", "quota", "Run time in a period, in microseconds"),
    ("cpu-burst", Kind::Unsigned, "cpu", "burst", "Run time that may be saved up, in microseconds"),
    ("cpu-share", Kind::Unsigned, "cpu", "shares", "Relative share of the processors"),
    (
        "cpu-rt-period",
        Kind::Unsigned,
        "cpu",
        "realtimePeriod",
        "Period of real-time run time, in microseconds",
    ),
    ("cpu-rt-runtime", Kind::Signed, "cpu", "realtimeRuntime", "Real-time run time, in microseconds"),
    ("cpu-idle", Kind::Signed, "cpu", "idle", "1 to run only when nothing else does"),
    ("cpuset-cpus", Kind::Text, "cpu", "cpus", "Processors that may be used"),
    ("cpuset-mems", Kind::Text, "cpu", "mems", "Memory nodes that may be used"),
    ("memory", Kind::Bytes, "memory", "limit", "Memory limit"),
    ("memory-reservation", Kind::Bytes, "memory", "reservation", "Memory that is kept when it is short"),
    ("memory-swap", Kind::Bytes, "memory", "swap", "Memory and swap together; -1 for no limit on swap"),
    ("kernel-memory-tcp", Kind::Bytes, "memory", "kernelTCP", "Memory of TCP buffers (cgroup v1)"),
    ("pids-limit", Kind::Signed, "pids", "limit", "Number of processes; -1 for no limit"),
];

/// Flags that set a field of `linux.intelRdt`.
const CACHE: &str = "l3-cache-schema";
const BANDWIDTH: &str = "mem-bw-schema";

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(options)
}

fn options(command: Command) -> Command {
    let schema =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("SCHEMA").help(help);
    let command = command
        .arg(super::id())
        .arg(
            Arg::new("resources")
                .short('r')
                .long("resources")
                .value_parser(super::path())
                .value_name("FILE")
                .help("linux.resources as JSON, from a file or (-) from standard input, instead of the single limits"),
        )
        .arg(Arg::new("kernel-memory").long("kernel-memory").hide(true))
        .arg(schema(CACHE, "Share of the last-level cache, as in L3:0=7f0;1=1f (resctrl)"))
        .arg(schema(BANDWIDTH, "Share of memory bandwidth, as in MB:0=20;1=70 (resctrl)"));
    FLAGS.iter().fold(command, |command, (name, kind, _, _, help)| {
        let (parser, value): (ValueParser, _) = match kind {
            Kind::Bytes => (ValueParser::new(update::bytes), "BYTES"),
            Kind::Signed => (value_parser!(i64).into(), "N"),
            Kind::Unsigned => (value_parser!(u64).into(), "N"),
            Kind::Text => (ValueParser::string(), "LIST"),
        };
        command.arg(
            Arg::new(*name)
                .long(*name)
                .value_parser(parser)
                .value_name(value)
                .allow_hyphen_values(true)
                .help(*help),
        )
    })
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("update {id}");
    let schema = |name| matches.get_one::<String>(name).cloned();
    let (cache, bandwidth) = (schema(CACHE), schema(BANDWIDTH));
    let rdt = (cache.is_some() || bandwidth.is_some()).then(|| {
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_l3_cache_schema(cache).set_mem_bw_schema(bandwidth);
        rdt
    });
    let values = values(matches);
    let resources = match super::path_of(matches, "resources") {
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

fn values(matches: &ArgMatches) -> Values {
    let mut values = Values::default();
    for (name, kind, section, field, _) in FLAGS {
        let value = match kind {
            Kind::Bytes | Kind::Signed => matches.get_one::<i64>(name).map(|value| (*value).into()),
            Kind::Unsigned => matches.get_one::<u64>(name).map(|value| (*value).into()),
            Kind::Text => matches.get_one::<String>(name).map(|value| value.as_str().into()),
        };
        if let Some(value) = value {
            values.set(section, field, value);
        }
    }
    values
}
